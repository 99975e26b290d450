"""`amodalpl check`."""

from __future__ import annotations

from typing import Annotated

import typer

from amodalpl.runtime.progress import Progress
from amodalpl.runtime.summary import Summary

from . import options
from .display import show
from .next_command import repeating


def check(
    annotations: options.Annotations,
    images: options.Images,
    thorough: Annotated[bool, typer.Option("--thorough", help="Also decode every photo; takes longer.")] = False,
    format: options.FormatOption = "auto",
    config: options.Config = None,
    overrides: options.Overrides = None,
    seed: options.Seed = None,
    device: options.DeviceOption = options.Device.auto,
    as_json: options.Json = False,
) -> None:
    """List what is wrong with a data set, or would be dropped later.

    Exits with 1 when there are errors.

    Example: [bold]amodalpl check instances.json images/[/bold]
    """
    values = options.explicit(config, overrides, seed)

    from amodalpl.settings_values import resolve
    from amodalpl.tools.check import check as stage

    settings = resolve(values)

    def act(progress: Progress) -> Summary:
        summary = stage(
            annotations,
            images,
            fmt=format,
            progress=progress,
            thorough=thorough,
            per_class=settings.labels.per_class,
            left_out_photos=settings.left_out_photos,
        )
        return repeating(summary, config, overrides, seed, device.value)

    show(act, as_json)
