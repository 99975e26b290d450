"""Regions that a detector ignores in training: crowds, and labels that a review rejected."""

from __future__ import annotations

from typing import Any

import torch

from ..mmdetection import TASK_UTILS, MaxIoUAssigner

LEAST_INSIDE = 0.5  # of a candidate's box, from which it may be of the ignored region


@TASK_UTILS.register_module()
class IgnoringAssigner(MaxIoUAssigner):
    """MMDetection's assigner, whose background leaves out what lies in ignored boxes.

    MMDetection's own `ignore_iof_thr`, which its Mask R-CNN leaves off, so that crowds become background, drops all
    candidates in an ignored box: an object in front of a rejected one could never be found there. Here candidates
    that belong to an object stay.
    """

    def assign(self, pred_instances: Any, gt_instances: Any, gt_instances_ignore: Any = None, **more: Any) -> Any:
        """Assign candidates to objects (1, 2, ...), background (0) or neither (-1), as `MaxIoUAssigner.assign` does."""
        result = super().assign(pred_instances, gt_instances, None, **more)
        if gt_instances_ignore is not None and len(gt_instances_ignore) and len(pred_instances.priors):
            inside = self.iou_calculator(pred_instances.priors, gt_instances_ignore.bboxes, mode="iof")  # (N, K)
            ignored = inside.max(dim=1).values > LEAST_INSIDE
            result.gt_inds = torch.where(ignored & (result.gt_inds == 0), -1, result.gt_inds)
        return result
