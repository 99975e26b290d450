"""`amodalpl complete`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .display import show, stdout_console


def _print_methods(wanted: bool) -> None:
    if not wanted:
        return
    from rich.table import Table

    from amodalpl.models.completer import METHODS

    table = Table("method", "sees", "loss", "asks", "samples", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, method in METHODS.items():
        asks = "pair by pair" if method.order_from_pairs else "behind all neighbours"
        table.add_row(name, ", ".join(("modal", *method.channels)), method.loss.__name__, asks, method.recipe)
    stdout_console().print(table, markup=False)
    raise typer.Exit()


def complete(
    synth_dir: Annotated[Path, typer.Argument(metavar="SYNTH_DIR", help="Output folder of `amodalpl synth`.")],
    out: options.Out,
    method: Annotated[
        str | None,
        typer.Option("--method", help="A name that --list shows. [default: layered]"),
    ] = None,
    list_methods: Annotated[
        bool, typer.Option("--list", callback=_print_methods, is_eager=True, help="List the methods.")
    ] = False,
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

    from amodalpl.pipeline.complete import complete as stage

    show(lambda progress: stage(synth_dir, out, values, device=device.value, progress=progress), as_json)
