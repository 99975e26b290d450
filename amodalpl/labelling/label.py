"""The label of one object, read from what was predicted of it, and what is said beside its mask.

`docs/formats.md` explains the flags.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..calibration.fit import LEVELS, Calibration, Evidence
from ..completion.predictor import CompletionPrediction, Scene
from ..data.label_file import UncertaintyMap
from ..masks.boxed import BoxedMask, boxed
from ..masks.boxes import tight_box
from ..masks.geometry import count_px, dilate
from .fill_hull import fill_hull
from .label_features import LabelFeatures, describe_label
from .plan import LabelPlan

LONGER_SIDE_PX = 64  # of a map of uncertainty
LEAST_UNMASKED = 0.05  # what is added where no object is, over what is visible


@dataclass(frozen=True)
class Label:
    """What was found of one object.

    Attributes:
        whole: the whole object; contains the visible mask.
        uncertainty: expected 1 - IoU with the truth, 0-1; 0 for objects without a neighbour that could hide them.
        prediction: what it was read from; None where nothing is taken to be in front, so that nobody was asked.
        runaway: whether the prediction was more than `max_growth` times the visible area that the network was shown, so
            that only its most probable pixels were kept.
        grew_to_border: whether it reaches the edge of the crop the network saw, and may have been cut there.
        kept_modal: whether its class is never completed.
        implied: the error that the completer's probabilities imply; 0 where the network was not asked.
        features: of the object and its label; None where its class is never completed.
        filled: whether it was grown towards its convex hull (`fill_hull`).
    """

    whole: BoxedMask
    uncertainty: float
    prediction: CompletionPrediction | None = None
    runaway: bool = False
    grew_to_border: bool = False
    kept_modal: bool = False
    implied: float = 0.0
    features: LabelFeatures | None = None
    filled: bool = False

    @property
    def grew_unmasked(self) -> bool:
        """Whether it goes on where no object has a mask, behind something that nobody annotated.

        The free pixels of a closed gap between the object and its occluder do not count.
        """
        if self.filled:
            return True
        if self.prediction is None or self.prediction.unmasked is None:
            return False
        beyond = self.prediction.unmasked & ~self.prediction.behind
        return bool((self.whole[self.prediction.window] & beyond).any())

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

    def uncertainty_map(self, plan: LabelPlan) -> UncertaintyMap | None:
        """Return where the mask may be wrong; None where the network was not asked."""
        if self.prediction is None:
            return None
        return map_uncertainty(self.prediction, plan.calibration, plan.behind_neighbours)


def label_object(
    plan: LabelPlan,
    scene: Scene,
    target: int,
    prediction: CompletionPrediction | None,
    has_neighbours: bool,
    kept_modal: bool,
) -> Label | None:
    """Return all that is found of one object of an image; None where nothing of it is visible.

    Args:
        plan: how.
        scene: the image, masks as they were drawn.
        target: index of the object.
        prediction: what was predicted of it; None where nothing is taken to be in front.
        has_neighbours: whether something else is near it.
        kept_modal: whether its class is never completed.
    """
    visible = scene.masks[target]
    if prediction is not None:
        category_id = None if scene.classes is None else scene.classes[target]
        label = read_label(plan, visible, prediction, plan.threshold_of(category_id))
    elif visible.any():
        label = Label(visible, plan.calibration.unasked if has_neighbours else 0.0, kept_modal=kept_modal)
    else:
        return None
    if label.kept_modal:
        return label
    whole = fill_hull(scene.masks, target, label.whole, label.occluders, plan.fill)
    features = describe_label(scene.masks, target, whole, label.implied, plan.gap_px)
    by_features = plan.calibration.by_features
    uncertainty = by_features.error(features, bool(label.occluders)) if by_features else label.uncertainty
    filled = whole.area_px > label.whole.area_px
    return replace(label, whole=whole, features=features, uncertainty=uncertainty, filled=filled)


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
    at_hand = prediction.at_hand()
    unmasked_threshold = plan.unmasked_threshold_of(boxed(visible))
    predicted = amodal_in_window(at_hand, threshold, plan.behind_neighbours, unmasked_threshold)
    local = most_probable(at_hand, predicted, plan.max_growth)
    implied = plan.calibration.implied_error(Evidence.of(at_hand, local))
    return Label(
        as_drawn(visible, prediction, local, plan.contour_inset_px),
        plan.calibration.error(implied),
        prediction,
        runaway=bool((local != predicted).any()),
        grew_to_border=prediction.reaches_inner_edge(local),
        implied=implied,
    )


def amodal_in_window(
    prediction: CompletionPrediction, threshold: float, behind_neighbours: bool, unmasked_threshold: float = 1.0
) -> np.ndarray:
    """Turn probabilities into the amodal mask within the prediction's window; it always contains the visible mask.

    Args:
        prediction: of the completer.
        threshold: probability above which a pixel belongs to the object.
        behind_neighbours: let the mask grow only where occluders are.
        unmasked_threshold: the same where no object is, where the prediction says which pixels these are. Less than
            `LEAST_UNMASKED` of what is visible is no growth, but a contour that was drawn a little tight.

    Returns:
        (h, w) bool.
    """
    probability = prediction.probability
    grown = probability > threshold
    if behind_neighbours:
        grown &= prediction.behind
    if prediction.unmasked is not None:
        beyond = (probability > unmasked_threshold) & prediction.unmasked
        if count_px(beyond) >= LEAST_UNMASKED * count_px(prediction.modal):
            grown |= beyond
    return grown | prediction.modal


def most_probable(prediction: CompletionPrediction, amodal: np.ndarray, max_growth: float | None) -> np.ndarray:
    """Return an amodal mask that is at most `max_growth` times what the network was shown of the object.

    Args:
        prediction: of the completer.
        amodal: (h, w) bool, within the prediction's window; contains the visible part.
        max_growth: at least 1; None allows any size.

    Returns:
        (h, w) bool: the mask itself where it is not too large; else the visible part, and of the others the most
        probable pixels. Pixels as probable as the first that is one too many are left out.
    """
    visible_px = count_px(prediction.modal)
    if max_growth is None or count_px(amodal) <= max_growth * visible_px:
        return amodal
    probability = prediction.probability
    grown = np.sort(probability[amodal & ~prediction.modal])[::-1]
    one_too_many = grown[int((max_growth - 1) * visible_px)]
    return prediction.modal | (amodal & (probability > one_too_many))


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


def flags_of(label: Label | None, visible: BoxedMask, lost_px: int, low_confidence: float) -> list[str]:
    """Return the flags of a label, in a fixed order.

    Args:
        label: None for an object whose every pixel belongs to others.
        visible: what is left of the object after shared pixels got one owner.
        lost_px: pixels that it gave up then.
        low_confidence: uncertainty above which labels are doubtful.
    """
    if label is None:
        return ["fully_shared", "low_confidence"]
    hidden = bool(label.occluders) or label.grew_unmasked or label.kept_modal
    stated = {
        "kept_modal": label.kept_modal,
        "no_occluder": not hidden and lost_px == 0,
        "overlap_only": not hidden and lost_px > 0,
        "unmasked_occluder": label.grew_unmasked,
        "truncated": visible.at_edge,
        "grew_to_border": label.grew_to_border,
        "runaway": label.runaway,
        "shared_pixels": lost_px > 0,
        "low_confidence": label.uncertainty > low_confidence,
    }
    return [name for name, holds in stated.items() if holds]


def map_uncertainty(
    prediction: CompletionPrediction, calibration: Calibration, behind_neighbours: bool
) -> UncertaintyMap:
    """Return 4 p (1 - p) of the calibrated probability p, where the label was free to grow.

    ASBU has an uncertainty u of its own. The calibrated probability serves all methods alike, was fitted to what is
    true of such pixels, and is what the label's one number of uncertainty is made of.

    Args:
        prediction: of the completer.
        calibration: of its probabilities.
        behind_neighbours: whether the label could grow only where occluders are.

    Returns:
        The map of the smallest box around all doubtful pixels; of the visible part, and all sure, if there are none.
    """
    free = ~prediction.modal & prediction.unseen if behind_neighbours else ~prediction.modal
    p = calibration.belongs_by_level[np.rint(prediction.probability * (LEVELS - 1)).astype(np.int64)]
    levels = np.rint(255 * 4 * p * (1 - p) * free).astype(np.uint8)  # (h, w)
    x, y, width, height = (int(v) for v in tight_box(levels > 0 if levels.any() else prediction.modal))
    shrink = min(1.0, LONGER_SIDE_PX / max(width, height))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    rows, columns = prediction.window
    return UncertaintyMap(
        (x + columns.start, y + rows.start, width, height),
        cv2.resize(levels[y : y + height, x : x + width], size, interpolation=cv2.INTER_AREA),
    )
