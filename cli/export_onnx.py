"""`amodalpl export-onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .display import show


def export_onnx(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Output folder of `amodalpl complete`, or of `train-detector`.")
    ],
    as_json: options.Json = False,
) -> None:
    """Write the networks of a completer (completer.onnx) or a detector (features.onnx, regions.onnx), for onnxruntime.

    Files are compared with torch before they count. What they take, and how to read their answers, is in docs/api.md.
    Detectors: mask-rcnn, mask-rcnn-c8 and orcnn.

    Example: [bold]amodalpl export-onnx runs/completer[/bold]
    """
    from amodalpl.tools.export_onnx import export_onnx as stage

    show(lambda progress: stage(folder, progress=progress), as_json)
