"""`amodalpl train-detector`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .display import show


def train_detector(
    labels: Annotated[
        Path, typer.Argument(metavar="LABELS", help="Label file, such as pseudo_amodal.json; any COCO file will do.")
    ],
    images: options.Images,
    out: options.Out,
    val: Annotated[
        Path | None,
        typer.Option("--val", metavar="ANN", help="Score on this file; without it, photos of LABELS are kept apart."),
    ] = None,
    val_images: Annotated[
        Path | None, typer.Option("--val-images", metavar="DIR", help="Photos of --val.", show_default="IMAGES")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init", metavar="FILE|none", help="Start from this checkpoint, or from random weights with `none`."
        ),
    ] = None,
    config: options.Config = None,
    overrides: options.Overrides = None,
    seed: options.Seed = None,
    device: options.DeviceOption = options.Device.auto,
    as_json: options.Json = False,
) -> None:
    r"""Train Mask R-CNN on a label file, and score it.

    Needs MMDetection: [bold]pip install 'amodalpl\[detector]'[/bold]

    Example: [bold]amodalpl train-detector runs/labels/pseudo_amodal.json images/ --out runs/detector[/bold]
    """
    from amodalpl.settings_values import resolve

    settings = resolve(options.explicit(config, overrides, seed))

    from amodalpl.pipeline.train_detector import train_detector as stage

    show(
        lambda progress: stage(
            labels,
            images,
            out,
            settings,
            val=val,
            val_images=val_images,
            init=init,
            device=device.value,
            progress=progress,
        ),
        as_json,
    )
