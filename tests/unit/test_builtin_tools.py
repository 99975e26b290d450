"""`python -m benchmarks.builtin`: the data it learns from, and the table of the model card."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path

import pytest

from amodalpl import builtin
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import DataError
from benchmarks.builtin.scores import BEGIN, END, PAGE, measure
from benchmarks.builtin.training_data import BANK, write_other_sources, write_training_data

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    tomllib = None  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parents[2]


def square(number, image_id, x=10, side=40, **more):
    polygon = [x, 10, x + side, 10, x + side, 10 + side, x, 10 + side]
    return {
        "id": number, "image_id": image_id, "category_id": 5, "segmentation": [polygon], "bbox": [x, 10, side, side],
        "area": side * side, "iscrowd": 0, **more,
    }  # fmt: skip


@pytest.fixture
def sources(tmp_path):
    """A COCO file, and a bank of every source that is learnt from and one that is not."""
    coco = {"images": [{"id": 9, "width": 80, "height": 60}], "annotations": [square(1, 9), square(2, 9, iscrowd=1)]}
    names = [*(source.name for source in BANK), "dishes"]
    images = [{"id": n, "width": 2000, "height": 500, "source": name} for n, name in enumerate(names)]
    of_bank = [square(n, n, x=100, side=100) for n in range(len(names))]
    of_bank += [square(10, 0, x=300, side=20), square(11, 0, x=600, side=100, overlaps=True)]
    for name, content in (("coco", coco), ("bank", {"images": images, "annotations": of_bank})):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_masks_are_put_together_without_what_is_not_free_or_overlaps(sources):
    counts = write_training_data(sources / "coco.json", sources / "bank.json", sources / "out")
    assert counts == {"pictures": 4, "masks": 4}  # 20 px wide at half the size is too small
    data = json.loads((sources / "out" / "masks.json").read_text())
    sizes = {image["id"]: (image["width"], image["height"]) for image in data["images"]}
    assert sizes == {1: (80, 60), 2: (1000, 250), 3: (1000, 250), 4: (2000, 500)}  # nuclei are left at their size
    boxes = [annotation["bbox"] for annotation in data["annotations"]]
    assert boxes == [[10, 10, 40, 40], [50, 5, 50, 50], [50, 5, 50, 50], [100, 10, 100, 100]]
    assert data["annotations"][1]["segmentation"] == [[50, 5, 100, 5, 100, 55, 50, 55]]
    assert all((sources / "out" / "images" / image["file_name"]).is_file() for image in data["images"])


def test_a_bank_without_a_source_is_refused(sources):
    content = json.loads((sources / "bank.json").read_text())
    content["images"] = [image for image in content["images"] if image["source"] != "taco"]
    (sources / "bank.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="bank.json: expected masks of .*, found none of taco"):
        write_training_data(sources / "coco.json", sources / "bank.json", sources / "out")


def test_what_it_never_learns_from_is_a_folder_per_source(sources):
    assert write_other_sources(sources / "bank.json", sources / "others") == {"dishes": 1}
    data = json.loads((sources / "others" / "dishes" / "masks.json").read_text())
    assert data["images"][0]["width"] == 1000 and data["annotations"][0]["bbox"] == [50, 5, 50, 50]


def test_the_table_goes_into_the_page(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 8, seed=0, size_hw=(64, 80))
    sets = f"shapes: {{truth: {scenes.truth}, annotations: {scenes.annotations}, images: {scenes.images}}}\n"
    (tmp_path / "sets.yaml").write_text(sets)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    others = {"the same": builtin.FOLDER}
    table = measure(tmp_path / "sets.yaml", tmp_path / "out", others, page=page)
    assert page.read_text() == f"before\n{BEGIN}\n{table}\n{END}after\n"
    names = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    fitted = "fitted to the photos (too few objects to fit)"
    assert [row[2] for row in names] == ["convex hull", "as it came", fitted, "the same"]
    assert names[0][:2] == ["shapes", str(json.loads((tmp_path / "out/scores.json").read_text())["rows"][0]["objects"])]
    assert names[0][4] == "-" and "[" in names[1][3] and names[1][4].startswith(("+", "-"))
    assert names[1][5] == "-" and names[3][5] == "+0.000 [+0.00, +0.00]"  # in every draw of photos
    assert names[3][3:5] == names[1][3:5] and names[3][6] == names[1][6] and "[" in names[1][6]
    assert measure(tmp_path / "sets.yaml", tmp_path / "out", others, page=page) == table


def test_another_key_is_one_line(tmp_path):
    (tmp_path / "sets.yaml").write_text("shapes: {thruth: a.json}\n")
    with pytest.raises(DataError, match="sets.yaml: shapes: expected annotations, beside, drawn, images, truth, got"):
        measure(tmp_path / "sets.yaml", tmp_path / "out")


def test_a_completer_that_is_not_there_is_one_line(tmp_path):
    (tmp_path / "sets.yaml").write_text("shapes: {drawn: 2, beside: [owm]}\n")
    with pytest.raises(DataError, match=r"shapes: beside: expected a list of some of \['own'\], got \['owm'\]"):
        measure(tmp_path / "sets.yaml", tmp_path / "out", {"own": tmp_path})


def test_the_model_card_has_a_place_for_it():
    text = PAGE.read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)


@pytest.mark.skipif(tomllib is None, reason="Python 3.10 reads no TOML")
def test_all_of_it_goes_into_the_wheel():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert "amodalpl.builtin" in data["packages"]
    folder = Path(builtin.__file__).parent
    for name in ("weights.pth", "completer.json", "metrics.json", "provenance.json", "LICENCE.txt"):
        assert any(fnmatch.fnmatch(f"{folder.name}/{name}", p) for p in data["package-data"]["amodalpl"]), name
