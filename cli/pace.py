"""How long a piece of work will take: from how long its units took, without those that only warm things up."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

SETTLED = 20  # finished pieces from which their mean is told, which holds the slow ones that come now and then
WARM_UP = 3  # of them, which load, allocate and tune
FEW = 30  # pieces in all, of which the second one is told already
AT_ONCE_S, AT_ONCE_SHARE = 0.005, 0.01  # units that finish so soon after others were one piece, such as a batch
BURST = 100  # times as long as most pieces: then these were told together, and the long one is what they took


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
        self._pieces: list[tuple[float, int]] = []  # seconds and units of the first ones
        self._count = 0  # pieces

    def advance(self, units: int) -> None:
        """Take the time of a piece of the work."""
        now = self._clock()
        took = now - self._last
        if self._pieces and took < min(AT_ONCE_S, AT_ONCE_SHARE * self._pieces[-1][0]):
            seconds, others = self._pieces[-1]
            if self._count == len(self._pieces):
                self._pieces[-1] = seconds + took, others + units
        else:
            if self._count == WARM_UP:
                self._settled_at = (self._last, self._done)
            if self._count < SETTLED:
                self._pieces.append((took, units))
            self._count += 1
        self._last, self._done = now, self._done + units

    def seconds_left(self) -> float | None:
        """Return the time left; None while nobody can tell."""
        if not self._count or self._done >= self._total:
            return None
        rest = self._total - self._done
        pieces = self._pieces[1:]
        per_piece = (self._done - self._before) / self._count
        needed = 1 if rest <= FEW * per_piece else WARM_UP
        if len(pieces) < needed:
            return None
        per_unit = median(seconds / max(units, 1) for seconds, units in pieces)
        if max(seconds for seconds, _ in pieces) > BURST * per_unit:
            per_unit = sum(seconds for seconds, _ in pieces) / sum(units for _, units in pieces)
        elif self._pieces[0][0] > BURST * per_unit and self._count < SETTLED:
            return None  # it warmed up, or the others came with it
        if self._count >= SETTLED and self._settled_at:
            began, done = self._settled_at
            per_unit = (self._last - began) / max(self._done - done, 1)
        return max(0.0, rest * per_unit - (self._clock() - self._last))
