"""Uncertainties restated by what a person judged of a sample of labels.

The error of labels of uncertainty u is taken to be spread as Beta(4 u, 4 (1 - u)), whose mean is u: on hold-outs this
concentration explains best which labels are good. So a verdict says something of u, and two numbers move all of it:
logit u' = shift + slope logit u, by maximum likelihood of the verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CONCENTRATION = 4.0  # of 1, 2, 3, 4, 6, 8 and 12 the most likely one, 4 157 labels of a hold-out (LOG.md)
ERROR_OF_RIGHT = 0.25  # a label is judged right, it is taken, where its IoU is above 0.75
TIE = 1.0  # how much the slope is held at 1: a few verdicts tell its shift only


@dataclass(frozen=True)
class Restatement:
    """How uncertainties move.

    Attributes:
        shift: of their logit.
        slope: of their logit, 0 or more; 1 keeps their differences.
    """

    shift: float = 0.0
    slope: float = 1.0

    def __call__(self, uncertainty: np.ndarray) -> np.ndarray:
        """Return the restated uncertainties.

        Args:
            uncertainty: (N,) float in [0, 1]; 1, as of objects that others own wholly, stays.
        """
        moved = 1 / (1 + np.exp(-(self.shift + self.slope * _logit(uncertainty))))
        return np.where(uncertainty >= 1, 1.0, moved)


def restate_by(uncertainty: np.ndarray, right: np.ndarray, weight: np.ndarray) -> Restatement:
    """Return what explains the verdicts on judged labels best.

    Args:
        uncertainty: (N,) float, as stated.
        right: (N,) bool.
        weight: (N,) float, how many labels each stands for.
    """
    from scipy.optimize import minimize  # takes a second to import

    counts = weight / weight.mean()

    def unlikely(at: np.ndarray) -> float:
        chance = chance_of_right(Restatement(float(at[0]), max(float(at[1]), 0.0))(uncertainty))
        told = np.log(np.clip(np.where(right, chance, 1 - chance), 1e-6, 1))
        return float(-(counts * told).sum() + TIE * (at[1] - 1) ** 2)

    found = minimize(unlikely, np.array([0.0, 1.0]), method="Nelder-Mead").x
    return Restatement(round(float(found[0]), 6), round(max(float(found[1]), 0.0), 6))


def chance_of_right(uncertainty: np.ndarray) -> np.ndarray:
    """Return the chance that a label of an uncertainty has an error below `ERROR_OF_RIGHT`, (N,) float."""
    from scipy.special import betainc  # what scipy.stats.beta.cdf calls

    mean = np.clip(uncertainty, 1e-4, 1 - 1e-4)
    return betainc(CONCENTRATION * mean, CONCENTRATION * (1 - mean), ERROR_OF_RIGHT)


def _logit(uncertainty: np.ndarray) -> np.ndarray:
    inside = np.clip(uncertainty, 1e-4, 1 - 1e-4)
    return np.log(inside / (1 - inside))
