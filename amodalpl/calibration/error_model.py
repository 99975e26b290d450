"""The expected error of a label by what it looks like (`labelling.label_features`), learnt on the hold-out.

Two logistic regressions, for labels with something in front and for those with nothing: the second are as drawn, and
wrong by what hides them without a mask. They are fitted to the hold-out as it is, and again with a part of its
occluders not shown, which then are things that nobody annotated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..labelling.label_features import FEATURES, LabelFeatures

FEWEST = 30  # labels of a kind; from fewer nothing is learnt
RIDGE = 0.3  # inverse strength of the penalty on weights, scikit-learn's C


@dataclass(frozen=True)
class LogisticModel:
    """A number from 0 to 1 by a logistic function of features.

    Attributes:
        centre: of each feature where it was fitted.
        scale: its standard deviation there; 1 for a feature that never changed.
        weights: of the standardised features.
        bias: what is added.
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return the number for each label, (N,) float.

        Args:
            features: (N, len(FEATURES)) float.
        """
        standard = (features - np.array(self.centre)) / np.array(self.scale)
        return 1 / (1 + np.exp(-(standard @ np.array(self.weights) + self.bias)))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        rows = {name: list(getattr(self, name)) for name in ("centre", "scale", "weights")}
        return {**rows, "bias": self.bias}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> LogisticModel:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        centre, scale, weights = (tuple(map(float, value[name])) for name in ("centre", "scale", "weights"))
        bias = float(value["bias"])
        if any(len(row) != len(FEATURES) for row in (centre, scale, weights)):
            raise ValueError(f"by_features: expected {len(FEATURES)} numbers per row, one for each feature")
        if not np.isfinite([bias, *centre, *scale, *weights]).all() or min(scale) <= 0:
            raise ValueError("by_features: expected finite numbers, and scales above 0")
        return cls(centre, scale, weights, bias)


def fit_logistic(features: np.ndarray, value: np.ndarray, weight: np.ndarray | None = None) -> LogisticModel:
    """Fit a logistic regression to numbers from 0 to 1 by their quasi-likelihood (Papke and Wooldridge 1996).

    Args:
        features: (N, len(FEATURES)) float.
        value: (N,) float in [0, 1]; not all 0, nor all 1.
        weight: (N,) float, how much each counts; all alike where it is not given.
    """
    from sklearn.linear_model import LogisticRegression  # takes two seconds to import, and only fitting needs it

    counts = np.ones(len(value)) if weight is None else weight
    centre, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.where(spread > 1e-6, spread, 1.0)  # a feature that never changes tells nothing
    standard = (features - centre) / scale
    fitted = LogisticRegression(C=RIDGE, max_iter=1000).fit(
        np.concatenate([standard, standard]),
        np.repeat([1, 0], len(value)),
        np.concatenate([value * counts, (1 - value) * counts]),  # v counts as v ones and 1 - v noughts
    )
    bias = round(float(fitted.intercept_[0]), 6)
    return LogisticModel(_rounded(centre), _rounded(scale), _rounded(fitted.coef_[0]), bias)


def _rounded(row: np.ndarray) -> tuple[float, ...]:
    return tuple(np.round(row, 6).tolist())


@dataclass(frozen=True)
class ErrorModel:
    """The expected error, 1 - IoU, of labels.

    Attributes:
        behind: of labels with something in front.
        alone: of labels with nothing in front.
    """

    behind: LogisticModel
    alone: LogisticModel

    def error(self, features: LabelFeatures, asked: bool) -> float:
        """Return the expected error of one label."""
        return float((self.behind if asked else self.alone)(np.array([features.as_row()]))[0])

    def errors(self, features: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """Return the expected error of each label, (N,) float.

        Args:
            features: (N, len(FEATURES)) float.
            asked: (N,) bool, whether something is in front.
        """
        return np.where(asked, self.behind(features), self.alone(features))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"behind": self.behind.to_json(), "alone": self.alone.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ErrorModel:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        return cls(LogisticModel.from_json(value["behind"]), LogisticModel.from_json(value["alone"]))


def fit_errors(features: np.ndarray, asked: np.ndarray, error: Sequence[float] | np.ndarray) -> ErrorModel | None:
    """Fit the model; None where there are too few labels with something in front, or with nothing.

    Args:
        features: (N, len(FEATURES)) float.
        asked: (N,) bool, whether something is in front.
        error: (N,) 1 - IoU with the truth.
    """
    values = np.asarray(error, float)
    groups = [asked, ~asked]
    if any(group.sum() < FEWEST or not 0 < values[group].mean() < 1 for group in groups):
        return None
    return ErrorModel(*(fit_logistic(features[group], values[group]) for group in groups))
