"""Several data sets made one: nothing is lost, ids are kept or mapped, and the map is written."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from drawn_data_sets import data_set, write_photos
from drawn_labels import label, write_labels, write_order
from drawn_whole_masks import in_pixels_only, whole_masks
from typer.testing import CliRunner

from amodalpl.data import d2sa
from amodalpl.data.coco import write as write_coco
from amodalpl.data.merge import merge
from amodalpl.data.read import read_annotations
from amodalpl.data.records import ImageRecord
from amodalpl.errors import DataError
from amodalpl.tools.convert import convert
from amodalpl_cli.main import app


def other_photos(data, prefix):
    return replace(data, images=[replace(p, file_name=f"{prefix}{p.file_name}") for p in data.images])


def test_one_set_stays_as_it_is():
    data = whole_masks()
    merged = merge([data])
    assert merged.data is data and merged.ids[0].to_json() == {"photos": {}, "objects": {}, "categories": {}}


def test_ids_that_are_free_stay_and_others_are_mapped():
    first, second = whole_masks(), other_photos(whole_masks(), "b_")
    second.images[0] = replace(second.images[0], id=500)
    second = replace(
        second,
        instances=[replace(i, image_id=500 if i.image_id == 9 else i.image_id) for i in second.instances],
        categories=[{"id": 3, "name": "spoon"}, {"id": 9, "name": "cup"}],
    )
    second = replace(second, instances=[replace(i, category_id={3: 9, 5: 3}[i.category_id]) for i in second.instances])
    merged = merge([first, second])
    ids = merged.ids[1]
    assert ids.photos == {4: 501} and ids.categories == {9: 3, 3: 10}  # cup is there, 3 is taken by it
    assert ids.objects == {21: 31, 11: 32, 12: 33, 13: 34, 30: 35} and merged.shared_photos == 0
    assert [c["name"] for c in merged.data.categories] == ["cup", "Ωdog & <i>", "spoon"]
    assert in_pixels_only(merged.data)[:5] == in_pixels_only(first)
    assert len({i.id for i in merged.data.instances}) == len(merged.data.instances) == 10
    assert merged.data.front_of == [(21, 11), (31, 32)]
    assert {i.image_id for i in merged.data.instances[5:]} == {500, 501}
    assert [i.category_id for i in merged.data.instances[5:]] == [3, 3, 10, 10, 10]
    assert [i.group for i in merged.data.instances] == [None, 2, None, None, None, None, 4, None, None, None]


def test_a_photo_of_both_is_one_photo_unless_its_size_differs():
    first, second = data_set(), data_set()
    merged = merge([first, second])
    assert merged.shared_photos == 3 and len(merged.data.images) == 3 and len(merged.data.instances) == 12
    second.images[0] = ImageRecord(1, "a.png", (41, 60))
    with pytest.raises(DataError, match=r"a.png: expected 60 x 40 pixels as in .*got 60 x 41"):
        merge([first, second])


def test_the_command_merges_and_writes_the_map(tmp_path):
    first, second = data_set(), other_photos(data_set(), "b_")
    write_coco(first, tmp_path / "a.json")
    write_coco(second, tmp_path / "b.json")
    for data in (first, second):
        write_photos(tmp_path / "photos", data)
    args = ["convert", tmp_path / "a.json", tmp_path / "b.json", "--images", tmp_path / "photos"]
    result = CliRunner().invoke(app, [*map(str, args), "--out", str(tmp_path / "all.json"), "--json"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["counts"]["photos"], summary["counts"]["objects"]) == (6, 12)
    assert len(read_annotations(tmp_path / "all.json").instances) == 12
    one, two = json.loads((tmp_path / "all.json.ids.json").read_text())["changed"]
    assert one["objects"] == {} and two["source"] == str(tmp_path / "b.json")
    assert two["photos"] == {"1": 4, "2": 5, "3": 6} and two["objects"]["6"] == 12 and two["categories"] == {}


def test_folders_of_labels_keep_their_notes_under_new_ids(tmp_path):
    for name, photo in (("one", "a.png"), ("two", "b.png")):
        folder = write_labels(tmp_path / name, [label(1), label(2, occluders=[1])], (photo,))
        write_order(folder, [(1, 2)])
        (folder / "run.json").write_text("{}")
    summary = convert([tmp_path / "one", tmp_path / "two"], tmp_path / "all.json", to_format="d2sa")
    assert summary.counts["objects"] == 4 and summary.files["ids"] == tmp_path / "all.json.ids.json"
    data = d2sa.read(tmp_path / "all.json", None)
    assert [i.id for i in data.instances] == [1, 2, 3, 4]
    assert [i.extra["amodalpl"]["occluders"] for i in data.instances] == [[], [1], [], [3]]
    assert convert(tmp_path / "one", tmp_path / "y", to_format="yolo").counts["masks"] == "amodal"


def test_objects_of_a_shared_photo_are_said(tmp_path):
    for name in ("a", "b"):
        write_coco(data_set(), tmp_path / f"{name}.json")
    summary = convert([tmp_path / "a.json", tmp_path / "b.json"], tmp_path / "all.json")
    assert any("3 photos are in several sources" in line for line in summary.counts["look at"])
    once = convert([tmp_path / "a.json", tmp_path / "b.json"], tmp_path / "once.json", merge_doubles=True)
    assert once.counts["objects"] < summary.counts["objects"] == 12
