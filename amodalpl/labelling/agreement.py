"""Labels of a completer beside what a detector finds on the same photo: which to keep, weigh less, replace or drop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..masks import rle
from ..masks.rle import Rle

Action = Literal["kept", "reweighted", "replaced", "dropped"]


@dataclass(frozen=True)
class Rule:
    """When labels and detections agree, and what follows where they do not.

    Attributes:
        match_iou: least IoU of whole masks for a detection to be a label's object.
        agree_iou: IoU from which both say the same.
        drop_above: uncertainty above which a label that no detection matches is dropped.
    """

    match_iou: float
    agree_iou: float
    drop_above: float

    def judge(self, uncertainty: float, found: Rival | None) -> tuple[Action, float]:
        """Return what becomes of a label, and how uncertain it is then.

        Nothing found: dropped where the label is uncertain itself, else kept, since detectors miss small and hidden
        objects first. Found and alike: kept. Found and different: 1 - IoU is a distance, so that the label is wrong by
        what the two differ less what the detection is wrong, at least. Where that is more than the detection's own
        error, and this less than the label's uncertainty, the detection replaces the label; else the label stays, and
        is at least as uncertain as it must be wrong.

        Args:
            uncertainty: that the label has by itself, expected 1 - IoU; not what an earlier round made of it, or a
                detector would win against any label by contradicting it twice.
            found: what the detection of its object says.
        """
        if found is None:
            return ("dropped", uncertainty) if uncertainty > self.drop_above else ("kept", uncertainty)
        if found.iou >= self.agree_iou:
            return "kept", uncertainty
        least_error = 1 - found.iou - found.error
        if found.error < min(uncertainty, least_error):
            return "replaced", found.error
        return ("reweighted", least_error) if least_error > uncertainty else ("kept", uncertainty)


@dataclass(frozen=True)
class Rival:
    """A whole mask of a label's object by a detector.

    Attributes:
        iou: of it and the label.
        error: that it is expected to have, 1 - IoU with the truth.
    """

    iou: float
    error: float


@dataclass(frozen=True)
class Match:
    """The detection of a label's object.

    Attributes:
        index: of the detection.
        iou: of both whole masks.
        score: of the detection, 0 to 1.
    """

    index: int
    iou: float
    score: float


def match_labels(
    labels: Sequence[Rle],
    classes: Sequence[int],
    found: Sequence[Rle],
    found_classes: Sequence[int] | None,
    scores: Sequence[float],
    least_iou: float,
) -> list[Match | None]:
    """Find the detection of each label of a photo, one for one; the most alike come first.

    Args:
        labels: N whole masks.
        classes: of the labels.
        found: M whole masks, in the same frame.
        found_classes: of the detections, only those of the label's class can be its object; None where the detector
            knows one class only.
        scores: of the detections.
        least_iou: see `Rule.match_iou`.
    """
    matches: list[Match | None] = [None] * len(labels)
    if not labels or not found:
        return matches
    shared = rle.intersections_px(labels, found)  # (N, M)
    ious = shared / np.maximum(rle.areas_px(labels)[:, None] + rle.areas_px(found)[None] - shared, 1)
    if found_classes is not None:
        ious = np.where(np.equal.outer(np.asarray(classes), np.asarray(found_classes)), ious, 0)
    taken: set[int] = set()
    for flat in np.argsort(-ious, axis=None, kind="stable"):
        label, detection = (int(k) for k in np.unravel_index(flat, ious.shape))
        if ious[label, detection] < least_iou or ious[label, detection] == 0:
            break
        if matches[label] is None and detection not in taken:
            taken.add(detection)
            matches[label] = Match(detection, float(ious[label, detection]), scores[detection])
    return matches
