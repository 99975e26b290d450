"""Labels from what a detector of whole objects found: visible parts, who hides whom, and flags, without a completer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..masks import ownership
from ..masks.boxed import BoxedMask, BoxedMasks, all_boxed
from ..masks.neighbours import near_pairs
from .acyclic import without_circles
from .assemble import CompletedImage
from .ordering import growth_inside, order_pairs, parents

BY_SCORE = "visible_by_score"
"""Flag of labels whose visible part is what no whole mask of a higher score covers, since the model predicts none."""
Scores = Sequence[float] | np.ndarray


def label_detections(
    amodal: np.ndarray | BoxedMasks, visible: np.ndarray | BoxedMasks | None, scores: Scores
) -> CompletedImage:
    """Make labels of the detections of one photo.

    A visible part is cut to the whole mask. A pixel that several objects claim goes to the smallest, as everywhere in
    amodalpl. For a model that predicts whole masks only, the visible part is what no mask of a higher score covers,
    since front objects are seen better and score higher. Of two objects, the front one is that whose visible part
    covers more of the other's hidden part.

    Args:
        amodal: N whole masks, none empty, or their (N, H, W) bool stack.
        visible: likewise, as predicted; or None.
        scores: (N,) in [0, 1].

    Returns:
        As of a completer, with two differences. `uncertainty` is 1 - score, which nobody calibrated. A hidden part that
        no other detection covers has no occluder, since it is not known.
    """
    amodal = all_boxed(amodal)
    if visible is None:
        parts, shared_px = _uncovered(amodal, scores), np.zeros(len(amodal), dtype=np.int64)
    else:
        seen = [
            BoxedMask.cut(whole.crop & mask[whole.window], whole.box_xywh[:2], whole.size_hw)
            for whole, mask in zip(amodal, all_boxed(visible), strict=True)
        ]
        owned = ownership.resolve([mask.encode() for mask in seen], amodal.size_hw)
        parts, shared_px = owned.masks, owned.lost_px
    hidden = BoxedMasks((whole.without(part) for whole, part in zip(amodal, parts, strict=True)), amodal.size_hw)
    order = without_circles(order_pairs(near_pairs(amodal, 0), growth_inside(hidden, parts)))
    fronts = parents(order)
    return CompletedImage(
        whole=amodal,
        seen=parts,
        shared_px=shared_px,
        uncertainty=1 - np.asarray(scores, dtype=np.float64),
        plausibility=None,
        occluders=[tuple(fronts.get(index, ())) for index in range(len(amodal))],
        order=order,
        flags=[_flags(parts[k], hidden[k], int(shared_px[k]), visible is None) for k in range(len(amodal))],
        uncertainty_maps=[None] * len(amodal),
        features=[None] * len(amodal),
    )


def _uncovered(amodal: BoxedMasks, scores: Scores) -> BoxedMasks:
    """Return of each mask what none of a higher score covers; of equal scores the first is in front."""
    parts = list(amodal)
    covered = np.zeros(amodal.size_hw, dtype=bool)
    for index in sorted(range(len(amodal)), key=lambda k: -scores[k]):
        whole = parts[index]
        parts[index] = BoxedMask.cut(whole.crop & ~covered[whole.window], whole.box_xywh[:2], whole.size_hw)
        whole.add_to(covered)
    return BoxedMasks(parts, amodal.size_hw)


def _flags(visible: BoxedMask, hidden: BoxedMask, shared_px: int, by_score: bool) -> list[str]:
    stated = {
        "no_occluder": not hidden.any(),
        "truncated": visible.at_edge,
        "shared_pixels": shared_px > 0,
        "fully_shared": not visible.any(),
        BY_SCORE: by_score,
    }
    return [name for name, holds in stated.items() if holds]
