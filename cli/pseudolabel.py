"""`amodalpl pseudolabel`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .display import show


def pseudolabel(
    annotations: options.Annotations,
    images: options.Images,
    completer: Annotated[
        Path, typer.Option("--completer", metavar="DIR", help="Output folder of `amodalpl complete`.")
    ],
    out: options.Out,
    review: Annotated[
        Path | None,
        typer.Option(
            "--review",
            metavar="FILE",
            help="Keep decisions of an earlier review.json if their labels come out the same.",
        ),
    ] = None,
    format: options.FormatOption = options.Format.auto,
    config: options.Config = None,
    overrides: options.Overrides = None,
    seed: options.Seed = None,
    device: options.DeviceOption = options.Device.auto,
    backend: Annotated[
        str,
        typer.Option(
            "--backend", metavar="torch|onnx", help="What runs the network; for onnx see `amodalpl export-onnx`."
        ),
    ] = "torch",
    as_json: options.Json = False,
) -> None:
    """Write an amodal mask for every instance, with its occluders and its uncertainty.

    The label file is plain COCO; open report.html to judge it by eye. Under `torchrun` the photos are shared out.

    Example: [bold]amodalpl pseudolabel instances.json images/ --completer runs/completer --out runs/labels[/bold]
    """
    from amodalpl.settings_values import resolve

    settings = resolve(options.explicit(config, overrides, seed))

    from amodalpl.pipeline.pseudolabel import pseudolabel as stage

    show(
        lambda progress: stage(
            annotations,
            images,
            completer,
            out,
            settings,
            fmt=format.value,
            device=device.value,
            progress=progress,
            review=review,
            backend=backend,
        ),
        as_json,
    )
