"""mAP^r with truths assigned by boxes (Li and Malik 2016, section 5.3), for data where only some have amodal masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pycocotools import mask as coco_mask

from .detection import LEFT_OUT, LeavingOutEval, Scores, agnostic_suffix, as_score, check_truth, evaluate

Boxes = Literal["amodal", "visible"]
MATCH_BOX = "match_box_xywh"
THRESHOLDS = (0.5, 0.7)


def box_matched_protocol(boxes: Boxes, *, class_agnostic: bool = False) -> str:
    """Return the name of the score.

    >>> box_matched_protocol("visible")
    'mAP^r, assigned by visible boxes (Li and Malik)'
    """
    return f"mAP^r, assigned by {boxes} boxes (Li and Malik{agnostic_suffix(class_agnostic)})"


class BoxMatchedEval(LeavingOutEval):
    """COCOeval that compares a detection with one truth only, the one whose box overlaps its own most.

    Crowds take no part in the assignment and are compared by masks.
    """

    def computeIoU(self, imgId: int, catId: int) -> Any:  # noqa: D102, N802, N803 - names of pycocotools
        masks = super().computeIoU(imgId, catId)
        if len(masks) == 0:
            return masks
        cats = [catId] if self.params.useCats else self.params.catIds
        truths = [t for cat in cats for t in self._gts[imgId, cat]]
        found = [d for cat in cats for d in self._dts[imgId, cat]]
        ranked = sorted(found, key=lambda d: -d["score"])[: self.params.maxDets[-1]]
        crowd = np.array([bool(t["iscrowd"]) for t in truths])
        boxes = np.asarray(
            coco_mask.iou(_boxes(ranked), _boxes(truths), [0] * len(truths)), dtype=float
        )  # (detections, truths)
        boxes[:, crowd] = 0
        assigned = boxes.argmax(axis=1)
        compared = np.where(crowd, masks, 0.0)
        for row, column in enumerate(assigned):
            if boxes[row, column] > 0:
                compared[row, column] = 1.0 if truths[column].get(LEFT_OUT) else masks[row, column]
        return compared


def box_matched_scores(
    truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], *, class_agnostic: bool = False
) -> Scores:
    """Score masks that were assigned to truths by boxes.

    A detection is compared with the truth of its category whose box overlaps its own most; it is correct if the *mask*
    IoU with that one reaches the threshold, and no better scored detection was correct there. The paper does not say
    how much boxes must overlap; here, at all. Precision is averaged over 101 recalls, as pycocotools does, where the
    paper's year had the area under PASCAL's curve.

    Args:
        truth: COCO annotations; each has `MATCH_BOX`. One with a true `LEFT_OUT` has no mask to compare: a detection
            assigned to it is neither right nor wrong.
        detections: COCO results with `segmentation` and `MATCH_BOX`.
        class_agnostic: assign whatever the categories.

    Returns:
        `mAPr_50`, `mAPr_70`; `instances` with a mask and `without_mask`.

    Raises:
        DataError: see `coco_scores`.
    """
    content = check_truth(truth)
    evaluation = evaluate(
        BoxMatchedEval,
        content,
        detections,
        "segm",
        class_agnostic=class_agnostic,
        carried=(MATCH_BOX,),
        iou_thresholds=THRESHOLDS,
    )
    precision = evaluation.eval["precision"][..., 0, -1]  # (thresholds, recalls, categories) of all areas
    own = [a for a in content["annotations"] if not a.get("iscrowd")]
    return {
        **{
            f"mAPr_{round(100 * t)}": as_score(p[p > -1].mean() if (p > -1).any() else -1)
            for t, p in zip(THRESHOLDS, precision, strict=True)
        },
        "instances": sum(not a.get(LEFT_OUT) for a in own),
        "without_mask": sum(bool(a.get(LEFT_OUT)) for a in own),
    }


def _boxes(entries: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.array([entry[MATCH_BOX] for entry in entries], dtype=float).reshape(-1, 4)
