"""How far a score may be off by the choice of photos: bootstrap intervals (Efron 1979).

Objects of one photo are alike, so whole photos are drawn. Every score that is asked for here is a ratio of sums over
photos, which makes a draw a vector of how often each photo is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000
LEVEL = 0.95  # share of the draws between the two ends


@dataclass(frozen=True)
class Ratio:
    """A ratio of sums over photos, and what it is in each draw.

    Attributes:
        value: over the photos as they are; None where the sum below is 0.
        drawn: (DRAWS,) float; NaN where a draw has nothing to stand on.
    """

    value: float | None
    drawn: np.ndarray

    def minus(self, other: Ratio) -> Ratio:
        """Return the difference, draw by draw: both must be of the same photos."""
        value = self.value - other.value if self.value is not None and other.value is not None else None
        return Ratio(value, self.drawn - other.drawn)

    def as_scores(self, name: str) -> dict[str, float | None]:
        """Return `name`, and the ends of its interval: `name_low` and `name_high`."""
        usable = self.drawn[~np.isnan(self.drawn)]
        ends: list[float | None] = [None, None]
        if self.value is not None and usable.size:
            ends = [float(end) for end in np.quantile(usable, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]
        return {name: self.value, f"{name}_low": ends[0], f"{name}_high": ends[1]}


def as_good_as_best(choices: Sequence[Ratio]) -> list[int]:
    """Return the places of the largest ratio and of those that may be below it by chance: the interval reaches 0.

    Args:
        choices: of the same photos.
    """
    best = max(choices, key=lambda ratio: ratio.value or 0.0)
    leads = [best.minus(ratio).as_scores("lead")["lead_low"] for ratio in choices]
    return [place for place, low in enumerate(leads) if low is None or low <= 0]


def draw_photos(photos: int, seed: int = 0) -> np.ndarray:
    """Draw as many photos as there are, with replacement, again and again.

    Returns:
        (DRAWS, photos) int64, how often each photo is in each draw.
    """
    if not photos:
        return np.zeros((DRAWS, 0), dtype=np.int64)
    return np.random.default_rng(seed).multinomial(photos, np.full(photos, 1 / photos), size=DRAWS)


def ratio_of_sums(above: Sequence[float] | np.ndarray, below: Sequence[float] | np.ndarray, draws: np.ndarray) -> Ratio:
    """Return sum(above) / sum(below) with its draws.

    Args:
        above: per photo.
        below: per photo, not negative.
        draws: of `draw_photos`.

    >>> half = ratio_of_sums([1, 0], [1, 1], draw_photos(2))
    >>> half.as_scores("share")
    {'share': 0.5, 'share_low': 0.0, 'share_high': 1.0}
    """
    tops, bottoms = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = np.where(draws @ bottoms > 0, (draws @ tops) / (draws @ bottoms), np.nan)
    whole = float(bottoms.sum())
    return Ratio(float(tops.sum()) / whole if whole else None, drawn)
