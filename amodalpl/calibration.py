"""What is chosen on the hold-out and nowhere else: thresholds, and what a raw doubt means in expected error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Calibration:
    """A non-decreasing, piecewise linear map from raw doubt to expected error (1 - IoU).

    Attributes:
        doubt: raw doubts at the knots, increasing.
        expected_error: mean error seen on the hold-out there, non-decreasing, in [0, 1].
    """

    doubt: tuple[float, ...] = (0.0, 1.0)
    expected_error: tuple[float, ...] = (0.0, 1.0)

    def error(self, raw_doubt: float) -> float:
        """Return the expected error for a raw doubt in [0, 1]."""
        return float(np.interp(raw_doubt, self.doubt, self.expected_error))

    def to_json(self) -> dict[str, list[float]]:
        """Return plain JSON values."""
        return {"doubt": list(self.doubt), "expected_error": list(self.expected_error)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Calibration:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        doubt, expected_error = tuple(map(float, value["doubt"])), tuple(map(float, value["expected_error"]))
        if not doubt or len(doubt) != len(expected_error):
            raise ValueError(f"calibration: got {len(doubt)} doubts for {len(expected_error)} errors")
        return cls(doubt, expected_error)


def fit_calibration(raw_doubt: Sequence[float], error: Sequence[float], bins: int = 10) -> Calibration:
    """Fit the map on hold-out objects: isotonic regression of the error in bins of equal count.

    Args:
        raw_doubt: per object, in [0, 1].
        error: per object, 1 - IoU with the truth.
        bins: at most so many knots; fewer when there are fewer than 5 objects per bin.

    Returns:
        The map; the identity when there are fewer than 5 objects.
    """
    count = len(raw_doubt)
    bins = min(bins, count // 5)
    if bins < 1:
        return Calibration()
    order = np.argsort(np.asarray(raw_doubt), kind="stable")
    groups = np.array_split(order, bins)
    doubt = [float(np.mean(np.asarray(raw_doubt)[g])) for g in groups]
    means = _pool_adjacent([float(np.mean(np.asarray(error)[g])) for g in groups], [len(g) for g in groups])
    knots: dict[float, float] = {}
    for x, y in zip(doubt, means, strict=True):
        knots[round(x, 6)] = round(y, 6)  # equal doubts: the later, larger mean
    return Calibration(tuple(knots), tuple(knots.values()))


def _pool_adjacent(values: Sequence[float], weights: Sequence[int]) -> list[float]:
    """Isotonic regression by pooling adjacent violators (Barlow et al. 1972).

    >>> _pool_adjacent([1.0, 3.0, 2.0], [1, 1, 1])
    [1.0, 2.5, 2.5]
    """
    blocks: list[list[float]] = []  # mean, weight, members
    for value, weight in zip(values, weights, strict=True):
        blocks.append([value, float(weight), 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, total, members = blocks.pop()
            before = blocks[-1]
            before[0] = (before[0] * before[1] + mean * total) / (before[1] + total)
            before[1] += total
            before[2] += members
    return [mean for mean, _, members in blocks for _ in range(int(members))]
