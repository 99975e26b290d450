"""How far stated uncertainty can be believed: reliability diagrams, calibration errors, risk-coverage curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .fit import LEVEL_VALUES, Calibration, PixelCounts

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: what was stated against what was seen, in bins; bins without members are left out.

    Attributes:
        stated: mean statement of each bin, in [0, 1].
        seen: mean outcome of each bin, in [0, 1].
        share: share of the members in each bin, above 0; adds up to 1.
    """

    stated: tuple[float, ...]
    seen: tuple[float, ...]
    share: tuple[float, ...]

    @property
    def error(self) -> float | None:
        """Expected calibration error (Naeini et al. 2015): mean |stated - seen|; None without members."""
        if not self.share:
            return None
        return float(np.dot(self.share, np.abs(np.subtract(self.stated, self.seen))))

    def to_json(self) -> dict[str, list[float]]:
        """Return plain JSON values."""
        return {"stated": list(self.stated), "seen": list(self.seen), "share": list(self.share)}


def of_pixels(counts: PixelCounts, calibration: Calibration | None = None, equal_count: bool = False) -> Reliability:
    """Compare probabilities of pixels with how many truly belong to the object, in 15 bins.

    Args:
        counts: pixels by the network's probability, in thousandths.
        calibration: applied to the probabilities; None for the network's own.
        equal_count: bins of about equal numbers of pixels instead of equal width (the adaptive error of Nguyen and
            O'Connor 2015). A thousandth is never split, so a bin may hold more.
    """
    stated = LEVEL_VALUES if calibration is None else calibration.belongs_by_level
    if equal_count:
        middle = np.cumsum(counts.pixels) - counts.pixels / 2
        position = middle / max(1, counts.pixels.sum())
    else:
        position = stated
    bins = np.minimum((position * BINS).astype(int), BINS - 1)
    return _collect(bins, stated * counts.pixels, counts.inside, counts.pixels)


def of_labels(uncertainty: Sequence[float], error: Sequence[float], groups: int = 10) -> Reliability:
    """Compare the uncertainty of labels with their mean error, in groups of equal count.

    Args:
        uncertainty: stated, per label.
        error: 1 - IoU with the truth, per label.
        groups: how many, where there are as many labels.
    """
    order = np.argsort(np.asarray(uncertainty), kind="stable")
    group = np.empty(len(order), dtype=int)
    group[order] = np.arange(len(order)) * groups // max(1, len(order))
    return _collect(group, np.asarray(uncertainty, float), np.asarray(error, float), np.ones(len(order)))


def _collect(bins: np.ndarray, stated: np.ndarray, seen: np.ndarray, members: np.ndarray) -> Reliability:
    stated, seen, members = (np.bincount(bins, weights=values) for values in (stated, seen, members))
    filled = members > 0
    columns = (stated[filled] / members[filled], seen[filled] / members[filled], members[filled] / members.sum())
    return Reliability(*(tuple(np.round(column, 6).tolist()) for column in columns))


def risk_at_coverage(uncertainty: Sequence[float], error: Sequence[float]) -> np.ndarray:
    """Return the mean error of the k least uncertain labels, for k = 1, 2, ... (El-Yaniv and Wiener 2010).

    Labels of equal uncertainty come in no order, so each counts with the mean error of them all. The mean of the
    result is the area under the risk-coverage curve.

    Args:
        uncertainty: per label; the errors themselves give the oracle, equal numbers the random choice.
        error: 1 - IoU with the truth, per label.

    Returns:
        (N,) float.

    >>> risk_at_coverage([0.3, 0.1, 0.3], [0.5, 0.0, 0.1]).round(3).tolist()
    [0.0, 0.15, 0.2]
    """
    if not len(uncertainty):
        return np.zeros(0)
    _, group = np.unique(np.asarray(uncertainty, float), return_inverse=True)
    mean = np.bincount(group, weights=np.asarray(error, float)) / np.bincount(group)
    return np.cumsum(mean[np.sort(group)]) / np.arange(1, len(group) + 1)


def thin(risk: np.ndarray, points: int = 100) -> dict[str, list[float]]:
    """Return a risk-coverage curve at no more than so many points, as plain JSON values."""
    count = len(risk)
    ends = np.unique(np.ceil(np.arange(1, points + 1) * count / points).astype(int)) if count else np.zeros(0, int)
    return {
        "coverage": [round(float(k) / count, 6) for k in ends],
        "risk": [round(float(risk[k - 1]), 6) for k in ends],
    }
