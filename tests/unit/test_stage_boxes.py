"""From a file of boxes to a label folder in two commands; bad input is one line."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from amodalpl.data.read import read_annotations
from amodalpl.detector.compositional.whole_objects import choose_whole_objects
from amodalpl.errors import CheckpointError, DataError
from amodalpl.io.files import read_json
from amodalpl.masks import rle
from amodalpl.pipeline.label_boxes import label_boxes
from amodalpl.pipeline.train_compositional import train_compositional
from amodalpl.settings_values import resolve
from amodalpl_cli.main import app

pytest.importorskip("mmdet")
SETTINGS = {
    "compositional": {"backbone": "mobilenet_v2", "concepts": 16, "concept_rounds": 10, "kappa": 10, "poses": 2}
}
SIZE_HW = (96, 128)


def write_boxes(folder, photos=8, boxes=((30, 20, 60, 50),), category_ids=(5,), stated=None):
    """Photos of a red and blue block on a mottled ground, and a COCO file of their boxes without any mask."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for k in range(photos):
        image = rng.integers(60, 110, (*SIZE_HW, 3)).astype(np.uint8)
        for x, y, w, h in boxes:
            image[y : y + h, x : x + w // 2] = (220, 30, 30)
            image[y : y + h, x + w // 2 : x + w] = (30, 30, 220)
        cv2.imwrite(str(folder / "images" / f"{k}.png"), image[..., ::-1])
        images.append({"id": k, "file_name": f"{k}.png", "height": SIZE_HW[0], "width": SIZE_HW[1]})
        for box, category_id in zip(boxes, category_ids, strict=True):
            entry = {"id": len(annotations), "image_id": k, "category_id": category_id, "bbox": list(box)}
            annotations.append({**entry, **(stated or {})})
    categories = [{"id": 5, "name": "block"}, {"id": 6, "name": "other"}]
    file = folder / "boxes.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file, folder / "images"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxes")
    file, images = write_boxes(folder / "data")
    done = train_compositional(file, images, folder / "model", resolve(SETTINGS), init="none")
    return file, images, folder / "model", done


def test_boxes_become_a_label_folder(trained, tmp_path):
    file, images, model, done = trained
    assert done.counts["objects"] == 8 and done.counts["classes"]["block"] == {"objects": 8, "poses": 1}
    summary = label_boxes(file, images, model, tmp_path / "a", resolve(SETTINGS))
    assert summary.counts["labels"] + sum(summary.counts["left out"].values()) == 8
    assert summary.counts["labels"] >= 6 and summary.counts["uncertainty"] == "not calibrated"
    labels = json.loads((tmp_path / "a" / "pseudo_amodal.json").read_text())
    read = read_annotations(tmp_path / "a" / "pseudo_amodal.json")
    assert len(read.instances) == len(labels["annotations"]) and read.format == "d2sa"
    for entry in labels["annotations"]:
        assert entry["amodalpl"]["completer"] == "bayesian-amodal" and "uncalibrated" in entry["amodalpl"]["flags"]
    for instance in read.instances:
        x, y, w, h = cv2.boundingRect(np.ascontiguousarray(mask_of(instance)))
        assert x >= 25 and y >= 15 and x + w <= 95 and y + h <= 75
    assert (tmp_path / "a" / "report.html").stat().st_size > 1000
    label_boxes(file, images, model, tmp_path / "b", resolve(SETTINGS))
    first, second = ((tmp_path / n / "pseudo_amodal.json").read_bytes() for n in "ab")
    assert first == second


def mask_of(instance):
    return rle.decode(instance.amodal).astype(np.uint8)


def test_training_and_labelling_go_on_after_their_last_part(trained, tmp_path, monkeypatch):
    file, images, model, _ = trained
    whole = {n: (model / n).read_bytes() for n in ("compositional.json", "parts/concepts.pth")}

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("amodalpl.pipeline.train_compositional.write_segmenter", killed)
        train_compositional(file, images, tmp_path / "model", resolve(SETTINGS), init="none")
    assert read_json(tmp_path / "model" / "run.json", "")["state"] == "unfinished"
    with monkeypatch.context() as patch:
        patch.setattr("amodalpl.detector.compositional.training.BoxTrainer._features", killed)
        train_compositional(file, images, tmp_path / "model", resolve(SETTINGS), init="none")
    assert whole == {n: (tmp_path / "model" / n).read_bytes() for n in whole}

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("amodalpl.pipeline.label_boxes._put_together", killed)
        label_boxes(file, images, model, tmp_path / "labels", resolve(SETTINGS))
    with monkeypatch.context() as patch:
        patch.setattr("amodalpl.pipeline.label_boxes.predict_boxes", killed)
        label_boxes(file, images, model, tmp_path / "labels", resolve(SETTINGS))
    assert not (tmp_path / "labels" / ".parts").exists()


def test_a_class_that_was_not_learnt_and_crowds_are_left_out_with_a_reason(trained, tmp_path):
    _, _, model, _ = trained
    file, images = write_boxes(tmp_path / "data", 2, ((10, 10, 40, 40), (70, 30, 40, 40)), (5, 6))
    done = label_boxes(file, images, model, tmp_path / "labels", resolve(SETTINGS))
    assert done.counts["left out"]["class not learnt"] == 2
    file, images = write_boxes(tmp_path / "other", 2, category_ids=(6,))
    with pytest.raises(DataError, match=r"boxes.json: expected a box of a class that .* knows \(block\), got none"):
        label_boxes(file, images, model, tmp_path / "none", resolve(SETTINGS))
    known = resolve({"compositional": {**SETTINGS["compositional"], "centre": "known"}})
    with pytest.raises(DataError, match="expected a box of a class"):  # no box of the whole object is stated
        label_boxes(*write_boxes(tmp_path / "seen", 2), model, tmp_path / "known", known)


def test_which_boxes_are_learnt_from(tmp_path):
    boxes = ((5, 10, 40, 40), (30, 20, 60, 50), (0, 60, 20, 36), (100, 10, 20, 20), (100, 40, 20, 40))
    file, _ = write_boxes(tmp_path, 6, boxes, (5, 5, 5, 5, 6))
    settings = resolve({}).compositional
    chosen, left_out = choose_whole_objects(read_annotations(file, boxes=True), settings, 0)
    assert Counter(o.box_xywh for o in chosen) == {(100, 40, 20, 40): 6}
    assert left_out == {
        "within another box by more than compositional.most_overlap": 12,
        "touches the edge of its photo": 6,
        "lower than compositional.least_height_px": 6,
    }
    few = settings.model_copy(update={"objects_per_class": 4})
    chosen, left_out = choose_whole_objects(read_annotations(file, boxes=True), few, 0)
    assert len(chosen) == 4 and left_out["beyond compositional.objects_per_class"] == 2
    assert [o.image_id for o in chosen] == sorted(o.image_id for o in chosen)


def test_hidden_objects_are_not_learnt_from(tmp_path):
    file, _ = write_boxes(tmp_path / "a", 6, stated={"amodal_bbox": [30, 20, 80, 50]})
    chosen, left_out = choose_whole_objects(read_annotations(file, boxes=True), resolve({}).compositional, 0)
    assert not chosen and left_out == {"its visible box is smaller than its whole box": 6}


@pytest.mark.parametrize(
    ("photos", "init", "error", "message"),
    [
        pytest.param(3, "none", DataError, "expected 5 unoccluded objects of any class", id="few objects"),
        pytest.param(6, None, CheckpointError, "has no start weights to download", id="no start weights"),
        pytest.param(6, "nowhere.pth", CheckpointError, "nowhere.pth: expected a checkpoint", id="no such file"),
    ],
)
def test_what_cannot_be_trained_is_one_line(tmp_path, photos, init, error, message):
    file, images = write_boxes(tmp_path / "data", photos)
    with pytest.raises(error, match=message):
        train_compositional(file, images, tmp_path / "model", resolve(SETTINGS), init=init)
    assert not (tmp_path / "model").exists()


def test_weights_of_another_network_free_the_folder(tmp_path):
    file, images = write_boxes(tmp_path / "data", 6)
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other.pth: expected the \d+ weights of mobilenet_v2"):
        train_compositional(file, images, tmp_path / "model", resolve(SETTINGS), init=str(tmp_path / "other.pth"))
    assert not (tmp_path / "model").exists()


def test_a_damaged_model_is_one_line(trained, tmp_path):
    file, images, model, _ = trained
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model" / "weights.pth").write_bytes(b"nothing")
    done = CliRunner().invoke(
        app, ["label-boxes", str(file), str(images), "--model", str(tmp_path / "model"), "--out", str(tmp_path / "l")]
    )
    assert done.exit_code == 2 and "weights.pth: expected plain tensors" in " ".join(done.output.split())
