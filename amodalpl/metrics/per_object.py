"""Image-level completion as C2F-Seg and ViTA-Seg report it: mean IoU over objects, whole and hidden.

The two differ in what a method is given of the object, and in which objects count as hidden. Their numbers do not
belong in one column with each other's, nor with the pixel sums of PCNet-M and ASBU.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from .completion import Counts, Scores

GIVEN = "completion, visible masks given (ViTA-Seg)"
PREDICTED = "completion, visible masks predicted (C2F-Seg)"
GIVEN_FROM = 0.9
"""Mean IoU of the labels' visible masks with the truth's from which on they count as given; detectors reach 0.8."""
HIDDEN_FRACTION = 0.001


def compute_given(counts: Sequence[Counts]) -> Scores:
    """Return the scores of ViTA-Seg's test script (protocol B: the true visible mask is given).

    `iou`, the mean over all objects. `hidden_iou`, the mean IoU of P & ~M with G & ~M over the `hidden_objects`: those
    of which more than a thousandth is hidden. `visible_iou`, the mean of |P & G & M| / |M|, 1 for an empty M. Their
    COCOA crops come from the box of the true whole, which ours do not know.
    """
    hidden = [c for c in counts if c.hidden_fraction > HIDDEN_FRACTION]
    visible = [(c.intersection_px - c.hidden_intersection_px) / c.modal_px if c.modal_px else 1.0 for c in counts]
    return {
        "instances": len(counts),
        "iou": _mean([c.iou for c in counts]),
        "hidden_objects": len(hidden),
        "hidden_iou": _mean([_hidden_iou(c) for c in hidden]),
        "visible_iou": _mean(visible),
    }


def compute_predicted(counts: Sequence[Counts]) -> Scores:
    """Return the scores of C2F-Seg's test script (protocol C: a detector's visible mask is given).

    `iou`, the mean over all objects that the detector found. `hidden_iou`, the sum over all of them of the IoU of
    P & ~M with G & ~M, M being the true visible mask, over the number of `hidden_objects`: those whose true masks
    differ in area. An object of which nothing is hidden adds 0 to the sum, so growing it costs nothing.
    """
    hidden = [c for c in counts if c.truth_px != c.modal_px]
    total = sum(_hidden_iou(c) for c in counts)
    return {
        "instances": len(counts),
        "iou": _mean([c.iou for c in counts]),
        "hidden_objects": len(hidden),
        "hidden_iou": total / len(hidden) if hidden else None,
    }


def _hidden_iou(counts: Counts) -> float:
    return counts.hidden_intersection_px / counts.hidden_union_px if counts.hidden_union_px else 0.0


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
