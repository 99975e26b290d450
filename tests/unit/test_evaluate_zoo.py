"""Several detectors in one table: one that finds everything, one that finds half of it without visible masks."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("mmdet")

import torch

from amodalpl.data.read import read_annotations
from amodalpl.detector import inference, trained
from amodalpl.detector.inference import Detection
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import DataError, OutputError
from amodalpl.evaluation.compare import compare_evaluations
from amodalpl.evaluation.zoo import COST, evaluate_zoo
from amodalpl.metrics import ordering

AP, VISIBLE = "COCO AP amodal (segm)", "COCO AP visible (segm)"


@pytest.fixture
def data(tmp_path):
    return write_scenes(tmp_path / "scenes", 3, seed=0)


@pytest.fixture
def oracles(monkeypatch, data, tmp_path):
    """Detectors that know the truth, as far as the name of their folder says; they count the photos that they see."""
    truth = read_annotations(data.truth)
    names = {"full": ["disc", "box", "bottle", "star"], "one_mask": ["box", "star", "disc", "bottle"], "cats": ["cat"]}
    photos = {}
    for image in truth.images:
        from amodalpl.io.images import image_path, read_image

        photos[read_image(image_path(data.images, image.file_name)).tobytes()] = image.id
    seen = []

    def open_detector(folder, checkpoint, device):
        categories = [{"id": n, "name": name} for n, name in enumerate(names[folder.name], 1)]
        model = torch.nn.Linear(9, 1)
        return SimpleNamespace(name=folder.name, categories=categories, model=model, require_seen=list)

    def detect_photos(opened, images, *, least_score, batch_size):
        seen.append(opened.name)
        [image_id] = [photos[image.tobytes()] for image in images]
        things = truth.by_image[image_id]
        if opened.name == "one_mask":
            things = things[::2]
        by_name = {entry["name"]: entry["id"] for entry in opened.categories}
        return [
            [
                Detection(
                    by_name[truth.category_names[thing.category_id]], 0.9, (0.0, 0.0, 1.0, 1.0), thing.amodal,
                    thing.modal if opened.name == "full" else None,
                )
                for thing in things
            ]
        ]  # fmt: skip

    monkeypatch.setattr(trained, "open_detector", open_detector)
    monkeypatch.setattr(inference, "detect_photos", detect_photos)
    return {name: tmp_path / name for name in names}, seen


def test_one_row_for_each_and_only_what_is_defined_for_it(data, oracles, tmp_path):
    folders, seen = oracles
    done = evaluate_zoo(
        data.truth, data.images, [folders["full"], folders["one_mask"]], out=tmp_path / "out", device="cpu"
    )
    assert seen.count("full") == len(seen) / 2 == 4  # three photos, and one to warm up
    assert done.scores[AP]["full"]["AP"] == 1 and 0.2 < done.scores[AP]["one_mask"]["AP"] < 0.9
    assert set(done.scores[VISIBLE]) == {"full"} and done.scores[VISIBLE]["full"]["AP"] == 1
    assert {"AR1", "AR10", "AR100"} <= set(done.scores[AP]["full"])
    order = done.scores[ordering.ONE_WAY]
    assert order["full"]["accuracy"] == 1 and order["one_mask"]["accuracy"] < 1
    assert order["full"]["pairs"] == order["one_mask"]["pairs"] > 0  # what was not found is missed, not left out
    assert done.scores[ordering.DIRECTED]["full"]["f1"] == pytest.approx(1, abs=0.15)
    for row in done.scores[COST].values():
        assert row["images per second"] > 0 and row["peak memory, MB"] > 0 and row["weights, millions"] == 0
    found = json.loads((tmp_path / "out/detections_one_mask.json").read_text())
    truth = read_annotations(data.truth)
    whole = {(thing.image_id, thing.category_id) for thing in truth.instances}
    assert found and {(entry["image_id"], entry["category_id"]) for entry in found} <= whole  # by name, not by number


def test_its_file_can_be_compared(data, oracles, tmp_path):
    folders, _ = oracles
    for name in ("full", "one_mask"):
        evaluate_zoo(data.truth, data.images, [folders[name]], out=tmp_path / f"of_{name}", device="cpu")
    with pytest.raises(DataError, match="other protocols"):
        compare_evaluations([tmp_path / "of_full", tmp_path / "of_one_mask"])


def test_a_truth_of_visible_masks_leaves_out_what_needs_whole_ones(data, oracles, tmp_path):
    folders, _ = oracles
    both = [folders["one_mask"], folders["full"]]
    done = evaluate_zoo(data.annotations, data.images, both, out=tmp_path / "out", device="cpu")
    assert list(done.scores) == [VISIBLE, COST] and done.scores[VISIBLE].keys() == {"full"}
    assert done.scores[VISIBLE]["full"]["AP"] == 1 and done.scores[COST].keys() == {"one_mask", "full"}
    line = "AP of whole masks, boxes and occlusion, and the order: the truth has visible masks only"
    assert done.counts["not_scored"] == f"{line}; of one_mask all but {COST}: no visible masks"
    written = json.loads((tmp_path / "out/evaluation_zoo.json").read_text())
    assert written["scores"] == done.scores and written["counts"]["not_scored"] == done.counts["not_scored"]
    alone = evaluate_zoo(data.annotations, data.images, both[1:], device="cpu")
    assert alone.counts["not_scored"] == line
    with_whole = evaluate_zoo(data.truth, data.images, both[:1], device="cpu")
    assert "not_scored" not in with_whole.counts


def test_a_model_of_both_masks_that_finds_nothing_has_its_row(data, oracles, tmp_path, monkeypatch):
    folders, _ = oracles
    known = trained.open_detector(folders["full"], None, "cpu")
    empty = SimpleNamespace(**{**vars(known), "name": "orcnn"})
    monkeypatch.setattr(trained, "open_detector", lambda *_: empty)
    monkeypatch.setattr(inference, "detect_photos", lambda *_, **__: [[]])
    done = evaluate_zoo(data.annotations, data.images, [folders["full"]], device="cpu")
    assert done.scores[VISIBLE]["full"]["AP"] == 0 and "no visible masks" not in done.counts["not_scored"]


def test_zoos_that_cannot_be_scored_are_one_line(data, oracles, tmp_path):
    folders, seen = oracles
    for given, message in (
        ([], "expected at least one folder"),
        ([folders["full"], folders["full"]], "full: expected different detectors, got this one twice"),
        ([folders["full"], folders["cats"]], "cats: expected classes of .*truth.json .*bottle.*, got cat; --class-agn"),
    ):
        with pytest.raises(DataError, match=message):
            evaluate_zoo(data.truth, data.images, given, device="cpu")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file: expected a folder to write to"):
        evaluate_zoo(data.truth, data.images, [folders["full"]], out=tmp_path / "file", device="cpu")
    assert not seen  # nothing was looked at before


def test_pairs_are_matched_by_the_surest_detection():
    from amodalpl.evaluation.zoo import truth_of_each
    from amodalpl.masks import rle

    def bar(left, right):
        mask = np.zeros((4, 20), dtype=bool)
        mask[:, left:right] = True
        return rle.encode(mask)

    truths = [bar(0, 10), bar(10, 20)]
    found = [bar(0, 9), bar(0, 10), bar(12, 20), bar(4, 16)]
    assert truth_of_each(found, truths) == {0: 0, 2: 1}
