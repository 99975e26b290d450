"""Labels from what a detector of whole objects found: visible parts, who hides whom, and flags, without a completer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..masks import ownership, rle
from ..masks.boxed import all_boxed
from ..masks.neighbours import near_pairs
from .acyclic import without_circles
from .assemble import CompletedImage
from .ordering import growth_inside, order_pairs, parents

BY_SCORE = "visible_by_score"
"""Flag of labels whose visible part is what no whole mask of a higher score covers, since the model predicts none."""
Scores = Sequence[float] | np.ndarray


def label_detections(amodal: np.ndarray, visible: np.ndarray | None, scores: Scores) -> CompletedImage:
    """Make labels of the detections of one photo.

    A visible part is cut to the whole mask, and a pixel that several claim goes to the smallest, as everywhere in
    amodalpl. Of a model that predicts whole masks only, the visible part is what no mask of a higher score covers: what
    hides others is seen better. Of two objects that one hides the other whose visible part covers more of its hidden
    part.

    Args:
        amodal: (N, H, W) bool, whole masks, none empty.
        visible: (N, H, W) bool as predicted, or None.
        scores: (N,) in [0, 1].

    Returns:
        As of a completer, with two differences. `uncertainty` is 1 - score, which nobody calibrated. A hidden part that
        no other detection covers has no occluder, since it is not known.
    """
    if visible is None:
        parts, shared_px = _uncovered(amodal, scores), np.zeros(len(amodal), dtype=np.int64)
    else:
        size_hw = (amodal.shape[1], amodal.shape[2])
        owned = ownership.resolve([rle.encode(mask) for mask in amodal & visible], size_hw)
        parts, shared_px = np.asarray(owned.masks), owned.lost_px
    hidden = amodal & ~parts
    order = without_circles(order_pairs(near_pairs(amodal, 0), growth_inside(hidden, parts)))
    fronts = parents(order)
    return CompletedImage(
        whole=all_boxed(amodal),
        seen=all_boxed(parts),
        shared_px=shared_px,
        uncertainty=1 - np.asarray(scores, dtype=np.float64),
        plausibility=None,
        occluders=[tuple(fronts.get(index, ())) for index in range(len(amodal))],
        order=order,
        flags=[_flags(parts[k], hidden[k], int(shared_px[k]), visible is None) for k in range(len(amodal))],
        uncertainty_maps=[None] * len(amodal),
        looks=[None] * len(amodal),
    )


def _uncovered(amodal: np.ndarray, scores: Scores) -> np.ndarray:
    """Return of each mask what none of a higher score covers; of equal scores the first is in front."""
    parts = np.zeros_like(amodal)
    covered = np.zeros(amodal.shape[1:], dtype=bool)
    for index in sorted(range(len(amodal)), key=lambda k: -scores[k]):
        parts[index] = amodal[index] & ~covered
        covered |= amodal[index]
    return parts


def _flags(visible: np.ndarray, hidden: np.ndarray, shared_px: int, by_score: bool) -> list[str]:
    at_edge = visible[0].any() or visible[-1].any() or visible[:, 0].any() or visible[:, -1].any()
    stated = {
        "no_occluder": not hidden.any(),
        "truncated": bool(at_edge),
        "shared_pixels": shared_px > 0,
        "fully_shared": not visible.any(),
        BY_SCORE: by_score,
    }
    return [name for name, holds in stated.items() if holds]
