"""A progress that keeps the lines it is told."""

from __future__ import annotations

from amodalpl.runtime.progress import Progress


class Heard(Progress):
    """`notes` are the lines of text, warnings among them, in order."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep a line."""
        self.notes.append(text)
