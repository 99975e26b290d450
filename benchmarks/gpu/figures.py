"""The figures: one line of JSON each while measuring, a table and one JSON file at the end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "figures.jsonl"
FAILED = "failed: "


@dataclass(frozen=True)
class Figure:
    """One thing that was found.

    Attributes:
        row: letter of the row.
        what: was measured, in words.
        value: a number, or a text where it is no number.
        unit: of the number.
        at_least: the number that is hoped for, where more is better.
        at_most: the same, where less is better.
    """

    row: str
    what: str
    value: float | str
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def failed(self) -> bool:
        """Whether there is an error in place of a value."""
        return isinstance(self.value, str) and self.value.startswith(FAILED)

    @property
    def met(self) -> bool | None:
        """Whether what is hoped for was reached; None without a hope or a number."""
        if isinstance(self.value, str) or (self.at_least is None and self.at_most is None):
            return None
        return (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )

    def cells(self) -> tuple[str, str, str, str]:
        """Return row, what, value with unit, and what is hoped for with whether it was reached.

        >>> Figure("b", "asbu", 1712.3, "samples/s", at_least=1500).cells()
        ('b', 'asbu', '1,712 samples/s', 'at least 1,500: yes')
        """
        hoped = ""
        if self.at_least is not None or self.at_most is not None:
            bound = _short(self.at_most) if self.at_least is None else _short(self.at_least)
            verdict = {True: "yes", False: "NO", None: "not measured"}[self.met]
            hoped = f"{'at most' if self.at_least is None else 'at least'} {bound}: {verdict}"
        return self.row, self.what, f"{_short(self.value)} {self.unit}".strip(), hoped


def _short(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def keep(folder: Path, figure: Figure) -> None:
    """Print a figure, and add it to those of the folder."""
    print("  " + "  ".join(cell for cell in figure.cells()[1:] if cell), flush=True)
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(figure)) + "\n")


def read(folder: Path) -> list[Figure]:
    """Return the figures of a folder; of those with the same row and words the last counts, at the place of the first.

    A line that was cut off when its process was ended is left out.
    """
    found: dict[tuple[str, str], Figure] = {}
    file = folder / FILE
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            figure = Figure(**json.loads(line))
        except ValueError:
            continue
        found[figure.row, figure.what] = figure
    return list(found.values())


def forget(folder: Path, rows: Iterable[str]) -> None:
    """Take the figures of rows out of a folder, because they are measured again."""
    gone = set(rows)
    kept = [json.dumps(asdict(figure)) + "\n" for figure in read(folder) if figure.row not in gone]
    (folder / FILE).write_text("".join(kept), encoding="utf-8")


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as lines of text."""
    lines = [("row", "what", "found", "hoped for"), *(figure.cells() for figure in figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
