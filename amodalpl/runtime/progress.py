"""Progress of long work: stages report it, the command line draws it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

DAY_S = 86400.0


class Progress:
    """Shows nothing; the command line's subclass draws bars with rate and time left."""

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        """Open one bar.

        Args:
            label: what is being done.
            total: number of units.
            done: units that an interrupted run had finished.

        Yields:
            A function to call with the number of units just finished.
        """
        yield lambda units: None

    def note(self, text: str) -> None:
        """Show one line of text, such as a score during training."""

    def warn(self, text: str) -> None:
        """Show one line about something that looks wrong but stops nothing."""
        self.note(f"warning: {text}")


SILENT = Progress()
