"""From a file of boxes to a label folder in two commands, by any model; bad input is one line."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("mmdet")

from amodalpl.data.read import read_annotations
from amodalpl.data.review_file import Decision, Review, fingerprint, write_review
from amodalpl.detector.box_prompt import BoxAnswer
from amodalpl.detector.compositional import training
from amodalpl.detector.compositional.whole_objects import choose_whole_objects
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import CheckpointError, DataError, SettingsError
from amodalpl.io.checkpoints import load_plain
from amodalpl.io.files import hash_file, read_json
from amodalpl.masks import rle
from amodalpl.pipeline.apply_review import apply_review
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.pipeline.synth import synth
from amodalpl.pipeline.train_compositional import train_compositional
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.settings_values import resolve
from amodalpl_cli.main import app


def label(file, images, out, model, settings=None, **more):
    """Label boxes, as `amodalpl pseudolabel --detector` does."""
    return make_labels(file, images, "builtin", out, settings or resolve(SETTINGS), detector=model, **more)


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
    summary = label(file, images, tmp_path / "a", model)
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
    label(file, images, tmp_path / "b", model)
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
        patch.setattr("amodalpl.detector.compositional.training.crop_box", killed)
        train_compositional(file, images, tmp_path / "model", resolve(SETTINGS), init="none")
    assert whole == {n: (tmp_path / "model" / n).read_bytes() for n in whole}

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("amodalpl.pipeline.label_boxes.write_label_files", killed)
        label(file, images, tmp_path / "labels", model)
    with monkeypatch.context() as patch:
        patch.setattr("amodalpl.detector.box_prompt.predict_boxes", killed)
        label(file, images, tmp_path / "labels", model)
    assert not (tmp_path / "labels" / ".parts").exists()


def test_the_end_to_end_stage_goes_on_after_its_last_epoch(trained, tmp_path, monkeypatch):
    file, images, model, _ = trained
    wanted = resolve({"compositional": {**SETTINGS["compositional"], "epochs": 2, "learning_rate": 0.1}})
    train_compositional(file, images, tmp_path / "whole", wanted, init="none")
    real, calls = training.tune, []

    def killed_at_the_second(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "tune", killed_at_the_second)
        train_compositional(file, images, tmp_path / "out", wanted, init="none")
    train_compositional(file, images, tmp_path / "out", wanted, init="none")
    whole, again = (load_plain(tmp_path / n / "weights.pth") for n in ("whole", "out"))
    assert all(torch.equal(whole[n], again[n]) for n in whole)
    before = load_plain(model / "weights.pth")
    assert not torch.equal(before["foreground_5"], whole["foreground_5"])  # it did something
    assert torch.equal(before["prior_5"], whole["prior_5"]) and torch.equal(before["concepts"], whole["concepts"])


def test_a_class_that_was_not_learnt_and_crowds_are_left_out_with_a_reason(trained, tmp_path):
    _, _, model, _ = trained
    file, images = write_boxes(tmp_path / "data", 2, ((10, 10, 40, 40), (70, 30, 40, 40)), (5, 6))
    done = label(file, images, tmp_path / "labels", model)
    assert done.counts["left out"]["class not learnt"] == 2
    file, images = write_boxes(tmp_path / "other", 2, category_ids=(6,))
    with pytest.raises(
        DataError,
        match=r"boxes.json: expected visible boxes of classes that .* knows \(block\), got 2 of other classes",
    ):
        label(file, images, tmp_path / "none", model)
    known = resolve({**SETTINGS, "labels": {"boxes": "whole"}})
    with pytest.raises(
        DataError, match="expected whole boxes to label, got none; labels.boxes=visible takes visible"
    ):  # no box of the whole object is stated
        label(*write_boxes(tmp_path / "seen", 2), tmp_path / "known", model, known)


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
        app,
        ["pseudolabel", str(file), str(images), "--detector", str(tmp_path / "model"), "--out", str(tmp_path / "l")],
    )
    assert done.exit_code == 2 and "weights.pth: expected plain tensors" in " ".join(done.output.split())


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"), 8, seed=0, size_hw=(64, 80))


@pytest.fixture(scope="module")
def known(scenes, tmp_path_factory):
    """Thirty and more photos of objects whose whole shape is known."""
    wanted = {"recipe": "occluded-objects", "holdout_fraction": 0.5, "occluded": {"least_side_px": 10, "objects": 4}}
    return synth(scenes.truth, scenes.images, tmp_path_factory.mktemp("known") / "out", resolve({"synthesis": wanted}))


def trained_for_a_moment(model, scenes, folder):
    small = {
        "backbone": "resnet18_small", "steps": 2, "batch_size": 2, "workers": 0, "channels": 16, "rpn_proposals": 20,
        "roi_samples": 8, "image_scale": [80, 64], "warmup_steps": 0, "model": model,
    }  # fmt: skip
    train_detector(scenes.truth, scenes.images, folder, resolve({"detector": small}), init="none", device="cpu")
    return folder


def boxes_of(truth, path):
    """The boxes of a truth without its masks, as somebody has them who never drew any."""
    content = json.loads(truth.read_text())
    for entry in content["annotations"]:
        entry["amodal_bbox"] = entry.pop("bbox")
        seen = entry.pop("visible_mask")
        entry["bbox"] = list(rle.box_xywh({"size": seen["size"], "counts": seen["counts"].encode()}))
        del entry["segmentation"]
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("model", ["mask-rcnn", "orcnn", "bbtp", "boxinst", "blade"])
def test_any_detector_labels_boxes_and_a_person_can_go_on(model, scenes, known, tmp_path):
    detector = trained_for_a_moment(model, scenes, tmp_path / "detector")
    boxes = boxes_of(scenes.truth, tmp_path / "boxes.json")
    made = label(boxes, scenes.images, tmp_path / "labels", detector, calibrate=known.out)
    content = json.loads((tmp_path / "labels" / "pseudo_amodal.json").read_text())
    total = len(json.loads(boxes.read_text())["annotations"])
    assert made.counts["labels"] + sum(made.counts["left out"].values()) == total
    assert made.counts["uncertainty"] == f"calibrated on {known.counts['scenes']} objects"
    for entry in content["annotations"]:
        assert entry["amodalpl"]["completer"] == model and "uncalibrated" not in entry["amodalpl"]["flags"]
        assert 0 <= entry["amodalpl"]["uncertainty"] <= 1
    assert not read_annotations(tmp_path / "labels" / "pseudo_amodal.json").dropped
    if content["annotations"]:  # a person rejects the first
        first = content["annotations"][0]
        decision = Decision(first["id"], "reject", fingerprint(first))
        write_review(
            tmp_path / "review.json", Review(hash_file(tmp_path / "labels" / "pseudo_amodal.json"), (decision,))
        )
        apply_review(tmp_path / "labels", scenes.images, tmp_path / "review.json", tmp_path / "corrected")
        corrected = json.loads((tmp_path / "corrected" / "pseudo_amodal.json").read_text())["annotations"]
        assert [e["id"] for e in corrected if e.get("iscrowd")] == [first["id"]]


def test_who_hides_whom_is_told_by_the_masks(tmp_path, monkeypatch):
    """Two boxes of one photo: the answer for the first goes on behind the second, as its visible part does not."""
    file, images = write_boxes(tmp_path / "data", 1, ((10, 10, 60, 40), (50, 10, 40, 40)), (5, 5))

    def rectangle(x, y, w, h):
        mask = np.zeros(SIZE_HW, bool)
        mask[y : y + h, x : x + w] = True
        return mask

    class Told:
        name, class_names, identity = "told", ["block"], {}

        def segment(self, image, boxes_xywh, class_names, *, whole):
            assert boxes_xywh == [(10, 10, 60, 40), (50, 10, 40, 40)] and not whole
            back = BoxAnswer(rectangle(10, 10, 60, 40), rectangle(10, 10, 40, 40), 0.3)
            return [back, BoxAnswer(rectangle(50, 10, 40, 40), rectangle(50, 10, 40, 40), 0.1)]

    monkeypatch.setattr("amodalpl.pipeline.label_boxes.open_box_prompt", lambda *_: Told())
    label(file, images, tmp_path / "labels", tmp_path)
    back, front = json.loads((tmp_path / "labels" / "pseudo_amodal.json").read_text())["annotations"]
    assert back["amodalpl"]["occluders"] == [front["id"]] and front["amodalpl"]["occluders"] == []
    assert (back["amodalpl"]["uncertainty"], back["area"]) == (pytest.approx(0.3), 2400)
    [order] = json.loads((tmp_path / "labels" / "order.json").read_text())["images"]
    assert [(p["front"], p["back"]) for p in order["pairs"]] == [(front["id"], back["id"])]


def test_uncertainty_is_that_of_known_objects(known, tmp_path, monkeypatch):
    """A model that says 0.1 of masks that are right and 0.6 of those that are half: labels say 0 and 0.5."""
    file, images = write_boxes(tmp_path / "data", 2)
    seen = []

    class Told:
        name, class_names, identity = "told", ["object"], {}

        def segment(self, image, boxes_xywh, class_names, *, whole):
            [(x, y, w, h)] = boxes_xywh
            seen.append(boxes_xywh[0])
            right = len(seen) % 2
            truth = masks[len(seen) - 1] if len(seen) <= len(masks) else np.ones(image.shape[:2], bool)
            half = truth & (np.cumsum(truth).reshape(truth.shape) <= truth.sum() // 2)
            mask = truth if right else half
            return [BoxAnswer(mask, mask, 0.1 if right else 0.6)]

    masks = [rle.decode(i.amodal) for i in read_annotations(known.out / "truth.json").instances]
    monkeypatch.setattr("amodalpl.pipeline.label_boxes.open_box_prompt", lambda *_: Told())
    settings = resolve({"labels": {"low_confidence": 0.4}})
    label(file, images, tmp_path / "labels", tmp_path, settings, calibrate=known.out)
    labels = json.loads((tmp_path / "labels" / "pseudo_amodal.json").read_text())["annotations"]
    said = sorted(entry["amodalpl"]["uncertainty"] for entry in labels)
    assert said[0] == pytest.approx(0, abs=0.02) and said[-1] == pytest.approx(0.5, abs=0.02)
    assert sorted("low_confidence" in e["amodalpl"]["flags"] for e in labels) == [False, True]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param({"review": "r.json"}, SettingsError, "--review: expected --detector without it", id="review"),
        pytest.param({"completer": "c"}, SettingsError, "--completer: expected --detector without it", id="completer"),
        pytest.param({"calibrate": "nowhere"}, DataError, "nowhere.*run.json", id="no such folder"),
    ],
)
def test_what_does_not_go_together_is_one_line(trained, tmp_path, options, error, message):
    file, images, model, _ = trained
    with pytest.raises(error, match=message):
        given = {"completer": "builtin", **{name: tmp_path / value for name, value in options.items()}}
        make_labels(file, images, out=tmp_path / "labels", settings=resolve({}), detector=model, **given)  # fmt: skip
    assert not (tmp_path / "labels").exists()


def test_calibration_without_a_detector_is_one_line(trained, tmp_path):
    file, images, *_ = trained
    with pytest.raises(SettingsError, match="--calibrate: expected --detector DIR beside it"):
        make_labels(file, images, "builtin", tmp_path / "labels", resolve({}), calibrate=tmp_path)


def test_too_few_known_objects_is_one_line_and_frees_the_folder(trained, known, tmp_path):
    file, images, model, _ = trained  # it knows blocks, and the scenes have discs, boxes, bottles and stars
    with pytest.raises(DataError, match=r"expected 20 objects to calibrate on, of classes that the model knows, got 0"):
        label(file, images, tmp_path / "labels", model, calibrate=known.out)
    assert not (tmp_path / "labels" / "run.json").exists()
