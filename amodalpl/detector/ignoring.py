"""Regions that a detector ignores in training: crowds, and labels that a review rejected."""

from __future__ import annotations

from typing import Any

import torch

LEAST_INSIDE = 0.5  # of a candidate's box, from which it may be of the ignored region


class IgnoringAssigner:
    """An assigner of MMDetection whose background leaves out what lies in ignored boxes.

    MMDetection's own `ignore_iof_thr`, which its Mask R-CNN leaves off, so that crowds become background, drops all
    candidates in an ignored box: an object in front of a rejected one could never be found there. Here candidates
    that belong to an object stay.
    """

    def __init__(self, assigner: Any) -> None:
        self.assigner = assigner

    def assign(self, pred_instances: Any, gt_instances: Any, gt_instances_ignore: Any = None, **more: Any) -> Any:
        """Assign candidates to objects (1, 2, ...), background (0) or neither (-1), as `MaxIoUAssigner.assign` does."""
        result = self.assigner.assign(pred_instances, gt_instances, None, **more)
        if gt_instances_ignore is not None and len(gt_instances_ignore) and len(pred_instances.priors):
            inside = self.assigner.iou_calculator(
                pred_instances.priors, gt_instances_ignore.bboxes, mode="iof"
            )  # (N, K)
            ignored = inside.max(dim=1).values > LEAST_INSIDE
            result.gt_inds = torch.where(ignored & (result.gt_inds == 0), -1, result.gt_inds)
        return result


def leave_out_ignored(model: Any) -> None:
    """Make both steps of a Mask R-CNN of MMDetection leave ignored boxes out of the background, in training."""
    model.rpn_head.assigner = IgnoringAssigner(model.rpn_head.assigner)
    model.roi_head.bbox_assigner = IgnoringAssigner(model.roi_head.bbox_assigner)
