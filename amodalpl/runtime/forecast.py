"""A training that will take days says so at its start, while it costs nothing to choose another."""

from __future__ import annotations

import time
from typing import Any

from mmengine.hooks import Hook

from .progress import DAY_S, Progress

_FIRST, _LAST = 1, 3  # steps that are measured; the first one also sets things up


class Forecast(Hook):
    """Measures the first steps and warns of a training of more than a day.

    Args:
        progress: gets the warning.
        advice: what else to do, as a sentence after the number of days.
    """

    def __init__(self, progress: Progress, advice: str) -> None:
        self._progress = progress
        self._advice = advice
        self._began = 0.0
        self._done = 0

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Take the time."""
        self._done += 1
        if self._done == _FIRST:
            self._began = time.monotonic()
        elif self._done == _LAST:
            per_step = (time.monotonic() - self._began) / (_LAST - _FIRST)
            days = per_step * (runner.max_iters - batch_idx - 1) / DAY_S
            if days > 1:
                self._progress.warn(
                    f"this training will take {days:.1f} days: {runner.max_iters} steps of {per_step:.2g} s; "
                    f"{self._advice}"
                )
