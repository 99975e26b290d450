"""`amodalpl apply-review`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .display import show


def apply_review(
    labels: Annotated[Path, typer.Argument(metavar="LABELS_DIR", help="Output folder of `amodalpl pseudolabel`.")],
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of its photos.")],
    review: Annotated[Path, typer.Argument(metavar="REVIEW", help="Decisions, saved by report.html.")],
    out: options.Out,
    completer: Annotated[
        Path | None,
        typer.Option("--completer", metavar="DIR", help="Show the scores of this completer in the new report."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Apply the decisions made in report.html and write a corrected label folder.

    Rejected labels become regions that detectors ignore; labels kept modal get their visible mask as the whole one.

    Example: [bold]amodalpl apply-review runs/labels images/ review.json --out runs/corrected[/bold]
    """
    from amodalpl.pipeline.apply_review import apply_review as stage

    show(lambda progress: stage(labels, images, review, out, completer=completer, progress=progress), as_json)
