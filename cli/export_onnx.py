"""`amodalpl export-onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .display import show


def export_onnx(
    completer: Annotated[Path, typer.Argument(metavar="COMPLETER_DIR", help="Output folder of `amodalpl complete`.")],
    as_json: options.Json = False,
) -> None:
    """Write the completer's network as completer.onnx, for onnxruntime.

    The file is compared with torch before it counts. It takes any number of patches at once; what these hold, and how
    to read the answer, is in docs/api.md.

    Example: [bold]amodalpl export-onnx runs/completer[/bold]
    """
    from amodalpl.tools.export_onnx import export_onnx as stage

    show(lambda progress: stage(completer, progress=progress), as_json)
