"""Each detector that there is, for a few steps: that it runs on the device, how fast, and in how much memory."""

from __future__ import annotations

import torch

from ..watch import Watch
from .context import Context
from .detectors import batch_size, detectors, train_here


def measure(context: Context) -> None:
    """Train each detector; one that fails does not stop the others."""
    steps = context.sizes.detector_steps
    loaders = {} if context.on_gpu else {"workers": 0}  # processes that take longer to start than a few steps
    for name, settings in detectors().items():
        with context.attempt(name):
            watch = Watch("training detector", context.device)
            train_here(context, name, steps, watch, {**settings, **loaders, "precision": context.usual})
            context.say(name, batch_size(context) / watch.seconds_per_unit(), "photos/s")
            if context.on_gpu:
                context.say(f"{name}: memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")
