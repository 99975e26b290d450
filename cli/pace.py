"""How long a piece of work will take: from how long its units took, without those that only warm things up."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

SETTLED = 20  # finished pieces from which their mean is told, which holds the slow ones that come now and then
WARM_UP = 3  # of them, which load, allocate and tune
FEW = 30  # pieces in all, of which the second one is told already


class Pace:
    """Seconds per unit so far.

    Args:
        total: units of the work.
        done: of them, before it began.
        clock: tells seconds.
    """

    def __init__(self, total: int, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._done, self._clock = total, done, clock
        self._before = done
        self._last = clock()
        self._settled_at: tuple[float, int] | None = None
        self._pieces: list[float] = []  # seconds per unit of the first ones
        self._advances = 0

    def advance(self, units: int) -> None:
        """Take the time of a piece of the work."""
        now = self._clock()
        if len(self._pieces) < SETTLED:
            self._pieces.append((now - self._last) / max(units, 1))
        self._last, self._done, self._advances = now, self._done + units, self._advances + 1
        if self._advances == WARM_UP:
            self._settled_at = (now, self._done)

    def seconds_left(self) -> float | None:
        """Return the time left; None while nobody can tell."""
        if not self._advances or self._done >= self._total:
            return None
        rest = self._total - self._done
        pieces = self._pieces[1:]
        per_piece = (self._done - self._before) / self._advances
        needed = 1 if rest <= FEW * per_piece else WARM_UP
        if len(pieces) < needed:
            return None
        per_unit = median(pieces)
        if self._advances >= SETTLED and self._settled_at and self._done > self._settled_at[1]:
            began, done = self._settled_at
            per_unit = (self._last - began) / (self._done - done)
        return max(0.0, rest * per_unit - (self._clock() - self._last))
