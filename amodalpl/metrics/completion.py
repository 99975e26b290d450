"""How well whole objects are recovered: the papers' pixel sums over a data set, and means over instances.

Three steps, as in torchmetrics: `count_instance` checks one instance and turns it into whole numbers (`Counts`), which
may be added up anywhere and in any order; `compute` makes the scores of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DataError
from ..masks.geometry import count_px

MICRO = "completion, micro (PCNet/ASBU)"
PER_INSTANCE = "completion, per-instance means"
OCCLUDED_FRACTION = 0.01
"""An object counts as occluded when at least this share of its true amodal mask is hidden."""

Scores = dict[str, float | int | None]


@dataclass(frozen=True)
class Counts:
    """One instance in pixels: P is the predicted, G the true amodal mask, M the modal mask.

    Attributes:
        predicted_px: |P|.
        truth_px: |G|, above 0.
        modal_px: |M|.
        intersection_px: |P & G|.
        modal_intersection_px: |M & G|.
        hidden_px: |G & ~M|, what is truly hidden.
        predicted_hidden_px: |P & ~M|, what is predicted to be hidden.
        hidden_intersection_px: |P & G & ~M|.
    """

    predicted_px: int
    truth_px: int
    modal_px: int
    intersection_px: int
    modal_intersection_px: int
    hidden_px: int
    predicted_hidden_px: int
    hidden_intersection_px: int

    @property
    def union_px(self) -> int:
        """|P | G|."""
        return self.predicted_px + self.truth_px - self.intersection_px

    @property
    def hidden_union_px(self) -> int:
        """|(P | G) & ~M|."""
        return self.predicted_hidden_px + self.hidden_px - self.hidden_intersection_px

    @property
    def iou(self) -> float:
        """Intersection over union of the amodal masks."""
        return self.intersection_px / self.union_px

    @property
    def modal_iou(self) -> float:
        """What the modal mask itself would get."""
        return self.modal_intersection_px / (self.modal_px + self.truth_px - self.modal_intersection_px)

    @property
    def area_ratio(self) -> float:
        """|M & P| / |P|: Li and Malik's predicted area ratio, 1 where nothing is added; 0 for an empty prediction."""
        return (self.predicted_px - self.predicted_hidden_px) / self.predicted_px if self.predicted_px else 0.0

    @property
    def growth(self) -> float:
        """(|P| - |M|) / |M|: what was added to the visible part, in shares of it; M must not be empty."""
        return (self.predicted_px - self.modal_px) / self.modal_px

    @property
    def hidden_fraction(self) -> float:
        """Share of the true amodal mask that is not visible, in [0, 1]."""
        return self.hidden_px / self.truth_px

    @property
    def is_occluded(self) -> bool:
        """Whether at least `OCCLUDED_FRACTION` is hidden."""
        return self.hidden_fraction >= OCCLUDED_FRACTION


def check_masks(predicted: np.ndarray, truth: np.ndarray, modal: np.ndarray) -> None:
    """Refuse what cannot be counted.

    Raises:
        DataError: not bool, not two-dimensional, different shapes, or an empty truth.
    """
    for name, mask in (("predicted", predicted), ("truth", truth), ("modal", modal)):
        if mask.dtype != bool or mask.ndim != 2:
            raise DataError(f"{name}: expected an (H, W) bool mask, got {mask.dtype} of shape {mask.shape}")
        if mask.shape != truth.shape:
            raise DataError(f"{name}: expected a mask of the truth's shape {truth.shape}, got {mask.shape}")
    if not truth.any():
        raise DataError("truth: expected an amodal mask with at least one pixel, got an empty one")


def count_instance(predicted: np.ndarray, truth: np.ndarray, modal: np.ndarray) -> Counts:
    """Count the pixels of one instance.

    Args:
        predicted: (H, W) bool, predicted amodal mask; may be empty.
        truth: (H, W) bool, true amodal mask.
        modal: (H, W) bool, visible part; need not lie within the other two.

    Raises:
        DataError: see `check_masks`.

    >>> truth = np.ones((2, 4), bool)
    >>> modal = np.arange(4) < np.array([[2], [2]])
    >>> count_instance(modal, truth, modal).hidden_union_px
    4
    """
    check_masks(predicted, truth, modal)
    hidden = truth & ~modal
    return Counts(
        predicted_px=count_px(predicted),
        truth_px=count_px(truth),
        modal_px=count_px(modal),
        intersection_px=count_px(predicted & truth),
        modal_intersection_px=count_px(modal & truth),
        hidden_px=count_px(hidden),
        predicted_hidden_px=count_px(predicted & ~modal),
        hidden_intersection_px=count_px(predicted & hidden),
    )


def compute(counts: Sequence[Counts]) -> dict[str, Scores]:
    """Return protocol -> metric -> value; a value that has nothing to stand on is None.

    `completion, micro (PCNet/ASBU)`: `miou` = sum |P & G| / sum |P | G|; `invisible_miou` = the same on pixels outside
    the modal mask, over all instances, so that growing an unoccluded one costs; `pixel_accuracy` = sum |P & G| /
    sum |G|. After Zhan et al. 2020 and Nguyen and Todorovic 2021 (their tools/test.py).

    `completion, per-instance means`: `iou`; `invisible_iou` over the `with_hidden` instances whose truth has at least
    one hidden pixel; `accuracy_50` and `accuracy_70`, the shares with IoU above 0.5 and 0.7 (Li and Malik 2016; their
    AUC is `iou`); `win_rate` and `loss_rate`, the shares of the `occluded` instances (at least 1 % hidden) whose IoU is
    above or below the modal mask's; `area_ratio_error`, the mean distance between |M & P| / |P| and |M & G| / |G|
    (Li and Malik's area ratio), an empty prediction counting as ratio 0; `unoccluded_growth`, the mean of
    (|P| - |M|) / |M| over the `unoccluded` instances (less than 1 % hidden, something visible).
    """
    return {MICRO: compute_micro(counts), PER_INSTANCE: compute_per_instance(counts)}


def compute_micro(counts: Sequence[Counts]) -> Scores:
    """Return the scores of pixel sums over all instances; see `compute`."""
    intersection = sum(c.intersection_px for c in counts)
    return {
        "instances": len(counts),
        "miou": _ratio(intersection, sum(c.union_px for c in counts)),
        "invisible_miou": _ratio(sum(c.hidden_intersection_px for c in counts), sum(c.hidden_union_px for c in counts)),
        "pixel_accuracy": _ratio(intersection, sum(c.truth_px for c in counts)),
    }


def compute_per_instance(counts: Sequence[Counts]) -> Scores:
    """Return means over instances; see `compute`."""
    hidden = [c for c in counts if c.hidden_px > 0]
    occluded = [c for c in counts if c.is_occluded]
    unoccluded = [c for c in counts if not c.is_occluded and c.modal_px]
    return {
        "instances": len(counts),
        "iou": _mean([c.iou for c in counts]),
        "with_hidden": len(hidden),
        "invisible_iou": _mean([c.hidden_intersection_px / c.hidden_union_px for c in hidden]),
        "accuracy_50": _mean([c.iou > 0.5 for c in counts]),
        "accuracy_70": _mean([c.iou > 0.7 for c in counts]),
        "occluded": len(occluded),
        "win_rate": _mean([c.iou > c.modal_iou for c in occluded]),
        "loss_rate": _mean([c.iou < c.modal_iou for c in occluded]),
        "area_ratio_error": _mean([abs(c.area_ratio - c.modal_intersection_px / c.truth_px) for c in counts]),
        "unoccluded": len(unoccluded),
        "unoccluded_growth": _mean([c.growth for c in unoccluded]),
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
