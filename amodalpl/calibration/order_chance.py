"""How likely it is that one object hides another, by the evidence for it: learnt on the hold-out.

A logistic regression on the logarithm of the pixels of evidence and on the score of a directed pair, as the order has
them, to whether the truth has the pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..labelling.ordering import OcclusionEdge

FEWEST = 20  # pairs that are right, and that are wrong; from fewer nothing is learnt


@dataclass(frozen=True)
class OrderChance:
    """The chance that a directed pair is right.

    Attributes:
        per_log_px: weight of log(1 + pixels of evidence), below 0 of evidence against.
        per_score: weight of the score.
        bias: what is added.
    """

    per_log_px: float
    per_score: float
    bias: float

    def __call__(self, pair: OcclusionEdge) -> float:
        """Return the chance, in [0, 1]."""
        log_px, score = _evidence(pair)
        return 1 / (1 + math.exp(-(self.per_log_px * log_px + self.per_score * score + self.bias)))

    def to_json(self) -> dict[str, float]:
        """Return plain JSON values."""
        return {"per_log_px": self.per_log_px, "per_score": self.per_score, "bias": self.bias}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> OrderChance:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        numbers = [float(value[name]) for name in ("per_log_px", "per_score", "bias")]
        if not all(math.isfinite(number) and abs(number) <= 100 for number in numbers):
            raise ValueError("order: expected finite weights, 100 at most")
        return cls(*numbers)


def fit_order_chance(pairs: Sequence[OcclusionEdge], right: Sequence[bool]) -> OrderChance | None:
    """Fit the chance; None where too few pairs are right, or wrong.

    Args:
        pairs: of recovered orders.
        right: of each, whether the truth has it.
    """
    from sklearn.linear_model import LogisticRegression  # takes two seconds to import, and only fitting needs it

    told = np.asarray(right, bool)
    if min(told.sum(), (~told).sum()) < FEWEST:
        return None
    fitted = LogisticRegression(max_iter=1000).fit(np.array([_evidence(pair) for pair in pairs]), told)
    per_log_px, per_score = (round(float(weight), 6) for weight in fitted.coef_[0])
    return OrderChance(per_log_px, per_score, round(float(fitted.intercept_[0]), 6))


def _evidence(pair: OcclusionEdge) -> tuple[float, float]:
    return math.copysign(math.log1p(abs(pair.evidence_px)), pair.evidence_px), pair.score
