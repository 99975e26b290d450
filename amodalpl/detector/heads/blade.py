"""BLADE: visible masks that grow into whole ones where boxes overlap, learnt from visible and whole boxes.

After Liu, Li, Jiang 2024 ("BLADE: Box-Level Supervised Amodal Segmentation through Directed Expansion"), on BoxInst.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..mmdetection import MODELS
from . import box_losses
from .boxinst import BoxInstHead, Losses, Probabilities, apply


@MODELS.register_module()
class BladeHead(BoxInstHead):
    """Three heads for each object: its visible mask, its whole mask, and the region where it overlaps with others.

    Args:
        threshold: t, probability of the visible mask above which a cell is seen.
        amodal_weights: of the whole mask's projection, pairwise and connectivity losses.
        region_weight: of the overlapping region's loss.
        neighbour_weight: of the neighbour loss in the connectivity loss.
        uniform_weight: K, of the uniform loss in it.
        detach_visible: the uniform loss does not move the visible mask.
        fusion: take the whole mask in the overlapping region and the visible one outside; else there is no third head,
            and the whole mask is taken everywhere.
        more: as for `BoxInstHead`.
    """

    def __init__(
        self,
        *,
        threshold: float,
        amodal_weights: tuple[float, float, float],
        region_weight: float,
        neighbour_weight: float,
        uniform_weight: float,
        detach_visible: bool,
        fusion: bool,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.threshold = threshold
        self.projection_weight, self.pairwise_weight, self.connectivity_weight = amodal_weights
        self.region_weight = region_weight
        self.neighbour_weight, self.uniform_weight = neighbour_weight, uniform_weight
        self.detach_visible = detach_visible
        self.fusion = fusion

    def logits(self, features: Tensor, found: Any) -> tuple[Tensor, ...]:
        """Return the logits of visible masks, whole masks and, with fusion, regions; whole masks see visible ones."""
        inputs = self.inputs(features, found)
        of_visible, of_amodal, *of_region = self.weights(found.param_preds)
        visible = apply(of_visible, inputs)
        amodal = apply(of_amodal, torch.cat([inputs, visible.sigmoid()[:, None]], dim=1))
        return tuple(self.finer(maps) for maps in (visible, amodal, *(apply(layers, inputs) for layers in of_region)))

    def photo_losses(self, logits: tuple[Tensor, ...], sample: Any, objects: Tensor) -> Losses:
        """Return the losses of the visible mask (BoxInst's), the whole mask (with connectivity) and the region."""
        visible, amodal, *region = logits
        truth = sample.gt_instances
        of_visible = self.mask_losses(visible, truth.visible_boxes[objects], sample.colour_edges)
        of_amodal = self.mask_losses(amodal, truth.whole_boxes[objects], sample.colour_edges)
        wanted = self.maps(box_losses.overlap_regions(truth.whole_boxes)[objects], amodal)
        losses = {
            "projection_visible": of_visible["projection"],
            "pairwise_visible": of_visible["pairwise"],
            "projection_amodal": _weighed(self.projection_weight, of_amodal["projection"]),
            "pairwise_amodal": _weighed(self.pairwise_weight, of_amodal["pairwise"]),
        }
        if self.fill_steps:
            losses |= {"fill_visible": of_visible["fill"], "fill_amodal": of_amodal["fill"]}
        seen = wanted & (visible.detach().sigmoid() > self.threshold)
        boxes = self.maps(truth.whole_boxes[objects], amodal)
        neighbour = box_losses.neighbour_loss(amodal, seen, boxes, self.distance)
        certain = (visible.detach() if self.detach_visible else visible).sigmoid()
        uniform = box_losses.uniform_loss(amodal.sigmoid(), certain, wanted)
        for name, weight, (each, fires) in (
            ("neighbour", self.neighbour_weight, neighbour),
            ("uniform", self.uniform_weight, uniform),
        ):
            losses[name] = _weighed(self.connectivity_weight * weight, (each.sum(), fires.sum()))
        if self.fusion:
            off = functional.binary_cross_entropy_with_logits(region[0], wanted.float(), reduction="none")
            losses["region"] = _weighed(self.region_weight, box_losses.summed(off.mean(dim=(1, 2))))
        return losses

    def probabilities(self, logits: tuple[Tensor, ...]) -> Probabilities:
        """Return the probabilities of masks, fused where there is a third head; where v is 0, a r is left of them."""
        visible, amodal, *region = (maps.sigmoid() for maps in logits)
        if not self.fusion:
            return Probabilities(amodal, visible, amodal)
        return Probabilities(fused(visible, amodal, region[0]), visible, amodal * region[0])

    def add_masks(self, found: Any, logits: tuple[Tensor, ...], sample: Any, rescale: bool) -> None:
        """Add visible and whole masks to the objects found on a photo; their boxes become those of the whole masks."""
        super().add_masks(found, logits, sample, rescale)
        found.visible_masks = self.masks_in_photo(logits[0].sigmoid(), sample, rescale)
        found.bboxes = tight_boxes(found.masks, found.bboxes)


def fused(visible: Tensor, amodal: Tensor, region: Tensor) -> Tensor:
    """Return a r + v (1 - r), equation (2): the whole mask in the overlapping region, the visible one elsewhere."""
    return amodal * region + visible * (1 - region)


def tight_boxes(masks: Tensor, otherwise: Tensor) -> Tensor:
    """Return the boxes of masks, (n, H, W) bool -> (n, 4) x1, y1, x2, y2; of empty ones `otherwise`, (n, 4)."""
    ends = []
    for dim in (1, 2):  # columns, then rows
        filled = masks.any(dim).to(torch.uint8)
        ends.append((filled.argmax(dim=1), filled.shape[1] - filled.flip(1).argmax(dim=1)))
    (left, right), (top, bottom) = ends
    boxes = torch.stack([left, top, right, bottom], dim=1).to(otherwise)
    return torch.where(masks.flatten(1).any(dim=1)[:, None], boxes, otherwise)


def _weighed(weight: float, loss: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    value, count = loss
    return weight * value, count
