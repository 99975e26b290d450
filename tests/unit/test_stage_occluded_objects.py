"""`amodalpl synth --recipe occluded-objects` on drawn scenes: levels, files, and nothing that tells of occluders."""

from __future__ import annotations

import json
from collections import Counter

import cv2
import numpy as np
import pytest
from interruptions import Killed, KillIn

from amodalpl.data.read import read_annotations
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import DataError
from amodalpl.masks import rle
from amodalpl.metrics.levels import OCCLUDED_VEHICLES
from amodalpl.pipeline.complete import complete
from amodalpl.pipeline.synth import synth
from amodalpl.settings_values import resolve

VALUES = {
    "recipe": "occluded-objects", "holdout_fraction": 0.5, "occluded": {"least_side_px": 12, "objects": 3},
}  # fmt: skip
FILES = {"truth.json", "boxes.json", "train.json", "images", "preview.png"}


def settings(seed=0, **synthesis):
    return resolve({"seed": seed, "synthesis": {**VALUES, **synthesis}})


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"), 10, seed=0, size_hw=(64, 80))


@pytest.fixture(scope="module")
def made(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "hidden"
    return synth(scenes.truth, scenes.images, out, settings())


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "run.json"}


def test_writes_what_it_says(made):
    assert {p.name for p in made.out.iterdir()} == {*FILES, "run.json"}
    record = json.loads((made.out / "run.json").read_text())
    assert record["state"] == "done" and set(record["outputs"]) == FILES
    assert made.next == f"amodalpl evaluate boxes {made.out / 'truth.json'} {made.out / 'images'}"
    levels = made.counts["scenes by level"]
    assert sum(levels.values()) == made.counts["scenes"] and made.counts["objects shown"] == 3
    assert list(levels) == [level.name for level in OCCLUDED_VEHICLES.levels]


def test_each_photo_has_one_object_of_its_level(made):
    truth = json.loads((made.out / "truth.json").read_text())
    of_photo = Counter(entry["image_id"] for entry in truth["annotations"])
    assert len(of_photo) == len(truth["images"]) and set(of_photo.values()) == {1}  # no occluder stands there
    known = read_annotations(made.out / "truth.json")
    assert not known.dropped
    by_name = {level.name: level for level in OCCLUDED_VEHICLES.levels}
    for photo, entry, instance in zip(truth["images"], truth["annotations"], known.instances, strict=True):
        whole, visible = rle.decode(instance.amodal), rle.decode(instance.modal)
        assert not (visible & ~whole).any()
        hidden = 1 - visible.sum() / whole.sum()
        assert entry["occlude_rate"] == pytest.approx(hidden, abs=1e-6)
        assert by_name[photo["level"]].holds(hidden, entry["context_rate"])
        assert cv2.imread(str(made.out / "images" / photo["file_name"])).shape[:2] == whole.shape


def test_boxes_have_no_masks_and_those_of_the_truth(made):
    boxes = read_annotations(made.out / "boxes.json", boxes=True)
    truth = read_annotations(made.out / "truth.json")
    assert not boxes.dropped and "segmentation" not in (made.out / "boxes.json").read_text()
    for given, known in zip(boxes.instances, truth.instances, strict=True):
        assert given.modal is None and given.amodal is None and given.category_id == known.category_id
        assert given.modal_box_xywh == tuple(map(float, rle.box_xywh(known.modal)))
        assert given.amodal_box_xywh == tuple(map(float, rle.box_xywh(known.amodal)))


def test_photos_to_learn_from_are_others(made, scenes):
    train = read_annotations(made.out / "train.json")
    shown = {entry["photo_id"] for entry in json.loads((made.out / "truth.json").read_text())["images"]}
    everything = read_annotations(scenes.truth)
    held_out = {i.id for i in everything.images} - {i.id for i in train.images}
    assert shown <= held_out and len(held_out) == 5 == made.counts["to learn from"]
    assert {i.id: i.amodal for i in train.instances} == {
        i.id: i.amodal for i in everything.instances if i.image_id not in held_out
    }


def test_of_visible_masks_only_what_nothing_is_near_is_whole(scenes, tmp_path):
    """In each photo one square alone, one of another class that touches a third; 20 px each."""
    data = json.loads(scenes.annotations.read_text())
    data["annotations"] = []
    for image in data["images"]:
        for x, y, category_id in ((4, 4, 1), (30, 30, 2), (50, 30, 2)):
            mask = np.zeros((64, 80), bool)
            mask[y : y + 20, x : x + 20] = True
            head = {"id": len(data["annotations"]) + 1, "image_id": image["id"], "category_id": category_id}
            data["annotations"].append({**head, "segmentation": rle.to_json(rle.encode(mask))})
    (tmp_path / "squares.json").write_text(json.dumps(data))
    made = synth(tmp_path / "squares.json", scenes.images, tmp_path / "out", settings())
    assert made.counts["whole objects in them"] == 5
    assert made.counts["left out"] == {"something is near that may hide it": 10}
    assert "visible_mask" not in (made.out / "train.json").read_text()
    assert {i.category_id for i in read_annotations(made.out / "truth.json").instances} == {1}


def test_killed_and_started_again(made, scenes, tmp_path):
    with pytest.raises(Killed):
        synth(scenes.truth, scenes.images, tmp_path / "out", settings(), progress=KillIn("hiding objects", 12))
    synth(scenes.truth, scenes.images, tmp_path / "out", settings())
    assert contents(tmp_path / "out") == contents(made.out)


def test_other_seed_other_photos(made, scenes, tmp_path):
    other = synth(scenes.truth, scenes.images, tmp_path / "out", settings(seed=5))
    assert contents(other.out) != contents(made.out)


def test_nothing_whole_is_one_line(scenes, tmp_path):
    wanted = settings(occluded={"least_side_px": 500})
    with pytest.raises(DataError, match=r"expected objects of 5 held-out photos that are whole, .* got 0 .*lower"):
        synth(scenes.truth, scenes.images, tmp_path / "out", wanted)


def test_one_photo_is_one_line(tmp_path):
    one = write_scenes(tmp_path / "one", 1, seed=0, size_hw=(64, 80))
    with pytest.raises(DataError, match="expected usable instances in at least 2 photos, got 1"):
        synth(one.truth, one.images, tmp_path / "out", settings())


def test_a_completer_cannot_learn_from_them(made, tmp_path):
    with pytest.raises(DataError, match=r"expected cut-outs to learn from, got the recipe occluded-objects"):
        complete(made.out, tmp_path / "completer", {})
    assert not (tmp_path / "completer").exists()
