"""Mask scoring: the IoU that is to be told, its loss, the scores that follow, and whole trainings."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from mmengine.structures import InstanceData

from amodalpl.detector import mmdet_registry as _mmdet_registry  # noqa: F401
from amodalpl.detector import model_table
from amodalpl.detector.data.paired_masks import PairedMasks
from amodalpl.detector.mmdetection import MODELS
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import SettingsError
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.settings import DetectorSettings
from amodalpl.settings_values import resolve

pytestmark = pytest.mark.usefixtures("mmdet_scope")

TINY = {
    "backbone": "resnet18_small", "steps": 1, "batch_size": 2, "workers": 0, "image_scale": [64, 48],
    "rpn_proposals": 20, "roi_samples": 16, "channels": 16, "score_threshold": 0.0, "mask_scoring": True,
    "vrsp": {"codes": 8, "shape_steps": 5},
}  # fmt: skip


def config(model, **detector):
    return model_table.model_config(DetectorSettings(model=model, channels=16, mask_scoring=True, **detector), 3, "GN")


def test_the_loss_by_hand():
    """The region is the left half of an object; the mask found is the left half of the region.

    IoU = 14 x 28 / (14 x 28 + 2 x 28 x 28 - 14 x 28) = 0.25, since the object goes on outside; 0.5 (0.75 - 0.25)^2.
    """
    whole = config("mask-rcnn")
    head = MODELS.build(whole["roi_head"]["mask_iou_head"])
    logits = torch.full((1, 28, 28), -0.1)
    logits[:, :, :14] = 0.1  # a probability just above a half: found
    frame = np.zeros((1, 40, 60), np.uint8)
    frame[:, 10:30, 10:50] = 1
    losses = head.loss_and_target(
        torch.tensor([0.75]),
        logits,
        torch.ones(1, 28, 28),
        [SimpleNamespace(pos_priors=torch.tensor([[10.0, 10, 30, 30]]), pos_assigned_gt_inds=torch.tensor([0]))],
        [SimpleNamespace(masks=PairedMasks(frame, 40, 60, {"visible": frame}))],
        SimpleNamespace(mask_thr_binary=whole["train_cfg"]["rcnn"]["mask_thr_binary"]),
    )
    assert float(losses["loss_mask_iou"]) == pytest.approx(0.5 * 0.5**2, abs=1e-5)


def test_scores_are_those_of_the_class_times_the_quality_and_the_best_comes_first():
    head = MODELS.build(config("mask-rcnn")["roi_head"]["mask_iou_head"])
    found = InstanceData(
        scores=torch.tensor([0.9, 0.8, 0.5]), labels=torch.tensor([0, 1, 2]), masks=torch.eye(3, dtype=torch.bool)
    )
    told = torch.tensor([[0.5, 9.0, 9.0], [9.0, 1.3, 9.0], [9.0, 9.0, -0.2]])
    [after] = head.predict_by_feat([told], [found])
    assert after.scores.tolist() == pytest.approx([0.8, 0.45, 0.0])
    assert after.labels.tolist() == [1, 0, 2] and after.masks.int().argmax(1).tolist() == [1, 0, 2]


def test_it_is_off_by_default_and_the_same_head_for_all():
    for model in ("mask-rcnn", "mask-rcnn-c8", "orcnn", "vrsp"):
        off = model_table.model_config(DetectorSettings(model=model), 3, "GN")
        assert "mask_iou_head" not in off["roi_head"]
        assert config(model)["roi_head"]["mask_iou_head"] == config("mask-rcnn")["roi_head"]["mask_iou_head"]


@pytest.mark.parametrize(
    ("model", "trust"),
    [("mask-rcnn", {}), ("orcnn", {"trust": {"pixels": 0.0}}), pytest.param("vrsp", {}, marks=pytest.mark.slow)],
    ids=["mask-rcnn", "orcnn", "vrsp"],
)
def test_a_whole_training(model, trust, tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 4, seed=0, size_hw=(96, 128))
    settings = resolve({"detector": {**TINY, "model": model, **trust}})
    done = train_detector(scenes.truth, scenes.images, tmp_path / "out", settings, init="none", device="cpu")
    found = json.loads((done.out / "detections.json").read_text())
    assert found and all(0 <= entry["score"] <= 1 for entry in found)
    assert ("visible_mask" in found[0]) == (model != "mask-rcnn")
    curve = json.loads((done.out / "metrics.json").read_text())["curve"]
    assert curve[-1]["loss_mask_iou"] > 0


@pytest.mark.parametrize("model", ["boxinst", "mmdet-config"])
def test_models_whose_masks_it_does_not_score_are_refused(model):
    from amodalpl.data.records import AnnotationSet
    from amodalpl.detector.data.label_notes import LabelNotes

    with pytest.raises(SettingsError, match=f"detector.mask_scoring: .*detector.model={model}"):
        model_table.require_needs(
            DetectorSettings(model=model, mask_scoring=True), AnnotationSet([], [], []), LabelNotes()
        )
