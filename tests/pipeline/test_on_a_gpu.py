"""Each stage on a GPU, at tiny sizes: that it runs there, and that what must not change there does not."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from drawn_completer import write_completer
from heard import Heard
from pycocotools import mask as coco_mask

pytest.importorskip("mmdet")

from amodalpl.completion.checkpoint import WEIGHTS
from amodalpl.data.label_folder import DOUBT, LABELS, ORDER
from amodalpl.detector import model_table
from amodalpl.drawn_scenes import write_scenes
from amodalpl.evaluation.detector import evaluate_detector
from amodalpl.io.checkpoints import load_plain
from amodalpl.pipeline.complete import complete
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.pipeline.predict import predict
from amodalpl.pipeline.synth import synth
from amodalpl.pipeline.train_compositional import train_compositional
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.runtime.progress import SILENT
from amodalpl.settings import DetectorSettings
from amodalpl.settings_values import merge, read_config, resolve

pytestmark = pytest.mark.gpu
DEVICE, HALF = "cuda", ("bf16", "fp16")
FROM_BOXES = [name for name in model_table.MODELS if model_table.learns_from_boxes(DetectorSettings(model=name))]
TINY = merge(read_config(Path("tiny")), {"detector": {"score_threshold": 0.0, "workers": 2, "image_scale": [128, 96]}})


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"), 8, seed=0, size_hw=(96, 128))


@pytest.fixture(scope="module")
def completer(tmp_path_factory):
    return write_completer(tmp_path_factory.mktemp("random") / "completer")


def label(scenes, completer, out, progress=SILENT, **labels):
    settings = resolve({"labels": {"images_per_part": 1, **labels}})
    make_labels(scenes.annotations, scenes.images, completer, out, settings, device=DEVICE, progress=progress)


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_processes_side_by_side_label_as_one(scenes, completer, tmp_path, precision):
    heard = Heard()
    for workers in (1, 3):
        label(scenes, completer, tmp_path / str(workers), heard, precision=precision, workers=workers)
    for name in (LABELS, ORDER, DOUBT):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()
    assert not [note for note in heard.notes if "ended early" in note]


def test_labels_in_full_precision_are_nearly_the_processor_s(scenes, completer, tmp_path):
    label(scenes, completer, tmp_path / "gpu", precision="fp32")
    make_labels(scenes.annotations, scenes.images, completer, tmp_path / "cpu", resolve({}), device="cpu")
    ours, theirs = (
        {a["id"]: a["segmentation"] for a in json.loads((tmp_path / name / LABELS).read_text())["annotations"]}
        for name in ("gpu", "cpu")
    )
    assert ours.keys() == theirs.keys()
    overlaps = [float(coco_mask.iou([ours[key]], [theirs[key]], [0])[0, 0]) for key in ours]
    assert sum(overlaps) / len(overlaps) > 0.99


@pytest.mark.parametrize("precision", ["fp32", *HALF])
def test_a_completer_trains_goes_on_and_is_fitted(scenes, tmp_path, precision):
    synth(scenes.annotations, scenes.images, tmp_path / "synth", resolve(TINY))
    values = merge(TINY, {"training": {"precision": precision, "steps": 6, "workers": 2}})
    for steps in (4, 6):  # the second goes on from the first
        wanted = merge(values, {"training": {"steps": steps}})
        summary = complete(tmp_path / "synth", tmp_path / "completer", wanted, device=DEVICE)
    assert summary.counts["steps"] == 6
    history = json.loads((tmp_path / "completer" / "metrics.json").read_text())["history"]
    assert all(math.isfinite(point["loss"]) for point in history if "loss" in point)
    assert all(bool(torch.isfinite(value).all()) for value in load_plain(tmp_path / "completer" / WEIGHTS).values())
    label(scenes, tmp_path / "completer", tmp_path / "labels", refit=True)


def test_biases_that_a_normalisation_takes_away_are_not_learnt(scenes, tmp_path):
    synth(scenes.annotations, scenes.images, tmp_path / "synth", resolve(TINY))
    networks = []
    for steps in (1, 9):
        complete(tmp_path / "synth", tmp_path / str(steps), merge(TINY, {"training": {"steps": steps}}), device=DEVICE)
        networks.append(load_plain(tmp_path / str(steps) / WEIGHTS))
    for name, early in networks[0].items():
        if name.endswith((".0.bias", ".3.bias")):
            assert torch.equal(early, networks[1][name]), name
        if name.endswith((".0.weight", ".3.weight")):
            assert not torch.equal(early, networks[1][name]), name


@pytest.fixture(scope="module", params=model_table.MODELS)
def detector(request, scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("detectors") / request.param
    values = {"model": request.param, "precision": HALF[0], "vrsp": {"codes": 4, "shape_steps": 5}}
    train_detector(
        scenes.truth, scenes.images, out, resolve(merge(TINY, {"detector": values})), init="none", device=DEVICE
    )
    return out


def test_every_detector_learns_and_detects(detector, scenes, tmp_path):
    curve = json.loads((detector / "metrics.json").read_text())["curve"]
    assert curve and all(math.isfinite(point["loss"]) for point in curve)
    assert evaluate_detector(detector, device=DEVICE).counts["device"] == DEVICE
    for precision in ("fp32", HALF[1]):
        settings = resolve({"predict": {"precision": precision, "score_threshold": 0.0}})
        found = predict(scenes.images, detector, tmp_path / precision, settings, device=DEVICE)
        assert found.counts


@pytest.mark.parametrize("model", FROM_BOXES)
def test_a_box_model_makes_labels(model, scenes, tmp_path):
    settings = resolve(merge(TINY, {"detector": {"model": model}}))
    train_detector(scenes.truth, scenes.images, tmp_path / "model", settings, init="none", device=DEVICE)
    make_labels(
        scenes.truth, scenes.images, "builtin", tmp_path / "labels", resolve(TINY), device=DEVICE,
        detector=tmp_path / "model",
    )  # fmt: skip
    assert (tmp_path / "labels" / LABELS).exists()


def test_the_compositional_model_makes_labels(scenes, tmp_path):
    train_compositional(scenes.truth, scenes.images, tmp_path / "model", resolve(TINY), init="none", device=DEVICE)
    make_labels(
        scenes.truth, scenes.images, "builtin", tmp_path / "labels", resolve(TINY), device=DEVICE,
        detector=tmp_path / "model",
    )  # fmt: skip
    assert (tmp_path / "labels" / LABELS).exists()
