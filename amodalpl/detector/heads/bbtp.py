"""BBTP: Mask R-CNN's mask head, learnt from boxes that are tight.

After Hsu, Hsu, Tsai, Lin, Chuang 2019 ("Weakly Supervised Instance Segmentation using the Bounding Box Tightness
Prior").
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..mmdetection import MODELS, StandardRoIHead, bbox2roi
from . import box_losses
from .mask_losses import of_class


@MODELS.register_module()
class TightBoxRoIHead(StandardRoIHead):
    """MMDetection's head on regions, whose masks are learnt from the boxes of objects.

    Args:
        neighbour_weight: of the differences between neighbouring pixels.
        more: as for `StandardRoIHead`.
    """

    def __init__(self, *, neighbour_weight: float, **more: Any) -> None:
        super().__init__(**more)
        self.neighbour_weight = neighbour_weight

    def mask_loss(self, x: Any, sampling_results: Any, bbox_feats: Any, batch_gt_instances: Any) -> dict[str, Any]:
        """Return the losses of the mask head on the regions sampled as objects, each grown to hold its whole box."""
        boxes = torch.cat([result.pos_gt_bboxes for result in sampling_results])
        regions = [envelope(result.pos_priors, result.pos_gt_bboxes) for result in sampling_results]
        logits = self._mask_forward(x, bbox2roi(regions))["mask_preds"].float()
        logits = of_class(logits, torch.cat([result.pos_gt_labels for result in sampling_results]))
        inside = in_region(boxes, torch.cat(regions), logits.shape[-1])
        count = max(len(logits), 1)
        return {
            "loss_mask": {
                "loss_mask_tightness": box_losses.tightness_loss(logits, inside).sum() / count,
                "loss_mask_neighbours": self.neighbour_weight * box_losses.roughness(logits).sum() / count,
            }
        }


def envelope(first_xyxy: Tensor, second_xyxy: Tensor) -> Tensor:
    """Return the smallest boxes that hold both, (N, 4), (N, 4) -> (N, 4)."""
    low = torch.minimum(first_xyxy[:, :2], second_xyxy[:, :2])
    return torch.cat([low, torch.maximum(first_xyxy[:, 2:], second_xyxy[:, 2:])], dim=1)


def in_region(boxes_xyxy: Tensor, regions_xyxy: Tensor, cells: int) -> Tensor:
    """Fill boxes on a grid laid over each region: (N, 4), (N, 4) -> (N, cells, cells) bool."""
    origin = regions_xyxy[:, :2].repeat(1, 2)
    size = (regions_xyxy[:, 2:] - regions_xyxy[:, :2]).clamp_min(1e-3).repeat(1, 2)
    return box_losses.box_maps((boxes_xyxy - origin) / size * cells, (cells, cells), stride=1)
