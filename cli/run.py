"""`amodalpl run`."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from amodalpl.errors import SettingsError, nearest
from amodalpl.pipeline.stage_table import IN_RUN
from amodalpl.runtime.progress import Progress
from amodalpl.runtime.summary import Summary

from . import options
from .display import show
from .next_command import has_weights_to_download, repeating, settings_words


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
    init: Annotated[
        str | None,
        typer.Option(
            "--init", metavar="FILE|DIR|none", help="Start weights of the detector; the same as --set data.init=FILE."
        ),
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
    The same command continues an interrupted run.

    Example: [bold]amodalpl run coco_cpu --annotations instances.json --images images/ --init none --out runs/all[/bold]
    """
    paths = {"annotations": annotations, "images": images, "init": init}
    given = {"data": {name: str(path) for name, path in paths.items() if path is not None}}
    values = options.explicit(config, overrides, seed, given if given["data"] else None, keep_data=True)
    found = values.get("data") or {}
    missing = [f"--{name}" for name in ("annotations", "images") if isinstance(found, dict) and not found.get(name)]
    if missing:
        raise SettingsError(
            f"run: expected {' and '.join(missing)}, or a section `data` in the settings file, got none"
        )

    def act(progress: Progress) -> Summary:
        from amodalpl.pipeline.run_all import run_pipeline as stage  # only now: it loads torch

        summary = stage(values, out, device.value, progress, until)
        if until == IN_RUN[-1]:
            return repeating(summary, config, overrides, seed, device.value)
        again = ["amodalpl run", shlex.quote(str(config)), "--out", shlex.quote(str(out))]
        for name, path in paths.items():
            again += [f"--{name}", shlex.quote(str(path))] if path is not None else []
        chosen = settings_words(None, overrides, seed, device.value, preset=False)
        if not values.get("data", {}).get("init") and not has_weights_to_download(values):
            again += ["--init", "none"]
        go_on = " ".join([*again, *chosen])
        has_page = summary.next.startswith("open ")
        return replace(summary, next=summary.next if has_page else go_on, then=go_on if has_page else "")

    show(act, as_json, computes=True)
