"""Mask R-CNN in training and prediction, in each arithmetic, and the same network in MMDetection's own loop."""

from __future__ import annotations

import contextlib
import io
import json
import time
from pathlib import Path
from typing import Any

import torch

from amodalpl.detector import ops
from amodalpl.detector.folder import CONFIG, WEIGHTS
from amodalpl.detector.quiet import third_party_quiet
from amodalpl.io.images import read_image
from amodalpl.runtime.mmengine_runner import end_loader

from ..machine import wait
from ..watch import Watch
from .context import Context
from .detectors import batch_size, train_here

_ROUNDS = 3  # of prediction; the first of them warms up


def measure(context: Context) -> None:
    """Train, and train the written config by MMDetection alone; then predict beside MMDetection's own tool."""
    context.say("operations from", ops.backend())
    batch, steps = batch_size(context), context.sizes.detector_steps
    ours: dict[str, float] = {}
    for precision in ("fp32", "bf16") if context.on_gpu else ("fp32",):
        with context.attempt(f"training in {precision}"):
            watch = Watch("training detector", context.device)
            folder = train_here(context, precision, steps, watch, {"precision": precision})
            ours[precision] = batch / watch.seconds_per_unit()
            context.say(f"training in {precision}", ours[precision], "photos/s")
            if watch.busy is not None:
                context.say(f"training in {precision}: card busy", watch.busy, "of the time")
        with context.attempt(f"MMDetection's own loop in {precision}"):
            stock = batch / stock_seconds_per_step(context, folder / CONFIG, steps)
            context.say(f"MMDetection's own loop in {precision}", stock, "photos/s")
            context.say(f"ours over MMDetection's in {precision}", ours[precision] / stock, at_least=1.0)
    with context.attempt("prediction"):
        _predict(context, context.work / "detectors" / "fp32")


def _predict(context: Context, folder: Path) -> None:
    from mmdet.apis import init_detector

    from amodalpl.detector.trained import open_detector

    from ..beside_mmdetection import seconds_in_turns

    annotations, images = context.labelled()
    listed = json.loads(annotations.read_text(encoding="utf-8"))["images"][: context.sizes.predicted_photos]
    photos = [read_image(images / entry["file_name"]) for entry in listed]
    with third_party_quiet(), contextlib.redirect_stdout(io.StringIO()):
        theirs = init_detector(str(folder / CONFIG), str(folder / WEIGHTS), device=context.device.type)
    ours = open_detector(folder, None, context.device)
    for precision in ("fp32", "bf16", "fp16") if context.on_gpu else ("fp32", "bf16"):
        with context.attempt(f"prediction in {precision}"), _arithmetic(context.device, precision):
            seconds, stock = seconds_in_turns(ours, theirs, photos, _ROUNDS, context.device)
            context.say(f"prediction in {precision}", 1 / seconds, "photos/s")
            context.say(f"MMDetection's prediction in {precision}", 1 / stock, "photos/s")
            context.say(f"prediction over MMDetection's in {precision}", stock / seconds, at_least=1.0)


def _arithmetic(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, {"bf16": torch.bfloat16, "fp16": torch.float16}[precision])


def stock_seconds_per_step(context: Context, config: Path, steps: int) -> float:
    """Train a written config by mmengine's Runner as MMDetection's script does; the first tenth is not counted."""
    from mmengine.config import Config
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    class Clock(Hook):
        """Notes the time behind the first tenth of the steps, and at the end."""

        priority = "VERY_LOW"

        def __init__(self) -> None:
            self.marks: dict[int, float] = {}

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            if batch_idx + 1 in (max(1, steps // 10), steps):
                wait(context.device)
                self.marks[batch_idx + 1] = time.perf_counter()

    read, clock = Config.fromfile(config), Clock()
    hooks = {**read.default_hooks, "checkpoint": None, "logger": {"type": "LoggerHook", "interval": steps}}
    with third_party_quiet(), contextlib.redirect_stdout(io.StringIO()):
        runner = Runner(
            model=read.model,
            work_dir=str(context.work / "stock"),
            train_dataloader=read.train_dataloader,
            train_cfg={"type": "IterBasedTrainLoop", "max_iters": steps},
            optim_wrapper=read.optim_wrapper,
            param_scheduler=read.param_scheduler or None,
            default_hooks=hooks,
            custom_hooks=[clock],
            log_processor=read.log_processor,
            visualizer={"type": "Visualizer", "_scope_": "mmengine", "vis_backends": None},
            env_cfg=read.env_cfg,
            default_scope="mmdet",
            randomness=read.randomness,
            log_level="ERROR",
            experiment_name=f"stock_{config.parent.name}",
        )
        runner.train()
        end_loader(runner.train_loop)
    (first, began), (last, ended) = sorted(clock.marks.items())
    return (ended - began) / (last - first)
