"""Uncertainty and doubt of a label file reach the weights of the loss."""

import base64
import json

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from mmengine.config import ConfigDict

from amodalpl.data.read import read_annotations
from amodalpl.detector import training
from amodalpl.detector.config import full_config
from amodalpl.detector.data import coco_export
from amodalpl.detector.data.dataset import LabelDataset
from amodalpl.detector.data.label_notes import LabelNotes, read_label_notes
from amodalpl.detector.heads.mask_losses import Trust
from amodalpl.detector.heads.mask_truth import mask_truth
from amodalpl.detector.model_table import MODELS, model_config
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import DataError
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.settings import DetectorSettings
from amodalpl.settings_values import resolve

pytestmark = pytest.mark.usefixtures("mmdet_scope")

LEARN_FROM_MASKS = [name for name, model in MODELS.items() if not {"boxes", "both boxes"} & {*model.needs}]
TRUST = {"pixels": 1.0, "ignore_above": 0.75, "labels": 0.5}
TINY = {
    "backbone": "resnet18_small", "channels": 16, "rpn_proposals": 20, "roi_samples": 16, "image_scale": (128, 96),
    "workers": 0, "steps": 1, "warmup_steps": 0, "vrsp": {"codes": 8, "shape_steps": 5},
}  # fmt: skip


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """A label folder of two scenes: label k has uncertainty k / 10, and its left half a doubt of 100 of 255."""
    folder = tmp_path_factory.mktemp("labels")
    files = write_scenes(folder, 2, seed=0, size_hw=(96, 128))
    content = json.loads(files.truth.read_text())
    lines = []
    for index, entry in enumerate(content["annotations"]):
        x, y, w, h = (int(v) for v in entry["bbox"])
        entry["amodalpl"] = {"uncertainty": index / 10, "occluders": [], "flags": []}
        png = cv2.imencode(".png", np.full((3, 3), 100, np.uint8))[1]
        box = [x, y, max(w // 2, 1), h]
        lines.append(json.dumps({"id": entry["id"], "box": box, "png": base64.b64encode(png.tobytes()).decode()}))
    files.truth.write_text(json.dumps(content))
    (folder / "doubt.jsonl").write_text("\n".join(lines) + "\n")
    return files


def test_notes_are_read_by_id(labels):
    notes = read_label_notes(labels.truth, uncertainty=True, doubt=True)
    assert notes.uncertainty[1] == 0 and notes.uncertainty[3] == 0.2
    assert set(notes.doubt) == set(notes.uncertainty) and set(notes.doubt[1]) == {"box", "png"}
    assert read_label_notes(labels.truth, uncertainty=False, doubt=False) == LabelNotes()


def test_files_without_notes(labels):
    assert read_label_notes(labels.annotations, uncertainty=True, doubt=False).uncertainty == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rubbish", "line 1: expected id, box and png of a map of doubt, got 'rubbish'"),
        ('{"id": 1, "box": [0, 0, 0, 3], "png": ""}', "line 1: expected id, box and png"),
        ('{"id": 1, "png": ""}', "line 1: expected id, box and png"),
    ],
    ids=["no json", "empty box", "no box"],
)
def test_damaged_doubt(line, message, tmp_path):
    (tmp_path / "doubt.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=f"doubt.jsonl: {message}"):
        read_label_notes(tmp_path / "labels.json", uncertainty=False, doubt=True)


def test_uncertainty_out_of_range(tmp_path):
    entry = {"id": 1, "amodalpl": {"uncertainty": 2}}
    (tmp_path / "labels.json").write_text(json.dumps({"annotations": [entry]}))
    with pytest.raises(DataError, match=r"annotations\[0\].amodalpl.uncertainty: expected a number in 0..1, got 2"):
        read_label_notes(tmp_path / "labels.json", uncertainty=True, doubt=False)


@pytest.mark.parametrize("model", LEARN_FROM_MASKS)
def test_missing_notes_are_refused_before_training(model, labels, tmp_path):
    settings = resolve({"detector": {**TINY, "model": model, "trust": {"labels": 0.5}}})
    truth = json.loads(labels.truth.read_text())
    for entry in truth["annotations"]:
        del entry["amodalpl"]
    (tmp_path / "labels.json").write_text(json.dumps(truth))
    with pytest.raises(DataError, match=r"labels.json: detector.trust: expected the uncertainty of labels .* got none"):
        train_detector(tmp_path / "labels.json", labels.images, tmp_path / "out", settings, init="none", device="cpu")
    settings = resolve({"detector": {**TINY, "model": model, "trust": {"pixels": 0.5}}})
    with pytest.raises(DataError, match=r"detector.trust: expected maps of doubt \(doubt.jsonl beside .* got none"):
        train_detector(tmp_path / "labels.json", labels.images, tmp_path / "out", settings, init="none", device="cpu")
    assert not (tmp_path / "out").exists()


def sample(labels, folder, **detector):
    """Return the network and the first photo as training sees them."""
    settings = DetectorSettings(**{**TINY, **detector})
    annotations = read_annotations(labels.truth)
    notes = read_label_notes(labels.truth, uncertainty=True, doubt=True)
    classes = coco_export.categories(annotations, False)
    train = coco_export.to_coco(annotations, classes, with_visible=True, needs_visible=True, notes=notes)
    (folder / "train.json").write_text(json.dumps(train.coco))
    config = full_config(
        settings, train.class_names, train=folder / "train.json", train_images=labels.images,
        val=folder / "train.json", val_images=labels.images, weights=folder / "w.pth", seed=0,
        model=model_config(settings, len(train.class_names), "GN"),
    )  # fmt: skip
    model = training.build(config["model"], 0)
    dataset = {k: v for k, v in config["train_dataloader"]["dataset"].items() if k != "type"}
    return model, LabelDataset(**dataset)[0], train.coco


class Sampled:
    """What MMDetection says of regions that were sampled as objects: here the objects' own boxes."""

    def __init__(self, instances):
        self.pos_priors = instances.bboxes.tensor if hasattr(instances.bboxes, "tensor") else instances.bboxes
        self.pos_assigned_gt_inds = torch.arange(len(instances))
        self.pos_gt_labels = instances.labels


def test_weights_are_those_of_the_labels(labels, tmp_path):
    _, entry, coco = sample(labels, tmp_path, model="orcnn", trust=TRUST)
    instances = entry["data_samples"].gt_instances
    truth = mask_truth([Sampled(instances)], [instances], ConfigDict(mask_size=28), Trust(**TRUST))
    of_photo = [a for a in coco["annotations"] if a["image_id"] == entry["data_samples"].img_id]
    assert truth.instance_weights.tolist() == pytest.approx([1 - 0.5 * a["uncertainty"] for a in of_photo])
    flipped = entry["data_samples"].flip
    inner = truth.pixel_weights[:, 2:-2]
    doubtful, sure = (inner[:, :, 17:-2], inner[:, :, :10]) if flipped else (inner[:, :, 2:11], inner[:, :, 18:])
    torch.testing.assert_close(doubtful, torch.full_like(doubtful, 1 - 100 / 255), atol=0.02, rtol=0)
    assert float(sure.min()) > 0.99
    assert (truth.visible <= truth.amodal).all() and float((truth.amodal - truth.visible).sum()) > 0
    strict = mask_truth([Sampled(instances)], [instances], ConfigDict(mask_size=28), Trust(ignore_above=0.3))
    assert set(strict.pixel_weights.unique().tolist()) == {0.0, 1.0} and strict.instance_weights is None


@pytest.mark.parametrize("model", LEARN_FROM_MASKS)
def test_every_model_takes_them(model, labels, tmp_path):
    """Uncertain labels lower the losses of masks, and no others."""
    losses = []
    for trust in ({}, {"labels": 1.0}):
        network, entry, _ = sample(labels, tmp_path, model=model, trust=trust)
        for masks in [entry["data_samples"].gt_instances.masks]:
            if trust:
                masks.numbers["uncertainty"][:] = 1
        batch = network.data_preprocessor({key: [value] for key, value in entry.items()}, True)
        torch.manual_seed(0)
        found = network.train().loss(batch["inputs"], batch["data_samples"])
        losses.append({name: float(sum(v) if isinstance(v, list) else v) for name, v in found.items()})
    believed, doubted = losses
    of_masks = {name for name in believed if name.startswith("loss_mask")}
    assert of_masks and all(doubted[name] == 0 for name in of_masks)
    others = set(believed) - of_masks
    assert {n: doubted[n] for n in others} == pytest.approx({n: believed[n] for n in others}, rel=1e-4)


def test_the_stage_hands_them_on(labels, tmp_path):
    settings = resolve({"detector": {**TINY, "trust": TRUST}})
    out = tmp_path / "out"
    summary = train_detector(labels.truth, labels.images, out, settings, init="none", device="cpu")
    entries = json.loads((out / "train.json").read_text())["annotations"]
    assert all({"uncertainty", "doubt"} <= set(entry) for entry in entries)
    assert "doubt" in json.loads((out / "run.json").read_text())["inputs"] and summary.counts["model"] == "mask-rcnn"
    assert "TrustingMaskHead" in (out / "mmdet_config.py").read_text()
