"""`amodalpl convert`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from . import options
from .display import show


class DrawnOn(str, Enum):
    """Pixels that outlines were drawn on."""

    auto = "auto"
    stored = "stored"
    shown = "shown"


def convert(  # longer than others: typer reads options and their help from the signature
    source: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="File or folder of annotations, or a folder of our labels; several become one.",
            show_default=False,
        ),
    ] = None,
    from_format: Annotated[
        str, typer.Option("--from", metavar="FORMAT", help="Format of SOURCE; auto looks at the content.")
    ] = "auto",
    to_format: Annotated[str, typer.Option("--to", metavar="FORMAT", help="Format to write.")] = "coco",
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="PATH",
            help="Folder of the photos; for detections, the COCO file that they belong to will do.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="PATH", help="File or folder to write, depending on the format.", show_default=False
        ),
    ] = None,
    min_score: Annotated[
        float, typer.Option("--min-score", min=0, max=1, help="Leave out detections with a lower score.")
    ] = 0.0,
    drawn_on: Annotated[
        DrawnOn,
        typer.Option(
            "--drawn-on",
            help="Of photos with an EXIF orientation: outlines were drawn on the stored or on the shown photo; auto "
            "decides by sizes and outlines.",
        ),
    ] = DrawnOn.auto,
    mask: Annotated[
        str,
        typer.Option(
            "--mask",
            metavar="modal|amodal|both",
            help="Masks to write, visible or whole ones.",
            show_default="both where FORMAT holds both; else amodal of our own label files, modal of others",
        ),
    ] = "auto",
    crowds_are_objects: Annotated[
        bool,
        typer.Option("--crowds-are-objects", help="Take iscrowd for what some tools mean by it: a mask in pixels."),
    ] = False,
    merge_doubles: Annotated[
        bool, typer.Option("--merge-doubles", help="Make one of objects that cover the same pixels (IoU from 0.9).")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the formats, what each keeps and what not.")] = False,
    as_json: options.Json = False,
) -> None:
    """Convert annotations of one format into another, by default into COCO.

    What cannot be read, or does not fit the format to write, is counted, and listed in a file beside the output.

    Example: [bold]amodalpl convert labelme/ --images photos/ --out instances.json[/bold]
    """
    if not list_ and (not source or out is None):
        missing = "SOURCE" if not source else "--out"
        raise typer.BadParameter(f"expected {missing}, found none; see `amodalpl convert --help`")

    from amodalpl.tools.convert import convert as stage
    from amodalpl.tools.convert import list_formats

    if list_ or not source or out is None:
        show(lambda progress: list_formats(), as_json)
    else:
        show(
            lambda progress: stage(
                source,
                out,
                images,
                from_format,
                to_format,
                min_score=min_score,
                progress=progress,
                drawn_on=drawn_on.value,
                crowds_are_objects=crowds_are_objects,
                merge_doubles=merge_doubles,
                mask=mask,
            ),
            as_json,
        )
