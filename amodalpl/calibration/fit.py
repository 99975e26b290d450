"""Calibration: from a completer's probabilities to the expected error of a label, fitted on the hold-out only.

Two non-decreasing maps and a statement. Per pixel: from the network's probability to the share of such pixels that
truly belong to the object. Per label: from the error that those probabilities imply to the error that was seen. And
the uncertainty up to which labels can be promised to be good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..completion.predictor import CompletionPrediction
from .error_model import ErrorModel
from .order_chance import OrderChance

LEVELS = 1001  # probabilities are counted in thousandths, so that any number of pixels takes the same memory
LEVEL_VALUES = np.linspace(0, 1, LEVELS)
LABELS_PER_KNOT = 5  # fewer would let single objects bend the map
MARGIN = 0.05  # chance that a promise is made although the true share is lower


@dataclass
class PixelCounts:
    """Pixels behind occluders by the probability that the network gave them, summed over any number of answers.

    Attributes:
        pixels: (LEVELS,) int64, pixels whose probability rounds to each thousandth.
        inside: (LEVELS,) int64, those of them that truly belong to the object.
    """

    pixels: np.ndarray = field(default_factory=lambda: np.zeros(LEVELS, np.int64))
    inside: np.ndarray = field(default_factory=lambda: np.zeros(LEVELS, np.int64))

    def add(self, prediction: CompletionPrediction, truth: np.ndarray, judge_unmasked: bool = True) -> None:
        """Count the band of a prediction in which something may be hidden: where it may go on unseen.

        Args:
            prediction: of the completer.
            truth: (h, w) bool, the true amodal mask within the prediction's window.
            judge_unmasked: whether the truth is known where no object has a mask, too.
        """
        band = (prediction.unseen if judge_unmasked else prediction.behind) & ~prediction.modal
        probability = prediction.probability
        self.pixels += _count_levels(probability[band])
        self.inside += _count_levels(probability[band & truth])


@dataclass(frozen=True)
class Evidence:
    """What a prediction says about the label made of it.

    Attributes:
        visible_px: pixels that are seen to belong to the object.
        added: (LEVELS,) int64, pixels that the label adds to them, by the network's probability.
        left_out: (LEVELS,) int64, pixels where it may go on unseen that the label does not add.
    """

    visible_px: int
    added: np.ndarray
    left_out: np.ndarray

    @classmethod
    def of(cls, prediction: CompletionPrediction, amodal: np.ndarray) -> Evidence:
        """Count the evidence for a label.

        Args:
            prediction: of the completer.
            amodal: (h, w) bool, the label within the prediction's window; contains the visible part.
        """
        probability, modal = prediction.probability, prediction.modal
        return cls(
            int(np.count_nonzero(modal)),
            _count_levels(probability[amodal & ~modal]),
            _count_levels(probability[prediction.unseen & ~amodal & ~modal]),
        )


def _count_levels(probability: np.ndarray) -> np.ndarray:
    return np.bincount(np.rint(probability * (LEVELS - 1)).astype(np.int64), minlength=LEVELS)


@dataclass(frozen=True)
class Calibration:
    """What was learnt: two non-decreasing, piecewise linear maps, flat beyond their first and last knot, and a mean.

    Attributes:
        doubt: errors that the pixels imply (`implied_error`), at the knots, increasing.
        expected_error: mean error (1 - IoU) seen on the hold-out there, non-decreasing, in [0, 1].
        probability: the network's probabilities at the knots, increasing.
        belongs: share of pixels of that probability that truly belong to the object, non-decreasing, in [0, 1].
        unasked: mean error of labels with neighbours of which none was taken to be in front: their order may be wrong.
        by_features: the expected error by what an object and its label look like, which then is what labels state; None
            where features do not help.
        order: the chance that a pair of the order is right; None where too few were wrong to learn it.
    """

    doubt: tuple[float, ...] = (0.0, 1.0)
    expected_error: tuple[float, ...] = (0.0, 1.0)
    probability: tuple[float, ...] = (0.0, 1.0)
    belongs: tuple[float, ...] = (0.0, 1.0)
    unasked: float = 0.0
    by_features: ErrorModel | None = None
    order: OrderChance | None = None

    def error(self, doubt: float) -> float:
        """Return the expected error, 1 - IoU, for an implied error in [0, 1]."""
        return float(np.interp(doubt, self.doubt, self.expected_error))

    @cached_property
    def belongs_by_level(self) -> np.ndarray:
        """(LEVELS,) float, the calibrated probability for each thousandth of the network's."""
        return np.interp(LEVEL_VALUES, self.probability, self.belongs)

    def implied_error(self, evidence: Evidence) -> float:
        """Return 1 - expected intersection / expected union, assuming that the calibrated probabilities are right.

        Visible pixels are certain; where the object cannot go on unseen, pixels certainly do not belong.
        """
        added, left_out = evidence.added @ self.belongs_by_level, evidence.left_out @ self.belongs_by_level
        union = evidence.visible_px + evidence.added.sum() + left_out
        return float(1 - (evidence.visible_px + added) / union)

    def uncertainty(self, evidence: Evidence) -> float:
        """Return the expected error, 1 - IoU, of a label; the `uncertainty` of label files."""
        return self.error(self.implied_error(evidence))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "doubt": list(self.doubt),
            "expected_error": list(self.expected_error),
            "probability": list(self.probability),
            "belongs": list(self.belongs),
            "unasked": self.unasked,
            "by_features": self.by_features.to_json() if self.by_features else None,
            "order": self.order.to_json() if self.order else None,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Calibration:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        knots: dict[str, tuple[float, ...]] = {}
        for at, of in (("doubt", "expected_error"), ("probability", "belongs")):
            xs, ys = tuple(map(float, value[at])), tuple(map(float, value[of]))
            if not xs or len(xs) != len(ys):
                raise ValueError(f"calibration: got {len(xs)} of `{at}` for {len(ys)} of `{of}`")
            if any(a >= b for a, b in zip(xs, xs[1:], strict=False)):
                raise ValueError(f"calibration: expected increasing numbers in `{at}`")
            if not 0 <= min(*xs, *ys) <= max(*xs, *ys) <= 1:
                raise ValueError(f"calibration: expected numbers from 0 to 1 in `{at}` and `{of}`")
            knots |= {at: xs, of: ys}
        by_features, order = value.get("by_features"), value.get("order")
        return cls(
            **knots,
            unasked=float(value["unasked"]),
            by_features=None if by_features is None else ErrorModel.from_json(by_features),
            order=None if order is None else OrderChance.from_json(order),
        )


def fit_pixels(counts: PixelCounts, knots: int = 20) -> Calibration:
    """Fit the map of pixels: isotonic regression of the share that belongs, in groups of about equal numbers of pixels.

    Args:
        counts: pixels of the hold-out; the identity is returned where there are none.
        knots: at most so many groups; a thousandth is never split.
    """
    total = counts.pixels.sum()
    middle = np.cumsum(counts.pixels) - counts.pixels / 2
    group = np.minimum(middle * knots / max(1, total), knots - 1).astype(int)
    pixels, inside, probability = (
        np.bincount(group, weights=w) for w in (counts.pixels, counts.inside, counts.pixels * LEVEL_VALUES)
    )
    filled = pixels > 0
    if not filled.any():
        return Calibration()
    at, value = _isotonic(
        (probability[filled] / pixels[filled]).tolist(),
        (inside[filled] / pixels[filled]).tolist(),
        pixels[filled].tolist(),
    )
    return Calibration(probability=at, belongs=value)


def fit_labels(doubt: Sequence[float], error: Sequence[float], knots: int = 10) -> Calibration:
    """Fit the map of labels: isotonic regression of the error in groups of equal count.

    Beyond the most uncertain group the map goes on to (1, 1), so that an error that the hold-out never showed is not
    passed off as one that it did.

    Args:
        doubt: per label, the error that its pixels imply, in [0, 1].
        error: per label, 1 - IoU with the truth.
        knots: at most so many groups; fewer when there are fewer than 5 labels for each.

    Returns:
        The map; the identity when there are fewer than 5 labels.
    """
    groups = min(knots, len(doubt) // LABELS_PER_KNOT)
    if groups < 1:
        return Calibration()
    members = np.array_split(np.argsort(np.asarray(doubt), kind="stable"), groups)
    at, value = _isotonic(
        [float(np.mean(np.asarray(doubt)[m])) for m in members],
        [float(np.mean(np.asarray(error)[m])) for m in members],
        [len(m) for m in members],
    )
    if at[-1] < 1:
        at, value = (*at, 1.0), (*value, 1.0)
    return Calibration(at, value)


def _isotonic(
    x: Sequence[float], y: Sequence[float], weight: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Isotonic regression (Barlow et al. 1972); one knot at the mean of each pool of equal values.

    Joining the pools by lines instead of steps keeps the order of any two inputs, which steps would make equal.

    >>> _isotonic([0.1, 0.2, 0.4], [0.1, 0.7, 0.5], [1, 1, 1])
    ((0.1, 0.3), (0.1, 0.6))
    """
    from sklearn.isotonic import isotonic_regression  # takes two seconds to import, and only training needs it

    at, group = np.unique(x, return_inverse=True)  # equal x belong to one pool
    weights = np.bincount(group, weights=weight)
    values = isotonic_regression(np.bincount(group, weights=np.multiply(y, weight)) / weights, sample_weight=weights)
    value, pool = np.unique(values, return_inverse=True)
    middle = np.bincount(pool, weights=at * weights) / np.bincount(pool, weights=weights)
    knots = {round(float(x), 6): round(float(y), 6) for x, y in zip(middle, value, strict=True)}
    return tuple(knots), tuple(knots.values())  # equal after rounding: the later, larger one


@dataclass(frozen=True)
class RiskGuarantee:
    """Of labels with an uncertainty up to a bound, at least a share have an IoU above a value.

    It speaks of labels for which an annotated object was taken to be in front, and was judged on pasted occlusions.

    Attributes:
        uncertainty_at_most: the bound.
        iou_above: the value.
        share: in [0, 1].
    """

    uncertainty_at_most: float
    iou_above: float = 0.75
    share: float = 0.95

    def __str__(self) -> str:
        return (
            f"of labels with an occluder and uncertainty up to {self.uncertainty_at_most:.3f}, "
            f"{self.share:.0%} have an IoU above {self.iou_above:g} on pasted occlusions"
        )

    def to_json(self) -> dict[str, float]:
        """Return plain JSON values."""
        return {"uncertainty_at_most": self.uncertainty_at_most, "iou_above": self.iou_above, "share": self.share}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> RiskGuarantee:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        return cls(float(value["uncertainty_at_most"]), float(value["iou_above"]), float(value["share"]))


def choose_promise(
    uncertainty: Sequence[float], iou: Sequence[float], iou_above: float = 0.75, share: float = 0.95
) -> RiskGuarantee | None:
    """Choose the largest bound for which the promise holds with a margin.

    The margin is the one-sided bound of Clopper and Pearson 1934: were the true share no more than the promised one, so
    few labels at or below the promised IoU would be seen with a chance of 5 % at most. Without any bad label 59 are
    needed. The bound is looked for among those seen, without a correction for having looked at several. It is at most
    1 - IoU: whatever the hold-out says, a label that does not expect so good an IoU of itself is not promised to have
    it. So a promise that covers every label, and says nothing, is never made.

    Args:
        uncertainty: per label of the hold-out.
        iou: per label, with the truth.
        iou_above: IoU that is promised.
        share: of the labels.

    Returns:
        The promise; None when no bound allows it.
    """
    rounded = np.round(np.asarray(uncertainty, dtype=float), 6)  # as label files have it
    bad = np.asarray(iou, dtype=float) <= iou_above
    for bound in np.unique(rounded[rounded <= 1 - iou_above])[::-1]:
        below = rounded <= bound
        if at_most(int(bad[below].sum()), int(below.sum()), 1 - share) <= MARGIN:
            return RiskGuarantee(float(bound), iou_above, share)
    return None


def at_most(events: int, trials: int, chance: float) -> float:
    """Return the probability of at most so many events, each trial having one with a chance.

    >>> round(at_most(0, 59, 0.05), 4), round(at_most(1, 2, 0.5), 4)
    (0.0485, 0.75)
    """
    from scipy.special import bdtr  # what scipy.stats.binom.cdf calls, which takes two seconds to import

    return float(bdtr(events, trials, chance))
