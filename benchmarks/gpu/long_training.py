"""A real training of our own method, as far as the time allows; the next call goes on where this one stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amodalpl.pipeline.complete import CHECKPOINT, complete
from amodalpl.runtime.mmengine_runner import read_checkpoint
from amodalpl.runtime.progress import Progress

from .context import Context

_FOR_SCORES_S = 45.0  # of the row's time, left for scoring what was just saved
LEARNING_RATE = 0.0015  # of coco_cpu
FOLDER = "long_training"
_HOLDOUT = {"holdout_fraction": 0.15, "holdout_scenes": 3}  # the defaults, whose scores README can tell


class TimeIsUp(BaseException):
    """Raised in the middle of a training whose time is over; no handler of errors may take it for one."""


class _Clock(Progress):
    """Stops the training behind a checkpoint once its time is over, and counts its steps."""

    def __init__(self, every: int, until: float) -> None:
        self.every, self.until = every, until
        self.steps, self.began, self.ended = 0, 0.0, 0.0

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        """Watch the training."""
        if label != "training the completer":
            yield lambda units: None
            return
        self.began = self.ended = time.monotonic()
        at = done

        def advance(units: int) -> None:
            nonlocal at
            at += units
            self.steps += units
            self.ended = time.monotonic()
            if (at - 1) % self.every == 0 and at - 1 > done and self.ended > self.until:
                raise TimeIsUp

        yield advance


def measure(context: Context) -> None:
    """Train, or go on; keep the speed, the step, and the scores on the hold-out so far or at the end."""
    out, sizes = context.work / FOLDER, context.sizes
    clock = _Clock(sizes.checkpoint_every, time.monotonic() + context.seconds_left - _FOR_SCORES_S)
    schedule = {
        "steps": context.training_steps,
        "learning_rate": LEARNING_RATE,
        "checkpoint_every": sizes.checkpoint_every,
        "validate_every": sizes.validate_every,
    }
    scores: dict[str, Any] = {}
    try:
        prepared = context.prepared("long_synth", **_HOLDOUT)
        summary = complete(prepared, out, context.layered(schedule), context.device.type, clock)
    except TimeIsUp:
        step, scores = _so_far(out / CHECKPOINT)
    else:
        step = context.training_steps
        scores = {f"{protocol} / {row} / {name}": value for protocol, row, name, value in _numbers(summary.scores)}
    if clock.steps > 1:
        context.say("speed in this call", clock.steps * sizes.batch / (clock.ended - clock.began), "samples/s")
    context.say("steps done", step, f"of {context.training_steps}")
    for name, value in scores.items():
        context.say(f"hold-out: {name}", value)


def _so_far(checkpoint: Path) -> tuple[int, dict[str, float]]:
    """Return the step that was saved, and the last scores on the hold-out before it."""
    saved = read_checkpoint(checkpoint)
    if saved is None:
        return 0, {}
    scored = [point for point in saved["curve"] if set(point) - {"step", "loss"}]
    return int(saved["step"]), scored[-1] if scored else {}


def _numbers(scores: dict[str, Any]) -> Iterator[tuple[str, str, str, float]]:
    """Yield protocol, row, metric and value of our own labels; all rows are in the folder's `metrics.json`."""
    for protocol, rows in scores.items():
        for name, value in rows.get("labels", {}).items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                yield protocol, "labels", name, float(value)
