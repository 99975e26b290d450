"""Ending a stage in the middle of its work, as a kill would."""

from __future__ import annotations

from contextlib import contextmanager

from amodalpl.runtime.progress import Progress


class Killed(Exception):
    """Not an error of ours: nothing in the library catches it."""


class KillIn(Progress):
    """Ends the work in a named task once so many of its units are done, those of earlier calls included."""

    def __init__(self, label: str, units: int) -> None:
        self.label, self.units = label, units

    @contextmanager
    def task(self, label, total, done=0):
        finished = done

        def advance(units):
            nonlocal finished
            finished += units
            if label == self.label and finished >= self.units:
                raise Killed

        yield advance
