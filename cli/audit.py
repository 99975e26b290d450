"""`amodalpl audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .display import show


def audit(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Output folder of `amodalpl pseudolabel`.")],
    images: options.Images,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Write audit.html here; with --judgements, the labels with their uncertainty restated.",
        ),
    ] = None,
    judgements: Annotated[
        Path | None, typer.Option("--judgements", metavar="FILE", help="What audit.html saved: state what it says.")
    ] = None,
    sample: Annotated[int, typer.Option("--sample", metavar="N", min=1, help="Labels to judge.")] = 120,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Judge a random sample of labels in the browser; get a statement on all of them, with a confidence bound.

    Example: [bold]amodalpl audit runs/labels images/ --out runs/audit[/bold]
    """
    from amodalpl.evaluation.audit import audit as stage

    show(
        lambda progress: stage(
            labels, images, out=out, judgements=judgements, sample=sample, seed=seed or 0, progress=progress
        ),
        as_json,
    )
