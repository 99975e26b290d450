"""`amodalpl synth`."""

from __future__ import annotations

from . import options
from .display import show


def synth(
    annotations: options.Annotations,
    images: options.Images,
    out: options.Out,
    format: options.FormatOption = options.Format.auto,
    config: options.Config = None,
    overrides: options.Overrides = None,
    seed: options.Seed = None,
    device: options.DeviceOption = options.Device.auto,
    as_json: options.Json = False,
) -> None:
    """Cut out the objects and freeze a hold-out of synthetic occlusions.

    Open preview.png in the output folder: it shows what a completer will learn from.

    Example: [bold]amodalpl synth instances.json images/ --out runs/synth[/bold]
    """
    from amodalpl.settings_values import resolve

    settings = resolve(options.explicit(config, overrides, seed))

    from amodalpl.pipeline.synth import synth as stage

    show(lambda progress: stage(annotations, images, out, settings, fmt=format.value, progress=progress), as_json)
