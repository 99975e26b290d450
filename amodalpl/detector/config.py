"""Settings -> one flat MMDetection config, explicit to the last number, with which mmdet users can go on by hand.

It is written to each output folder. `custom_imports` brings the operations that mmcv lacks and our parts, so that
MMDetection's own tools train the same network from the file (`tools/train.py mmdet_config.py`) and run it
(`init_detector`, `DetInferencer`) wherever amodalpl is installed.
"""

from __future__ import annotations

import pprint
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..settings import DetectorSettings
from . import model_table


def optimizer_config(settings: DetectorSettings, stock: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return mmengine's optimiser wrapper for the precision asked for.

    Args:
        settings: of the detector.
        stock: `optim_wrapper` of a config of MMDetection, for `optimizer=config`.
    """
    rate, decay = settings.learning_rate, settings.weight_decay
    parts: dict[str, Any]
    if settings.optimizer == "config":
        parts = {key: value for key, value in (stock or {}).items() if key not in ("type", "dtype", "loss_scale")}
    elif settings.optimizer == "sgd":
        parts = {"optimizer": {"type": "SGD", "lr": rate, "momentum": 0.9, "weight_decay": decay}}
    else:
        parts = {"optimizer": {"type": "AdamW", "lr": rate, "weight_decay": decay}}
    # mmdetection's usual bound: only keeps outliers of short runs away
    parts.setdefault("clip_grad", {"max_norm": 35.0, "norm_type": 2})
    if settings.precision == "fp32":
        return {"type": "OptimWrapper", **parts}
    return {
        "type": "AmpOptimWrapper",
        **parts,
        "dtype": "float16" if settings.precision == "fp16" else "bfloat16",
        "loss_scale": "dynamic" if settings.precision == "fp16" else 1.0,  # bfloat16 has the range of float32
    }


def schedule_config(settings: DetectorSettings) -> list[dict[str, Any]]:
    """Return a linear warm-up and drops by ten at the milestones, all counted in steps."""
    warmup = min(settings.warmup_steps, settings.steps - 1)
    schedule: list[dict[str, Any]] = []
    if warmup > 0:
        schedule.append({"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "begin": 0, "end": warmup})
    milestones = sorted({round(share * settings.steps) for share in settings.milestones} - {0})
    if milestones:
        schedule.append({"type": "MultiStepLR", "by_epoch": False, "milestones": milestones, "gamma": 0.1})
    return schedule


def _reading(turned: bool) -> dict[str, Any]:
    """Return the transform that reads photos: the stock one, unless some must be turned to fit their masks."""
    if turned:
        return {"type": "LoadPhoto"}
    return {"type": "LoadImageFromFile", "color_type": "color_ignore_orientation"}


def train_pipeline(settings: DetectorSettings, turned: bool = False) -> list[dict[str, Any]]:
    """Return stock transforms: read (the pixels as stored, see `amodalpl.io.images`), resize, flip, pack.

    Only the reading is ours where photos must be turned, or where more than the whole masks is learnt from.
    """
    masks = "LoadPairedMasks" if model_table.reads_companions(settings) else "LoadAnnotations"
    return [
        _reading(turned),
        {"type": masks, "with_bbox": True, "with_mask": True, "poly2mask": True},
        {"type": "Resize", "scale": tuple(settings.image_scale), "keep_ratio": True},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PackDetInputs"},
    ]


def test_pipeline(settings: DetectorSettings, turned: bool = False) -> list[dict[str, Any]]:
    """Return stock transforms: read, resize, pack; no annotations are needed."""
    return [
        _reading(turned),
        {"type": "Resize", "scale": tuple(settings.image_scale), "keep_ratio": True},
        {"type": "PackDetInputs", "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")},
    ]


test_pipeline.__test__ = False  # type: ignore[attr-defined]  # pytest: not a test


def full_config(
    settings: DetectorSettings,
    class_names: Sequence[str],
    *,
    model: Mapping[str, Any],
    train: Path,
    train_images: Path,
    val: Path,
    val_images: Path,
    weights: Path,
    seed: int,
    turned: bool = False,
    optimizer: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the whole config as MMDetection's own tools read it.

    Args:
        settings: of the detector.
        class_names: in the order of the file's categories.
        model: of the network.
        train: COCO file to learn from.
        train_images: its image folder.
        val: COCO file to be scored against.
        val_images: its image folder.
        weights: of the trained detector, from which mmdet's `tools/train.py` goes on.
        seed: of the run.
        turned: some photos fit their masks only when turned as EXIF says.
        optimizer: see `optimizer_config`.
    """
    train_set = _data_set(train, train_images, class_names, train_pipeline(settings, turned))
    keep_alive = settings.workers > 0
    val_loader = {
        "batch_size": 1,
        "num_workers": settings.workers,
        "persistent_workers": keep_alive,
        "drop_last": False,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": scored_photos(settings, class_names, val, val_images, turned),
    }
    evaluator = {"type": "CocoMetric", "ann_file": str(val.resolve()), "metric": ["bbox", "segm"]}
    return {
        "default_scope": "mmdet",
        "custom_imports": {"imports": ["amodalpl.detector.mmdet_registry"], "allow_failed_imports": False},
        "model": dict(model),
        "train_dataloader": {
            "batch_size": settings.batch_size,
            "num_workers": settings.workers,
            "persistent_workers": keep_alive,
            "sampler": {"type": "InfiniteSampler", "shuffle": True, "seed": seed},
            "dataset": train_set,
        },
        "val_dataloader": val_loader,
        "test_dataloader": val_loader,
        "val_evaluator": evaluator,
        "test_evaluator": evaluator,
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": settings.steps, "val_interval": settings.steps},
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "optim_wrapper": optimizer_config(settings, optimizer),
        "param_scheduler": schedule_config(settings),
        "default_hooks": _hooks(settings),
        "visualizer": {
            "type": "DetLocalVisualizer",
            "vis_backends": [{"type": "LocalVisBackend"}],
            "name": "visualizer",
        },
        "log_processor": {"type": "LogProcessor", "window_size": 50, "by_epoch": False},
        "env_cfg": {"mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0}, "dist_cfg": {"backend": "nccl"}},
        "randomness": {"seed": seed},
        "load_from": str(weights.resolve()),
        "resume": False,
    }


def scored_photos(
    settings: DetectorSettings, class_names: Sequence[str], val: Path, images: Path, turned: bool
) -> dict[str, Any]:
    """Return the config of the photos that a detector is scored on; see `full_config`."""
    return _data_set(val, images, class_names, test_pipeline(settings, turned), test_mode=True)


def _data_set(
    file: Path, images: Path, class_names: Sequence[str], pipeline: list[dict[str, Any]], **more: Any
) -> dict[str, Any]:
    return {
        "type": "AmodalCocoDataset",
        "ann_file": str(file.resolve()),
        "data_prefix": {"img": str(images.resolve())},
        "metainfo": {"classes": tuple(class_names)},
        "pipeline": pipeline,
        **more,
    }


def _hooks(settings: DetectorSettings) -> dict[str, Any]:
    return {
        "timer": {"type": "IterTimerHook"},
        "logger": {"type": "LoggerHook", "interval": 50},
        "param_scheduler": {"type": "ParamSchedulerHook"},
        "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": settings.checkpoint_every},
        "sampler_seed": {"type": "DistSamplerSeedHook"},
    }


def as_python(config: Mapping[str, Any], comment: str) -> str:
    """Write a config as the Python file that mmengine's `Config.fromfile` reads."""
    lines = [f"# {line}" for line in comment.splitlines()]
    for name, value in config.items():
        lines.append(f"{name} = {pprint.pformat(value, width=100, sort_dicts=False)}")
    return "\n".join(lines) + "\n"
