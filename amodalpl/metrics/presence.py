"""Whether an object is occluded at all, told from how much a completer adds to it (Li and Malik 2016, section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .completion import Counts, Scores

PRESENCE = "occlusion presence (Li and Malik)"


def average_precision(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """Return the area under precision over recall: the sum of (R_k - R_k-1) P_k over falling thresholds.

    Equal scores pass a threshold together, so that the order of the input does not matter: if all scores are equal,
    the answer is the share of positives.

    Args:
        scores: higher means rather positive.
        positive: the truth, one per score.

    Returns:
        In [0, 1]; None when nothing is positive.

    >>> average_precision([0.9, 0.8, 0.8, 0.1], [True, True, False, False])
    0.8333333333333333
    """
    truth = np.asarray(positive, dtype=bool)
    if not truth.any():
        return None
    order = np.argsort(-np.asarray(scores, dtype=float), kind="stable")
    ranked, hits = np.asarray(scores, dtype=float)[order], truth[order].cumsum()
    last_of_equals = np.append(ranked[1:] != ranked[:-1], True)
    passed, hits = np.flatnonzero(last_of_equals) + 1, hits[last_of_equals]
    return float((np.diff(hits, prepend=0) / hits[-1] * (hits / passed)).sum())


def compute_presence(counts: Sequence[Counts]) -> Scores:
    """Rank objects by the predicted area ratio |M & P| / |P| and ask for the truly unoccluded ones.

    The truth is `Counts.is_occluded` (at least 1 % hidden), where the paper has PASCAL's annotated flag.

    Returns:
        `unoccluded_ap`, the paper's: unoccluded objects should have the highest ratios; `occluded_ap`, the same asked
        the other way round; and the share of unoccluded objects, which is the `unoccluded_ap` of never adding anything.
    """
    ratios = [c.area_ratio for c in counts]
    unoccluded = [not c.is_occluded for c in counts]
    return {
        "instances": len(counts),
        "unoccluded": sum(unoccluded),
        "unoccluded_share": sum(unoccluded) / len(counts) if counts else None,
        "unoccluded_ap": average_precision(ratios, unoccluded),
        "occluded_ap": average_precision([-r for r in ratios], [not u for u in unoccluded]),
    }
