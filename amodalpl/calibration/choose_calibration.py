"""Which calibration to use, if any, and what to promise.

A map that was fitted to a few scenes may do harm on others. So a map is used only if it lowers the error on scenes that
it was not fitted to, by more than one standard error (the rule of Breiman et al. 1984). A promise is made only if most
bootstrap draws of the scenes allow it. Objects of one scene stay together in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .error_model import fit_errors
from .fit import LEVEL_VALUES, PixelCounts, RiskGuarantee, choose_promise, fit_labels, fit_pixels

FOLDS, DIVISIONS = 5, 4
PROMISE_DRAWS, ALLOWED_BY = 100, 0.75


def pixels_help(scenes: Sequence[PixelCounts], seed: int = 0) -> bool:
    """Tell whether the map of pixels lowers the Brier score of probabilities on other scenes.

    Args:
        scenes: pixels of each.
        seed: of the divisions into scenes to fit to and to check on.
    """
    pixels, inside = (np.array([getattr(s, name) for s in scenes]) for name in ("pixels", "inside"))  # (S, LEVELS)
    gain = np.zeros(len(scenes))
    for fitted, checked in _divisions(len(scenes), seed):
        found = fit_pixels(PixelCounts(pixels[fitted].sum(axis=0), inside[fitted].sum(axis=0)))
        before, after = (
            inside[checked] @ (1 - p) ** 2 + (pixels - inside)[checked] @ p**2
            for p in (LEVEL_VALUES, found.belongs_by_level)
        )
        gain[checked] += before - after
    return _is_sure(gain)


def labels_help(doubt: Sequence[float], error: Sequence[float], scene: Sequence[int], seed: int = 0) -> bool:
    """Tell whether the map of labels lowers the squared error of uncertainty on other scenes.

    Args:
        doubt: per label, the error that its pixels imply.
        error: per label, 1 - IoU with the truth.
        scene: number of each label's scene.
        seed: of the divisions.
    """
    doubts, errors = np.asarray(doubt, float), np.asarray(error, float)
    scenes, of_label = np.unique(np.asarray(scene, int), return_inverse=True)
    gain = np.zeros(len(scenes))
    for fitted, checked in _divisions(len(scenes), seed):
        mine, theirs = np.isin(of_label, fitted), np.isin(of_label, checked)
        found = fit_labels(doubts[mine].tolist(), errors[mine].tolist())
        stated = np.interp(doubts[theirs], found.doubt, found.expected_error)
        lower = (doubts[theirs] - errors[theirs]) ** 2 - (stated - errors[theirs]) ** 2
        gain += np.bincount(of_label[theirs], weights=lower, minlength=len(scenes))
    return _is_sure(gain)


def features_help(
    features: np.ndarray, asked: np.ndarray, stated: np.ndarray, error: np.ndarray, scene: np.ndarray, seed: int = 0
) -> bool:
    """Tell whether features predict the error on other scenes better than the uncertainty that labels state.

    Args:
        features: (N, len(FEATURES)) float.
        asked: (N,) bool, whether something is in front of the label's object.
        stated: (N,) float, uncertainty without features.
        error: (N,) float, 1 - IoU with the truth.
        scene: (N,) number of each label's scene.
        seed: of the divisions.
    """
    scenes, of_label = np.unique(scene, return_inverse=True)
    gain = np.zeros(len(scenes))
    for fitted, checked in _divisions(len(scenes), seed):
        mine, theirs = np.isin(of_label, fitted), np.isin(of_label, checked)
        found = fit_errors(features[mine], asked[mine], error[mine])
        if found is None:
            return False
        expected = found.errors(features[theirs], asked[theirs])
        lower = (stated[theirs] - error[theirs]) ** 2 - (expected - error[theirs]) ** 2
        gain += np.bincount(of_label[theirs], weights=lower, minlength=len(scenes))
    return _is_sure(gain)


def promise_of_draws(
    uncertainty: Sequence[float], iou: Sequence[float], scene: Sequence[int], seed: int = 0
) -> RiskGuarantee | None:
    """Choose what to promise: the largest bound that three quarters of the draws of scenes allow (`choose_promise`).

    Args:
        uncertainty: per label.
        iou: per label, with the truth.
        scene: number of each label's scene.
        seed: of the draws.

    Returns:
        The promise; None where a quarter of the draws, or all scenes together, allow none.
    """
    together = choose_promise(uncertainty, iou)
    if together is None:
        return None
    stated, ious, numbers = np.asarray(uncertainty, float), np.asarray(iou, float), np.asarray(scene, int)
    members = [np.flatnonzero(numbers == n) for n in np.unique(numbers)]
    rng = np.random.default_rng(seed)
    bounds = []
    for _ in range(PROMISE_DRAWS):
        drawn = np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])
        found = choose_promise(stated[drawn].tolist(), ious[drawn].tolist())
        bounds.append(found.uncertainty_at_most if found else -1.0)
    allowed = float(np.quantile(bounds, 1 - ALLOWED_BY, method="lower"))
    return RiskGuarantee(min(allowed, together.uncertainty_at_most)) if allowed >= 0 else None


def _divisions(scenes: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Divide scenes into those to fit to and those to check on; every scene is checked once per division."""
    rng = np.random.default_rng(seed)
    for _ in range(DIVISIONS if scenes > 1 else 0):
        order = rng.permutation(scenes)
        for checked in np.array_split(order, min(FOLDS, scenes)):
            yield np.setdiff1d(order, checked), checked


def _is_sure(gain: np.ndarray) -> bool:
    """Tell whether the mean gain of scenes is above its standard error."""
    return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))
