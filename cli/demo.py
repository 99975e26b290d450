"""`amodalpl demo`."""

from __future__ import annotations

from pathlib import Path

from amodalpl.runtime.progress import Progress
from amodalpl.runtime.summary import Summary

from . import options
from .display import show
from .next_command import repeating


def demo(
    out: options.Out,
    config: options.Config = None,
    overrides: options.Overrides = None,
    seed: options.Seed = None,
    device: options.DeviceOption = options.Device.auto,
    as_json: options.Json = False,
) -> None:
    """Run the whole pipeline on embedded drawn scenes; nothing is downloaded.

    Without MMDetection it ends with the labels.

    Example: [bold]amodalpl demo --out runs/demo[/bold]
    """
    values = options.explicit(config, overrides, seed)

    def act(progress: Progress) -> Summary:
        from amodalpl.pipeline.demo import demo as stage  # only now: something is shown before torch is loaded

        summary = stage(out, values, device.value, progress)
        return repeating(summary, config or Path("demo"), overrides, seed, device.value)

    show(act, as_json, computes=True)
