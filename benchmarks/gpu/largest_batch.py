"""The largest batch that fits, and the memory that it takes."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

import torch

from amodalpl.runtime.progress import SILENT
from amodalpl.runtime.usage import peak_memory_mb

from .context import Context
from .detectors import train_here
from .training_speed import Way, run


def measure(context: Context) -> None:
    """Double the batch of a completer, then of a detector, until it no longer fits."""

    def completer(batch: int) -> None:
        run(context, Way("asbu", context.usual), 2, batch, SILENT)

    def detector(batch: int) -> None:
        train_here(context, "largest", 2, SILENT, {"precision": context.usual, "batch_size": batch})

    _double(context, "asbu, patches per step", completer, context.sizes.batches)
    _double(context, "Mask R-CNN, photos per step", detector, context.sizes.detector_batches)


def _double(context: Context, what: str, work: Callable[[int], None], batches: Sequence[int]) -> None:
    largest, ended = 0, "largest tried"
    with context.attempt(what):
        for batch in batches:
            if context.on_gpu:
                torch.cuda.reset_peak_memory_stats()
            try:
                work(batch)
            except torch.OutOfMemoryError:
                ended = "the next does not fit"
                break
            finally:
                gc.collect()
                if context.on_gpu:
                    torch.cuda.empty_cache()
            largest = batch
            peak = (
                torch.cuda.max_memory_allocated() / 2**30 if context.on_gpu else (peak_memory_mb() or 0) * 1e6 / 2**30
            )
            context.say(f"{what}: memory of {batch}", peak, "GiB")
        context.say(what, largest, f"({ended})")
