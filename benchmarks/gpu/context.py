"""What a row is given: where to work, how much, how long; and how it says what it found."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import AmodalplError
from amodalpl.pipeline.synth import synth
from amodalpl.settings_values import merge, resolve

from .. import drawn
from . import figures
from .rows import ROWS
from .sizes import SHORT, TINY, WHOLE, Sizes


@dataclass(frozen=True)
class Context:
    """What a row is given.

    Attributes:
        row: its letter.
        out: folder of results that a person reads.
        work: folder of data and trainings, which rows and later calls share.
        device: to measure.
        sizes: how much.
        seconds: that the row has.
        training_steps: of the real training.
        annotations: of the photos that were given; None for drawn ones.
        images: folder of these photos.
        began: time at which the row began, by `time.monotonic`.
    """

    row: str
    out: Path
    work: Path
    device: torch.device
    sizes: Sizes
    seconds: float
    training_steps: int
    annotations: Path | None = None
    images: Path | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU is measured."""
        return self.device.type == "cuda"

    @property
    def usual(self) -> Literal["bf16", "fp32"]:
        """The arithmetic that trainings here use."""
        return "bf16" if self.on_gpu else "fp32"

    @property
    def seconds_left(self) -> float:
        """Seconds until the row is ended."""
        return self.seconds - (time.monotonic() - self.began)

    def say(
        self,
        what: str,
        value: float | str,
        unit: str = "",
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """Print a figure and keep it; hopes are for a GPU only."""
        if not self.on_gpu:
            at_least = at_most = None
        figures.keep(self.work, figures.Figure(self.row, what, value, unit, at_least, at_most))

    @contextlib.contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Keep the first line of what goes wrong as the figure, and go on with the next."""
        try:
            yield
        except Exception as error:
            text = (str(error).strip().splitlines() or [""])[0]
            self.say(what, f"{figures.FAILED}{type(error).__name__}: {text[:200]}")
            print(f"    {text}", file=sys.stderr)
        finally:
            if self.on_gpu:
                torch.cuda.empty_cache()

    def photos(self) -> tuple[Path, Path]:
        """Return annotations and images: those that were given, or drawn ones."""
        if self.annotations is not None and self.images is not None:
            return self.annotations, self.images
        folder = self.work / "photos"
        file = folder / "annotations.json"
        if not file.exists():
            write_scenes(folder, self.sizes.photos, drawn.SEED, self.sizes.photo_hw)
        return file, folder / "images"

    def labelled(self) -> tuple[Path, Path]:
        """Return labels with whole and visible masks, and images: those that were given, or drawn ones."""
        annotations, images = self.photos()
        return (annotations if self.annotations is not None else annotations.with_name("truth.json")), images

    def prepared(self, name: str = "synth", **synthesis: Any) -> Path:
        """Return the output folder of `synth` on the photos, made the first time; its hold-out is small.

        Args:
            name: of the folder.
            synthesis: settings in place of those.
        """
        folder = self.work / name
        small = {"holdout_fraction": self.sizes.holdout_fraction, "holdout_scenes": 1}
        values = {"seed": drawn.SEED, "synthesis": {"patch_px": self.sizes.patch_px, **small, **synthesis}}
        synth(*self.photos(), folder, resolve(values))
        return folder

    def layered(self, training: dict[str, Any]) -> dict[str, Any]:
        """Return settings of our own method at these sizes, in bf16 on a GPU."""
        common = {
            "batch_size": self.sizes.batch,
            "workers": self.sizes.workers,
            "precision": self.usual,
            "optimizer": "adamw",
            "schedule": "one-cycle",
        }
        return {"completer": {"width": self.sizes.width}, "training": merge(common, training)}


def measure(options: argparse.Namespace) -> int:
    """Measure one row in this process; returns the exit code."""
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(
            "error: --device cuda: torch sees no GPU; --tiny --device cpu tries the rows without one", file=sys.stderr
        )
        return 2
    context = Context(
        options.row,
        options.out,
        options.work,
        device,
        TINY if options.tiny else SHORT if options.short else WHOLE,
        options.seconds,
        min(options.steps, 6) if options.tiny else options.steps,
        options.annotations,
        options.images,
    )
    try:
        importlib.import_module(f"{__package__}.{ROWS[options.row].module}").measure(context)
    except AmodalplError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
