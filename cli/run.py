"""`amodalpl run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amodalpl.errors import SettingsError, nearest
from amodalpl.pipeline.stage import IN_RUN

from . import options
from .display import show


def known_stage(name: str) -> str:
    """Return the name if `run` does such a stage.

    Raises:
        SettingsError: it does not.
    """
    if name not in IN_RUN:
        raise SettingsError(f"--until: expected a stage, got {name!r}{nearest(name, IN_RUN)}")
    return name


def run(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Settings file, or the name of an installed one, such as coco_cpu.")
    ],
    out: options.Out,
    annotations: Annotated[
        Path | None, typer.Option("--annotations", metavar="ANN", help="The same as --set data.annotations=ANN.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="The same as --set data.images=DIR.")
    ] = None,
    until: Annotated[
        str,
        typer.Option("--until", metavar="|".join(IN_RUN), callback=known_stage, help="The last stage to run."),
    ] = IN_RUN[-1],
    overrides: options.Overrides = None,
    seed: options.Seed = None,
    device: options.DeviceOption = options.Device.auto,
    as_json: options.Json = False,
) -> None:
    """Run all stages from one file, skipping what is already done.

    A section `data` names the files: annotations and images, and if you have them truth, val, val_images and init.
    Started again with the same command, it goes on where it was.

    Example: [bold]amodalpl run coco_cpu --annotations ann.json --images images/ --out runs/all[/bold]
    """
    paths = {"annotations": annotations, "images": images}
    given = {"data": {name: str(path) for name, path in paths.items() if path is not None}}
    values = options.explicit(config, overrides, seed, given if given["data"] else None, keep_data=True)

    from amodalpl.pipeline.run_all import run_pipeline as stage

    show(lambda progress: stage(values, out, device.value, progress, until), as_json)
