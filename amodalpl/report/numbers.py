"""Numbers as the report shows them: histograms, curves, tables of nested counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_LISTED = 50  # rows of one list before it is cut
_SIDE = 200  # of the square that curves are drawn in


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram: from, to, how many, and its height in parts of the highest."""

    low: float
    high: float
    count: int
    height: float


def histogram(values: Sequence[float], edges: np.ndarray) -> list[Bar]:
    """Count values between edges, those beyond the last edge in the last bar; empty without values.

    >>> [bar.count for bar in histogram([0.1, 0.2, 0.9, 7], np.array([0, 0.5, 1]))]
    [2, 2]
    """
    if not values:
        return []
    counts, _ = np.histogram(np.minimum(values, edges[-1]), edges)
    most = max(1, int(counts.max()))
    return [
        Bar(float(low), float(high), int(n), int(n) / most)
        for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def lower_bound(successes: int, trials: int) -> float:
    """Return what a share is at least, with 95 % confidence: the one-sided bound of Wilson 1927.

    >>> round(lower_bound(6, 6), 2), round(lower_bound(584, 602), 2)
    (0.69, 0.96)
    """
    z2 = 1.6449**2
    share = successes / trials
    spread = math.sqrt(z2 * (share * (1 - share) + z2 / (4 * trials)) / trials)
    return (share + z2 / (2 * trials) - spread) / (1 + z2 / trials)


@dataclass(frozen=True)
class Curve:
    """A line in a square of 200 x 200, y downwards.

    Attributes:
        name: of what it shows.
        points: as SVG writes them.
        dots: the same, one by one, with the values they stand for.
    """

    name: str
    points: str
    dots: list[tuple[float, float, str]]


def curve(name: str, across: Sequence[float], up: Sequence[float], most: float = 1.0) -> Curve:
    """Scale a line so that 0 to `most` fill the square both ways.

    >>> curve("seen", [0, 0.5], [0, 0.25], most=0.5).points
    '0.0,200.0 200.0,100.0'
    """
    places = [(_SIDE * x / most, _SIDE * (1 - y / most)) for x, y in zip(across, up, strict=True)]
    said = [f"{x:.3f} stated, {y:.3f} seen" for x, y in zip(across, up, strict=True)]
    return Curve(
        name,
        " ".join(f"{x:.1f},{y:.1f}" for x, y in places),
        [(round(x, 1), round(y, 1), text) for (x, y), text in zip(places, said, strict=True)],
    )


def format_number(value: Any) -> str:
    """Write a number as people read it.

    >>> [format_number(v) for v in (0.93512, 838, None, "asbu")]
    ['0.935', '838', '–', 'asbu']
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{value:.3f}" if isinstance(value, float | np.floating) else str(value)


def rows(stats: Mapping[str, Any], depth: int = 0) -> Iterable[tuple[int, str, str]]:
    """Spread nested counts over rows: (depth, name, value); long lists are cut, and say so."""
    for name, value in stats.items():
        label = str(name).replace("_", " ")
        if isinstance(value, Mapping):
            yield depth, label, "" if value else "none"
            yield from rows(value, depth + 1)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield depth, label, format_number(len(value))
            for entry in value[:_LISTED]:
                text = (
                    ", ".join(f"{k} {format_number(v)}" for k, v in entry.items()) if isinstance(entry, Mapping) else ""
                )
                yield depth + 1, text or format_number(entry), ""
            if len(value) > _LISTED:
                yield depth + 1, f"and {len(value) - _LISTED} more in stats.json", ""
        else:
            yield depth, label, format_number(value)
