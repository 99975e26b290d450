"""Every model that learns from boxes: a step with finite losses and gradients, masks, going on after a kill."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from mmengine.dataset import pseudo_collate

from amodalpl.detector import model_table
from amodalpl.drawn_scenes import write_scenes
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.runtime.progress import SILENT, Progress
from amodalpl.settings import DetectorSettings
from amodalpl.settings_values import resolve

TINY = {
    "backbone": "resnet18_small", "steps": 3, "batch_size": 2, "workers": 0, "optimizer": "adamw",
    "learning_rate": 1e-3, "warmup_steps": 1, "image_scale": [64, 48], "rpn_proposals": 20, "roi_samples": 16,
    "channels": 16, "score_threshold": 0.0, "checkpoint_every": 2,
}  # fmt: skip
MODELS = [name for name in model_table.MODELS if model_table.learns_from_boxes(DetectorSettings(model=name))]


class Killed(Exception):
    pass


class KilledAfter(Progress):
    def __init__(self, steps):
        self.left = steps

    @contextmanager
    def task(self, label, total, done=0):
        def advance(units):
            self.left -= label == "training detector"
            if not self.left:
                raise Killed

        yield advance


def start(scenes, out, model, progress=SILENT):
    settings = resolve({"detector": {**TINY, "model": model}})
    return train_detector(
        scenes.truth, scenes.images, out, settings, init="none", device="cpu", progress=progress
    )  # fmt: skip


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"), 4, seed=0, size_hw=(96, 128))


@pytest.fixture(scope="module", params=MODELS)
def trained(request, scenes, tmp_path_factory):
    return start(scenes, tmp_path_factory.mktemp("whole") / "out", request.param)


def test_predicts_masks(trained):
    found = json.loads((trained.out / "detections.json").read_text())
    both = "visible" in model_table.MODELS[trained.counts["model"]].predicts
    assert found
    for detection in found:
        assert ("visible_mask" in detection) == both
        assert detection["segmentation"]["size"] == [96, 128]
    assert ("COCO AP visible (segm, held-back labels)" in trained.scores) == both
    assert any("masks of this model are hardly labels yet" in line for line in trained.counts["warnings"])


def test_killed_and_started_again_it_ends_the_same(trained, scenes, tmp_path):
    model = trained.counts["model"]
    with pytest.raises(Killed):
        start(scenes, tmp_path / "out", model, KilledAfter(3))
    start(scenes, tmp_path / "out", model)
    weights = [torch.load(out / "weights.pth", weights_only=True) for out in (trained.out, tmp_path / "out")]
    first, again = (content["state_dict"] for content in weights)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_step_has_finite_losses_and_a_gradient_for_every_weight(trained):
    from amodalpl.detector import training
    from amodalpl.detector.data.dataset import LabelDataset
    from amodalpl.detector.quiet import third_party_quiet

    with third_party_quiet():
        from mmengine.config import Config

        config = Config.fromfile(trained.out / "mmdet_config.py")
    model = training.build(config.model, 0)
    data = config.train_dataloader.dataset
    photos = LabelDataset(**{key: value for key, value in data.items() if key != "type"})
    batch = model.data_preprocessor(pseudo_collate([photos[0], photos[1]]), training=True)
    losses = model(**batch, mode="loss")
    total = sum(value if isinstance(value, torch.Tensor) else sum(value) for value in losses.values())
    total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert np.isfinite(float(total.detach()))
    assert not [name for name, gradient in gradients.items() if gradient is None or not torch.isfinite(gradient).all()]
    assert any(gradient.abs().sum() > 0 for name, gradient in gradients.items() if "mask_head" in name)
