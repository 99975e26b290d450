"""`amodalpl complete`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .display import show


def complete(
    synth_dir: Annotated[Path, typer.Argument(metavar="SYNTH_DIR", help="Output folder of `amodalpl synth`.")],
    out: options.Out,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", help="pcnet-m, asbu, or another name of the setting completer.method. [default: asbu]"
        ),
    ] = None,
    config: options.Config = None,
    overrides: options.Overrides = None,
    seed: options.Seed = None,
    device: options.DeviceOption = options.Device.auto,
    as_json: options.Json = False,
) -> None:
    """Train a completer on occlusions synthesised from the cut-outs.

    Settings that are not given here are those of SYNTH_DIR.

    Example: [bold]amodalpl complete runs/synth --out runs/completer --set training.steps=3000[/bold]
    """
    values = options.explicit(config, overrides, seed, {"completer": {"method": method}} if method else None)

    from amodalpl.stages.complete import complete as stage

    show(lambda progress: stage(synth_dir, out, values, device=device.value, progress=progress), as_json)
