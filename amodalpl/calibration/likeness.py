"""Whether what was promised on the hold-out can be said of other labels.

A promise is judged on labels of pasted occlusions. It may not hold for a user's labels, because these can look
different. So every label of the hold-out gets a weight: how much more often its features occur among the user's labels
(the ratio of densities, by a logistic regression that tells the two apart). The promise has to hold for the weighted
labels too, as in weighted conformal prediction under covariate shift (Tibshirani et al. 2019). Where the weights are
very unequal, the two sets hardly look alike, and nothing is promised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..labelling.label_features import FEATURES
from .error_model import fit_logistic
from .fit import MARGIN, RiskGuarantee, at_most

LEAST_ALIKE = 1 / 3
"""Of the hold-out's labels, how many unweighted ones the weighted must be worth. Halves of a hold-out have 0.7."""
FEWEST = 30  # labels of either kind that can be compared


@dataclass(frozen=True, eq=False)
class JudgedLabels:
    """Labels of the hold-out with something in front of them, that a promise was judged on.

    Attributes:
        features: (N, len(FEATURES)) float.
        uncertainty: (N,) float, as stated.
        good: (N,) bool, whether the IoU is above the one that is promised.
    """

    features: np.ndarray
    uncertainty: np.ndarray
    good: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "features": np.round(self.features, 4).tolist(),
            "uncertainty": np.round(self.uncertainty, 6).tolist(),
            "good": self.good.astype(int).tolist(),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> JudgedLabels:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        features = np.array(value["features"], dtype=float).reshape(-1, len(FEATURES))
        uncertainty, good = np.array(value["uncertainty"], dtype=float), np.array(value["good"], dtype=bool)
        if not len(features) == len(uncertainty) == len(good) or not np.isfinite(features).all():
            raise ValueError("judged: expected features, uncertainty and verdict of each label")
        return cls(features, uncertainty, good)


@dataclass(frozen=True)
class Likeness:
    """What becomes of a promise among a user's labels.

    Attributes:
        promise: None where it is withheld.
        alike: effective number of weighted labels over their number, in [0, 1]; None where there were too few labels
            to compare.
        reason: why it is withheld, or what it rests on.
    """

    promise: RiskGuarantee | None
    alike: float | None
    reason: str


def promise_among(promise: RiskGuarantee | None, judged: JudgedLabels | None, features: np.ndarray) -> Likeness:
    """Say whether a promise holds for labels that look as a user's do.

    Args:
        promise: of the hold-out.
        judged: what it was judged on; None of an earlier completer.
        features: (M, len(FEATURES)) float, of the user's labels with something in front.
    """
    if promise is None:
        return Likeness(None, None, "the hold-out has too few labels, or too many bad ones")
    if judged is None or min(len(judged.good), len(features)) < FEWEST:
        return Likeness(promise, None, f"not compared: {len(features)} labels with an occluder")
    weight = weigh(judged.features, features)
    alike = _worth(weight) / len(weight)
    if alike < LEAST_ALIKE:
        return Likeness(None, alike, f"these labels look unlike those it was judged on ({alike:.0%} alike)")
    below = judged.uncertainty <= promise.uncertainty_at_most
    count = _worth(weight[below])
    if at_most(0, int(count), 1 - promise.share) > MARGIN:
        return Likeness(None, alike, f"too few hold-out labels look like these to tell: they are worth {count:.0f}")
    bad = count * float(np.average(~judged.good[below], weights=weight[below]))
    if at_most(int(bad), int(count), 1 - promise.share) > MARGIN:
        return Likeness(None, alike, "too few of the hold-out labels that look like these are good")
    return Likeness(promise, alike, f"judged on labels that look like these ({alike:.0%} alike)")


def weigh(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return how much more often the features of each of mine occur among theirs, (N,) float, 1 on average.

    Args:
        mine: (N, len(FEATURES)) float.
        theirs: (M, len(FEATURES)) float.
    """
    is_theirs = np.repeat([0.0, 1.0], [len(mine), len(theirs)])
    even = np.repeat([1.0, len(mine) / len(theirs)], [len(mine), len(theirs)])  # both sides count alike
    chance = fit_logistic(np.concatenate([mine, theirs]), is_theirs, even)(mine)
    weight = chance / np.maximum(1 - chance, 1e-9)
    return weight / weight.mean()


def _worth(weight: np.ndarray) -> float:
    """Return how many labels of equal weight tell as much (Kish 1965)."""
    return float(weight.sum() ** 2 / (weight**2).sum()) if weight.any() else 0.0
