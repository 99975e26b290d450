"""The command and its stage: formats told by content, whole outputs, lists of what was lost."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_data_sets import data_set, drawn, in_pixels, write_photos
from typer.testing import CliRunner

from amodalpl.convert.format_table import FORMATS, reader
from amodalpl.data.coco import write as write_coco
from amodalpl.data.read import read_annotations
from amodalpl.data.records import AnnotationSet
from amodalpl.errors import DataError, OutputError, SettingsError
from amodalpl.masks import rle
from amodalpl.tools.convert import convert, list_formats
from amodalpl_cli.main import app

PAGE = Path(__file__).parents[2] / "docs" / "converting.md"
OURS = {
    "coco": "out.json",
    "labelme": "out",
    "cvat": "out.xml",
    "via": "via.json",
    "label-studio": "ls.json",
    "yolo": "y",
}


def invoke(*args):
    return CliRunner().invoke(app, ["convert", *map(str, args)])


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos", data_set())


@pytest.mark.parametrize("name", OURS)
def test_every_format_is_told_by_its_content_and_becomes_coco(name, photos, tmp_path):
    source = tmp_path / OURS[name]
    assert FORMATS[name].write
    FORMATS[name].write(data_set(), source)
    summary = convert(source, tmp_path / "instances.json", photos)
    assert (summary.counts["from"], summary.counts["to"], summary.counts["photos"]) == (name, "coco", 3)
    assert summary.next == f"amodalpl check {tmp_path / 'instances.json'} {photos}"
    records = read_annotations(tmp_path / "instances.json")
    assert len(records.instances) == summary.counts["objects"] >= 5 and not records.dropped
    checked = CliRunner().invoke(app, summary.next.split()[1:])
    assert checked.exit_code == 0, checked.output


def test_rows_say_what_they_do():
    for name, row in FORMATS.items():
        assert row.name == name and row.title and row.kept and (row.read or row.write)
        assert row.detect is None or row.read
    assert set(list_formats().counts) == set(FORMATS)


def test_losses_are_listed_beside_the_output(photos, tmp_path):
    FORMATS["coco"].write(data_set(), tmp_path / "in.json")
    raw = json.loads((tmp_path / "in.json").read_text(encoding="utf-8"))
    raw["annotations"].append({"id": 9, "image_id": 1, "category_id": 1, "segmentation": []})
    (tmp_path / "in.json").write_text(json.dumps(raw))
    summary = convert(tmp_path / "in.json", tmp_path / "y", photos, to_format="yolo")
    assert summary.counts["left_out"] == {"no mask": 1} and summary.counts["lost"]["crowd regions"] == 1
    assert summary.next == f"cp -r {photos}/. {tmp_path / 'y/images'}"
    listed = json.loads((tmp_path / "y.losses.json").read_text())
    assert listed["left_out"] == [
        {"place": "annotations[6].segmentation", "reason": "no mask: expected polygons or RLE, got an empty list"}
    ]
    assert listed["lost"] == summary.counts["lost"]


def test_nothing_lost_leaves_no_list(photos, tmp_path):
    FORMATS["coco"].write(data_set(), tmp_path / "in.json")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "out.json.losses.json").touch()  # of an earlier conversion
    assert "not converted" not in convert(tmp_path / "in.json", tmp_path / "new" / "out.json", photos).files
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.json"]


def test_low_scores_are_left_out(tmp_path):
    data = data_set()
    for thing, score in zip(data.instances, (0.1, 0.9), strict=False):
        object.__setattr__(thing, "score", score)
    data.front_of.append((1, 2))
    FORMATS["coco"].write(data, tmp_path / "in.json")
    summary = convert(tmp_path / "in.json", tmp_path / "out.json", min_score=0.5)
    assert summary.counts["left_out"] == {"score below --min-score": 1}
    assert summary.counts["objects"] == len(data.instances) - 1


def test_a_failed_conversion_leaves_nothing(tmp_path, monkeypatch):
    FORMATS["coco"].write(data_set(), tmp_path / "in.json")

    def fail(data: AnnotationSet, out):
        out.mkdir()
        (out / "half").touch()
        raise DataError("no")

    monkeypatch.setitem(FORMATS, "labelme", replace(FORMATS["labelme"], write=fail))
    with pytest.raises(DataError, match="no"):
        convert(tmp_path / "in.json", tmp_path / "out", to_format="labelme")
    assert [path.name for path in tmp_path.iterdir()] == ["in.json"]


def test_what_exists_is_not_overwritten(tmp_path):
    FORMATS["coco"].write(data_set(), tmp_path / "in.json")
    before = (tmp_path / "in.json").read_bytes()
    with pytest.raises(OutputError, match="expected a new file, found one of that name"):
        convert(tmp_path / "in.json", tmp_path / "in.json")
    with pytest.raises(OutputError, match="expected a new or empty folder"):
        convert(tmp_path / "in.json", tmp_path, to_format="labelme")
    assert (tmp_path / "in.json").read_bytes() == before


def test_unknown_sources(tmp_path):
    with pytest.raises(DataError, match="expected a file or folder to convert, found none"):
        reader("auto", tmp_path / "none")
    with pytest.raises(DataError, match="recognised none; name it with --from"):
        reader("auto", tmp_path)
    (tmp_path / "half.json").write_text('{"images": [{"id"')
    with pytest.raises(DataError, match="recognised none"):
        reader("auto", tmp_path / "half.json")


def test_unknown_names(tmp_path):
    with pytest.raises(SettingsError, match="--from: .* got 'lableme'; did you mean 'labelme'"):
        reader("lableme", tmp_path)
    FORMATS["coco"].write(data_set(), tmp_path / "in.json")
    with pytest.raises(SettingsError, match="--to: .* got 'cvta'; did you mean 'cvat'"):
        convert(tmp_path / "in.json", tmp_path / "out", to_format="cvta")
    with pytest.raises(DataError, match="expected the folder of photos, found no such folder"):
        convert(tmp_path / "in.json", tmp_path / "out.json", tmp_path / "none")


def test_a_mixed_folder_is_read_as_its_particular_format(photos, tmp_path):
    FORMATS["labelme"].write(data_set(), tmp_path / "mixed")
    FORMATS["coco"].write(data_set(), tmp_path / "mixed" / "instances.json")
    summary = convert(tmp_path / "mixed", tmp_path / "out.json", photos)
    assert summary.counts["from"] == "labelme" and summary.counts["left_out"] == {"not a labelme file": 1}


def test_the_command_lists_formats():
    result = invoke("--list")
    assert result.exit_code == 0 and "labelme" in result.output and "read and written" in result.output
    assert set(json.loads(invoke("--list", "--json").output)["counts"]) == set(FORMATS)


def test_the_command_needs_a_source_and_an_output():
    for args, missing in (((), "SOURCE"), (("in.json",), "--out")):
        result = invoke(*args)
        assert result.exit_code == 2 and f"expected {missing}" in result.output


def test_the_command_converts(photos, tmp_path):
    FORMATS["labelme"].write(data_set(), tmp_path / "labelme")
    result = invoke(tmp_path / "labelme", "--images", photos, "--out", tmp_path / "instances.json", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["counts"]["objects"] == len(data_set().instances)
    again = invoke(tmp_path / "labelme", "--images", photos, "--out", tmp_path / "instances.json")
    assert again.exit_code == 2 and again.stderr.startswith("error: ")


def test_the_page_has_every_row_of_the_table():
    page = PAGE.read_text(encoding="utf-8").splitlines()
    for row in FORMATS.values():
        ways = f"{'yes' if row.read else '-'} | {'yes' if row.write else '-'}"
        assert f"| `{row.name}` | {row.title} | {ways} | {row.kept} | {row.not_kept or '-'} |" in page


def test_every_command_of_the_page_runs(tmp_path, monkeypatch):
    data = data_set()
    monkeypatch.chdir(tmp_path)
    write_photos(Path("photos"), data)
    whole = in_pixels(drawn((2, 3, 20, 8)))
    of_one = [replace(thing, amodal_mask=whole) for thing in data.instances if thing.image_id == 1]
    labels = replace(data, instances=of_one[:3])
    Path("labels").mkdir()
    FORMATS["d2sa"].write(labels, Path("labels/pseudo_amodal.json"))
    for name, source in (
        *(("labelme", "labelme"), ("cvat", "annotations.xml"), ("label-studio", "label_studio.json")),
        *(("via", "via_project.json"), ("yolo", "yolo")),
    ):
        FORMATS[name].write(data, Path(source))
    write_photos(Path("yolo/images"), data)
    mask = rle.to_json(rle.encode(drawn((30, 10, 9, 9))))
    detection = {"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.9}
    Path("detections.json").write_text(json.dumps([detection, {**detection, "image_id": 2, "score": 0.1}]))
    commands = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("amodalpl ")]
    assert len(commands) > 8
    for command in commands:
        result = CliRunner().invoke(app, shlex.split(command)[1:])
        assert result.exit_code == 0, f"{command}: {result.output}"


def test_what_a_format_refuses_is_said_of_the_file_that_was_asked_for(photos, tmp_path):
    data = replace(data_set(), categories=[{"id": 1, "name": "cup\x07"}, {"id": 2, "name": "dog"}])
    write_coco(data, tmp_path / "a.json")
    with pytest.raises(DataError, match=f"^{tmp_path}/b.xml: expected names without control characters"):
        convert(tmp_path / "a.json", tmp_path / "b.xml", photos, to_format="cvat")


def test_where_nothing_is_kept_the_reason_of_most_is_told_and_nothing_is_written(tmp_path):
    found = [
        {"image_id": 1, "category_id": 1, "score": score, "segmentation": [[x, 2, x + 4, 2, x + 4, 9]]}
        for x, score in ((2, 0.1), (8, 0.4), (14, 0.3))
    ]
    (tmp_path / "found.json").write_text(json.dumps([{**found[0], "segmentation": [], "score": 1}, *found]))
    coco = {"images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 20}], "annotations": []}
    (tmp_path / "coco.json").write_text(json.dumps({**coco, "categories": [{"id": 1, "name": "a"}]}))
    out = tmp_path / "out.json"
    command = f"convert {tmp_path / 'found.json'} --images {tmp_path / 'coco.json'} --out {out} --min-score 0.5"
    result = CliRunner().invoke(app, shlex.split(command))
    assert result.exit_code == 2 and result.stdout == "" and not out.exists()
    [line] = [line for line in result.stderr.splitlines() if "error" in line]
    assert "found.json: expected objects to convert, none could be kept (3 score below --min-score, 1 " in line
    assert f": score below --min-score: 0.4; nothing is written but the list, {out}.losses.json" in line
    listed = json.loads((tmp_path / "out.json.losses.json").read_text())["left_out"]
    assert len(listed) == 4
    assert convert(tmp_path / "found.json", out, tmp_path / "coco.json", min_score=0.2).counts["objects"] == 2


def test_labels_within_the_folder_of_a_stage_are_a_label_folder(photos, tmp_path):
    """As `predict` and `refine` write them: their record, which names the photos, is one folder above."""
    labels = tmp_path / "found" / "labels"
    labels.mkdir(parents=True)
    FORMATS["coco"].write(data_set(), labels / "pseudo_amodal.json")
    (labels / "order.json").write_text("{}")
    (labels.parent / "run.json").write_text(json.dumps({"arguments": {"source": str(photos)}}))
    summary = convert(labels, tmp_path / "yolo", to_format="yolo")
    assert summary.counts["objects"] >= 5 and summary.next == f"cp -r {photos}/. {tmp_path / 'yolo' / 'images'}"
