"""`train-detector` by two processes: what they share, and what differs from one process with twice the batch.

No layer learns statistics, and the photos of a step are the same. Each loss is a mean over what its process looked at:
with unequal numbers of RoIs, the mean over processes is not the mean over all. So it is in MMDetection, and stays.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

pytest.importorskip("mmdet")

from drawn_completer import write_completer
from mmengine.dataset import pseudo_collate

from amodalpl.detector import training
from amodalpl.detector.base_configs.backbones import BACKBONES
from amodalpl.detector.base_configs.mask_rcnn import mask_rcnn
from amodalpl.detector.config import full_config
from amodalpl.detector.data.dataset import LabelDataset, ResumedSampler
from amodalpl.detector.model_table import model_config
from amodalpl.detector.quiet import third_party_quiet
from amodalpl.drawn_scenes import write_scenes
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.pipeline.synth import synth
from amodalpl.settings import DetectorSettings
from amodalpl.settings_values import resolve

TINY = (
    "backbone=resnet18_small", "steps=3", "batch_size=1", "workers=0", "optimizer=adamw", "warmup_steps=1",
    "image_scale=[64,48]", "rpn_proposals=20", "roi_samples=16", "channels=16", "score_threshold=0.0",
)  # fmt: skip


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("norm", ["BN", "GN"])
def test_no_layer_learns_statistics(backbone, norm):
    """So there is nothing to share: batch normalisation keeps what was loaded, the other kind looks at one photo."""
    settings = DetectorSettings(backbone=backbone, channels=16)
    model = training.build(mask_rcnn(settings, 2, norm), 0).train()
    layers = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert bool(layers) == (norm == "BN")
    assert not any(layer.training for layer in layers)


def test_two_processes_take_the_photos_of_one_with_twice_the_batch(monkeypatch):
    """With the same numbers, from which their random turns follow."""

    def first(count, rank, world):
        monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda: (rank, world))
        numbers = iter(ResumedSampler(range(5), 0, seed=0))
        return [next(numbers) for _ in range(count)]

    one, ranks = first(24, 0, 1), [first(12, rank, 2) for rank in (0, 1)]
    for step in range(6):
        assert set(one[4 * step : 4 * step + 4]) == {n for of in ranks for n in of[2 * step : 2 * step + 2]}


def losses_of(model, photos):
    """Return the losses of one step, the gradient of their sum, and how many RoIs each head saw."""
    seen = {}
    hooks = [
        model.roi_head.bbox_head.register_forward_hook(lambda m, i, out: seen.update(boxes=len(out[0]))),
        model.roi_head.mask_head.register_forward_hook(lambda m, i, out: seen.update(masks=len(out))),
    ]
    model.zero_grad()
    with third_party_quiet():
        losses = model(**model.data_preprocessor(pseudo_collate(photos), True), mode="loss")
        loss, values = model.parse_losses(losses)
    loss.backward()
    for hook in hooks:
        hook.remove()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return {name: float(value) for name, value in values.items()}, gradient, seen


def test_losses_of_two_processes_are_means_over_what_each_saw(tmp_path):
    """Every anchor and RoI is looked at, so that nothing is left to chance; photos of one size."""
    files = write_scenes(tmp_path / "scenes", 2, seed=0, size_hw=(96, 128))
    names = [category["name"] for category in json.loads(files.truth.read_text())["categories"]]
    settings = DetectorSettings(
        backbone="resnet18_small", image_scale=(128, 96), rpn_proposals=50, channels=16, workers=0
    )
    config = full_config(
        settings, names, train=files.truth, train_images=files.images, val=files.truth, val_images=files.images,
        weights=tmp_path / "none.pth", seed=0, model=model_config(settings, len(names), "GN"),
    )  # fmt: skip
    for part in ("rpn", "rcnn"):
        config["model"]["train_cfg"][part]["sampler"]["num"] = 10**6
    model = training.build(config["model"], 0).train()
    dataset = {key: value for key, value in config["train_dataloader"]["dataset"].items() if key != "type"}
    data = LabelDataset(**dataset)
    photos = [data[0], data[1]]
    whole, gradient, _ = losses_of(model, photos)
    (first, of_first, seen), (second, of_second, also) = (losses_of(model, [photo]) for photo in photos)
    assert seen["masks"] != also["masks"]  # or it would show nothing
    for loss, head in (("loss_cls", "boxes"), ("loss_bbox", "boxes"), ("loss_mask", "masks")):
        a, b = seen[head], also[head]
        assert whole[loss] == pytest.approx((a * first[loss] + b * second[loss]) / (a + b), rel=1e-4), loss
    mean = (of_first + of_second) / 2
    assert 1e-4 < float((mean - gradient).norm() / gradient.norm()) < 0.05


@pytest.mark.slow
def test_torchrun(tmp_path):
    files = write_scenes(tmp_path / "scenes", 6, seed=0, size_hw=(96, 128))
    out = tmp_path / "detector"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
        "amodalpl_cli.main", "train-detector", files.truth, files.images, "--out", out, "--init", "none",
        "--device", "cpu", *(word for setting in TINY for word in ("--set", f"detector.{setting}")),
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("train-detector: done") == 1
    record = json.loads((out / "run.json").read_text())
    assert record["state"] == "done" and record["counts"]["steps"] == 3


@pytest.mark.slow
def test_refine_by_torchrun(tmp_path):
    """Two rounds by two processes; the same again gives the same labels."""
    files = write_scenes(tmp_path / "scenes", 8, seed=0, size_hw=(64, 80))
    small = {"patch_px": 32, "holdout_fraction": 0.3, "holdout_scenes": 2}
    synth(files.annotations, files.images, tmp_path / "synth", resolve({"synthesis": small}))
    completer = write_completer(tmp_path / "completer")
    make_labels(files.annotations, files.images, completer, tmp_path / "labels", resolve({}), device="cpu")
    rule = ("rounds=1", "match_iou=0.05", "least_score=0.0", "drop_above=0.0")
    written = []
    for out in (tmp_path / "first", tmp_path / "second"):
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
            "amodalpl_cli.main", "refine", tmp_path / "labels", files.images, "--synth", tmp_path / "synth",
            "--out", out, "--init", "none", "--device", "cpu",
            *(word for setting in TINY for word in ("--set", f"detector.{setting}")),
            *(word for setting in rule for word in ("--set", f"refine.{setting}")),
        ]  # fmt: skip
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("refine: done") == 1
        record = json.loads((out / "run.json").read_text())
        rounds = record["counts"]["rounds"]
        assert record["state"] == "done" and [entry["round"] for entry in rounds] == [0, 1]
        assert rounds[1]["labels"]["kept"] < rounds[0]["labels"]["kept"]
        written.append((out / "round_1/labels/pseudo_amodal.json").read_bytes())
    assert written[0] == written[1]
