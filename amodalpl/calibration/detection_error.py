"""How wrong the whole mask of a detection is expected to be, learnt where the truth is known.

A score says whether something is there, not how good its mask is: of detections that score alike, one that leaves out
much of what is visible, or that is mostly hidden, is wrong more often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..masks import rle
from ..masks.rle import Rle
from .error_model import LogisticModel, fit_logistic

_LEAST = 1e-3  # of a score, and of its distance to 1


class SeenObject(NamedTuple):
    """The detection of an object whose visible mask is known.

    Attributes:
        found: its whole mask, as detected.
        visible: the object's visible mask.
        score: of the detection, 0 to 1.
    """

    found: Rle
    visible: Rle
    score: float

    @property
    def whole(self) -> Rle:
        """The detection with all that is visible; detectors leave some of it out."""
        return rle.union(self.found, self.visible)

    def _features(self) -> list[float]:
        """Return the log-odds of the score, the share of the visible mask that was missed, and the hidden share."""
        visible_px, score = max(rle.area_px(self.visible), 1), float(np.clip(self.score, _LEAST, 1 - _LEAST))
        missed = 1 - rle.intersection_px(self.found, self.visible) / visible_px
        return [np.log(score / (1 - score)), missed, 1 - visible_px / max(rle.area_px(self.whole), 1)]


@dataclass(frozen=True)
class DetectionErrors:
    """The expected error of detections, 1 - IoU of `SeenObject.whole` and the truth.

    Attributes:
        model: None where no detection of an object with truth was seen; then any may be wholly wrong.
    """

    model: LogisticModel | None

    def of(self, seen: SeenObject) -> float:
        """Return the expected error of a detection."""
        return 1.0 if self.model is None else round(float(self.model(np.array([seen._features()]))[0]), 6)


def fit_detection_errors(seen: Sequence[SeenObject], truth: Sequence[Rle]) -> DetectionErrors:
    """Learn errors from detections of objects whose whole masks are known.

    One that is wholly wrong and average otherwise is added, so that a few good ones do not promise perfection.

    Args:
        seen: N detections.
        truth: of each, in the same frame.
    """
    if not seen:
        return DetectionErrors(None)
    features = np.array([one._features() for one in seen])
    errors = [1 - rle.iou(one.whole, whole) for one, whole in zip(seen, truth, strict=True)]
    return DetectionErrors(fit_logistic(np.vstack([features, features.mean(axis=0)]), np.array([*errors, 1.0])))
