"""`amodalpl demo`."""

from __future__ import annotations

from . import options
from .display import show


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

    from amodalpl.pipeline.demo import demo as stage

    show(lambda progress: stage(out, values, device.value, progress), as_json, computes=True)
