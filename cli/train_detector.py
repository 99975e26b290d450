"""`amodalpl train-detector`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .display import show, stdout_console


def _print_models(wanted: bool) -> None:
    if not wanted:
        return
    from rich.table import Table

    from amodalpl.detector.zoo import ZOO

    table = Table("model", "what", "needs", "predicts", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, model in ZOO.items():
        table.add_row(name, model.title, ", ".join(model.needs), ", ".join(model.predicts))
    stdout_console().print(table, markup=False)
    raise typer.Exit()


def train_detector(
    labels: Annotated[
        Path, typer.Argument(metavar="LABELS", help="Label file, such as pseudo_amodal.json; any COCO file will do.")
    ],
    images: options.Images,
    out: options.Out,
    model: Annotated[str | None, typer.Option("--model", help="A name that --list shows. [default: mask-rcnn]")] = None,
    list_models: Annotated[
        bool, typer.Option("--list", callback=_print_models, is_eager=True, help="List the models.")
    ] = False,
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
    r"""Train a detector of whole objects on a label file, and score it.

    Needs MMDetection: [bold]pip install 'amodalpl\[detector]'[/bold]

    Example: [bold]amodalpl train-detector runs/labels/pseudo_amodal.json images/ --out runs/detector[/bold]
    """
    from amodalpl.settings_values import resolve

    settings = resolve(options.explicit(config, overrides, seed, {"detector": {"model": model}} if model else None))

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
