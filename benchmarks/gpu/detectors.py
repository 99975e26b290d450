"""The detectors there are, and how one is trained here: the one place that knows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from amodalpl.detector.model_table import MODELS
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.runtime.progress import Progress
from amodalpl.settings_values import merge, read_config, resolve

from .context import Context


def detectors() -> dict[str, dict[str, Any]]:
    """Return the settings of each detector by its name."""
    return {name: {"model": name} for name in MODELS}


def train_here(context: Context, name: str, steps: int, progress: Progress, detector: dict[str, Any]) -> Path:
    """Train a detector from random weights on the photos; returns its folder.

    Args:
        context: of the row.
        name: of the folder.
        steps: optimiser steps.
        progress: that listens.
        detector: settings beside those of the sizes' config.
    """
    out = context.work / "detectors" / name.replace(" ", "_")
    shutil.rmtree(out, ignore_errors=True)
    fixed = {
        "steps": steps,
        "workers": context.sizes.workers,
        "frozen_stages": -1,
        "warmup_steps": 1,
        "checkpoint_every": 10**6,
        "precision": "fp32",
        "validation_fraction": context.sizes.held_back,
        "vrsp": {"shape_steps": 100},  # of a training before the one that is measured
    }
    values = merge(read_config(Path(context.sizes.config)), {"detector": {**fixed, **detector}})
    if context.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    train_detector(
        *context.labelled(), out, resolve(values), init="none", device=context.device.type, progress=progress
    )
    return out


def batch_size(context: Context) -> int:
    """Return the photos per step of the sizes' config."""
    return resolve(read_config(Path(context.sizes.config))).detector.batch_size
