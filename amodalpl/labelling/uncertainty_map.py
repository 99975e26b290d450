"""Where a label is in doubt: a small map per label, for people who look at it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..calibration.fit import LEVELS, Calibration
from ..completion.predictor import CompletionPrediction
from ..masks.boxes import tight_box

LONGER_SIDE_PX = 64


@dataclass(frozen=True)
class UncertaintyMap:
    """How doubtful the pixels of a label are.

    Attributes:
        box_xywh: what the map covers: x, y, width, height in image pixels.
        levels: (h, w) uint8, at most 64 pixels on the longer side; 0 is sure, 255 as likely in as out.
    """

    box_xywh: tuple[int, int, int, int]
    levels: np.ndarray


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
