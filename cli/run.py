"""`amodalpl run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .display import show


def run(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Settings file, or the name of an installed one, such as coco_cpu.")
    ],
    out: options.Out,
    overrides: options.Overrides = None,
    seed: options.Seed = None,
    device: options.DeviceOption = options.Device.auto,
    as_json: options.Json = False,
) -> None:
    """Run all stages from one file, skipping what is already done.

    A section `data` names the files: annotations and images, and if you have them truth, val, val_images and init.
    Started again with the same command, it goes on where it was.

    Example: [bold]amodalpl run coco_cpu --set data.annotations=ann.json --set data.images=images --out runs/all[/bold]
    """
    values = options.explicit(config, overrides, seed, keep_data=True)

    from amodalpl.stages.pipeline import run_pipeline as stage

    show(lambda progress: stage(values, out, device.value, progress), as_json)
