"""Models that learn from masks find the whole objects of 20 drawn scenes that they have seen often enough."""

import pytest

pytest.importorskip("mmdet")

from amodalpl.detector.model_table import MODELS, learns_from_boxes
from amodalpl.drawn_scenes import write_scenes
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.settings import DetectorSettings
from amodalpl.settings_values import resolve

SETTINGS = {
    "backbone": "resnet18_small", "steps": 600, "batch_size": 4, "workers": 0, "optimizer": "adamw",
    "learning_rate": 2e-3, "warmup_steps": 20, "milestones": [0.7, 0.9], "image_scale": [160, 120],
    "rpn_proposals": 100, "roi_samples": 32, "channels": 32, "vrsp": {"codes": 64, "shape_steps": 300},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("model", [n for n in MODELS if not learns_from_boxes(DetectorSettings(model=n))])
def test_overfits_twenty_scenes(model, tmp_path):
    seen, again = (write_scenes(tmp_path / name, 20, seed=0) for name in ("seen", "again"))
    settings = resolve({"detector": {**SETTINGS, "model": model}})
    summary = train_detector(
        seen.truth, seen.images, tmp_path / "out", settings, val=again.truth, val_images=again.images, init="none",
        device="cpu",
    )  # fmt: skip
    assert summary.scores["COCO AP amodal (segm)"]["detector"]["AP50"] > 0.9
    if "visible" in MODELS[model].predicts:
        assert summary.scores["COCO AP visible (segm)"]["detector"]["AP50"] > 0.85


# Least AP50 after 300 steps; measured: 0.91, 0.30 and 0.33, where masks that stay lines have 0.03.
FROM_BOXES = {"bbtp": 0.7, "boxinst": 0.2, "blade": 0.2}
MASKS = {"warm_up": 0.5, "colour_threshold": 0.01}  # drawn scenes have few neighbours of one colour


@pytest.mark.slow
@pytest.mark.parametrize("model", FROM_BOXES)
def test_learns_twenty_scenes_from_boxes(model, tmp_path):
    seen, again = (write_scenes(tmp_path / name, 20, seed=0) for name in ("seen", "again"))
    settings = resolve({"detector": {**SETTINGS, "steps": 300, "model": model, "boxinst": MASKS}})
    summary = train_detector(
        seen.truth, seen.images, tmp_path / "out", settings, val=again.truth, val_images=again.images, init="none",
        device="cpu",
    )  # fmt: skip
    assert summary.scores["COCO AP amodal (segm)"]["detector"]["AP50"] > FROM_BOXES[model]
