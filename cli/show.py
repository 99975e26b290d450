"""`amodalpl show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .display import show as run_and_print


def show(
    annotations: Annotated[
        Path, typer.Argument(metavar="LABELS", help="Folder of `amodalpl pseudolabel`, or any annotation file.")
    ],
    images: options.Images,
    what: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE|ID", help="Photo (its file name, or a beginning that only one has) or annotation (id)."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.png", help="Picture to write.", show_default="show_NAME.png")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Draw one object, or all objects of a photo, as a picture.

    Example: [bold]amodalpl show runs/labels images/ 000000000009.jpg[/bold]
    """
    from amodalpl.tools.show import show as stage

    run_and_print(lambda progress: stage(annotations, images, what, out), as_json)
