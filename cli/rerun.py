"""`amodalpl rerun`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amodalpl.errors import SettingsError

from . import options
from .display import show


def rerun(
    record: Annotated[Path, typer.Argument(metavar="RUN_JSON", help="run.json of a finished run, or its folder.")],
    out: options.Out,
    annotations: Annotated[
        Path | None, typer.Option("--annotations", metavar="ANN", help="Where the annotations lie now, if moved.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", metavar="IMAGES", help="Where the photos lie now, if moved.")
    ] = None,
    moved: Annotated[
        list[str] | None,
        typer.Option("--moved", metavar="NAME=PATH", help="New place of another path in run.json's `arguments`."),
    ] = None,
    device: options.DeviceOption = options.Device.auto,
    as_json: options.Json = False,
) -> None:
    """Repeat a run from its run.json alone, and compare what comes out.

    Exits with 1 when an output differs.

    Example: [bold]amodalpl rerun runs/labels/run.json --out runs/labels_again[/bold]
    """
    paths = {name: path for name, path in (("annotations", annotations), ("images", images)) if path is not None}
    for text in moved or ():
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise SettingsError(f"--moved {text}: expected NAME=PATH")
        paths[name] = Path(path)

    from amodalpl.pipeline.rerun import rerun as stage

    show(lambda progress: stage(record, out, paths, device.value, progress), as_json)
