"""The label of one object, read from what was predicted of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..calibration.fit import evidence_of
from ..completion.predictor import CompletionPrediction, reaches_inner_edge
from ..masks.boxed import BoxedMask, boxed
from ..masks.geometry import count_px, dilate
from .plan import LabelPlan


@dataclass(frozen=True)
class Label:
    """What was found of one object.

    Attributes:
        whole: the whole object; contains the visible mask.
        uncertainty: expected 1 - IoU with the truth, 0-1; 0 for objects without a neighbour that could hide them.
        prediction: what it was read from; None where nothing is taken to be in front, so that nobody was asked.
        runaway: whether the prediction was refused, because it was more than `max_growth` times the visible area
            that the network was shown.
        grew_to_border: whether it reaches the edge of the crop the network saw, and may have been cut there.
        kept_modal: whether its class is never completed.
    """

    whole: BoxedMask
    uncertainty: float
    prediction: CompletionPrediction | None = None
    runaway: bool = False
    grew_to_border: bool = False
    kept_modal: bool = False

    @property
    def grew_unmasked(self) -> bool:
        """Whether it goes on where no object has a mask, behind something that nobody annotated."""
        if self.prediction is None or self.runaway:
            return False
        unmasked = self.prediction.unmasked
        return unmasked is not None and bool((self.whole[self.prediction.window] & unmasked).any())

    @property
    def amodal(self) -> np.ndarray:
        """(H, W) bool, `whole`."""
        return np.asarray(self.whole)

    @property
    def asked(self) -> bool:
        """Whether the network was asked."""
        return self.prediction is not None

    @property
    def occluders(self) -> tuple[int, ...]:
        """Indices of the objects taken to be in front."""
        return () if self.prediction is None else self.prediction.request.occluders


def read_label(
    plan: LabelPlan, visible: np.ndarray | BoxedMask, prediction: CompletionPrediction, threshold: float
) -> Label:
    """Read a label from what was predicted of an object.

    Args:
        plan: limits and calibration.
        visible: the object as it was drawn.
        prediction: of the object, grown where masks are tight.
        threshold: probability above which a pixel belongs to it.
    """
    local = amodal_in_window(prediction, threshold, plan.behind_neighbours, plan.unmasked_threshold)
    if runs_away(local, prediction.modal, plan.max_growth):
        return Label(boxed(visible), 1.0, prediction, runaway=True)
    return Label(
        as_drawn(visible, prediction, local, plan.contour_inset_px),
        plan.calibration.uncertainty(evidence_of(prediction, local)),
        prediction,
        grew_to_border=reaches_inner_edge(prediction, local),
    )


def amodal_in_window(
    prediction: CompletionPrediction, threshold: float, behind_neighbours: bool, unmasked_threshold: float = 1.0
) -> np.ndarray:
    """Turn probabilities into the amodal mask within the prediction's window; it always contains the visible mask.

    Args:
        prediction: of the completer.
        threshold: probability above which a pixel belongs to the object.
        behind_neighbours: let the mask grow only where occluders are.
        unmasked_threshold: the same where no object is, where the prediction says which pixels these are.

    Returns:
        (h, w) bool.
    """
    grown = prediction.probability > threshold
    if behind_neighbours:
        grown &= prediction.behind
    if prediction.unmasked is not None:
        grown |= (prediction.probability > unmasked_threshold) & prediction.unmasked
    return grown | prediction.modal


def runs_away(amodal: np.ndarray, visible: np.ndarray, max_growth: float) -> bool:
    """Tell whether a label is more than `max_growth` times what the network was shown of the object."""
    return count_px(amodal) > max_growth * count_px(visible)


def as_drawn(
    visible: np.ndarray | BoxedMask, prediction: CompletionPrediction, local: np.ndarray, contour_inset_px: int
) -> BoxedMask:
    """Return the amodal mask with the visible contour as it was drawn, not as it was grown.

    Args:
        visible: the mask as it was drawn.
        prediction: about the grown mask.
        local: (h, w) bool, the amodal mask within the prediction's window.
        contour_inset_px: by how much the mask was grown; what that added stays only beside what has grown.
    """
    rows, columns = prediction.window
    grown = local & dilate(local & ~prediction.modal, contour_inset_px) if contour_inset_px else local
    drawn = boxed(visible)
    return drawn.united(BoxedMask.cut(grown, (columns.start, rows.start), drawn.size_hw))
