"""What mask heads are to learn of the sampled regions: whole masks, visible parts, and how far labels are believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..data.paired_masks import DOUBT, UNCERTAINTY, VISIBLE, PairedMasks
from ..mmdetection import MODELS, BitmapMasks, FCNMaskHead, mask_target
from .mask_losses import MaskTruth, Trust, mask_loss, of_class


def mask_truth(sampled: Sequence[Any], instances: Sequence[Any], size: Mapping[str, Any], trust: Trust) -> MaskTruth:
    """Crop the labels to the regions that were sampled as objects.

    Args:
        sampled: MMDetection's sampling results, one per photo.
        instances: labels of each photo, with `masks` as `PairedMasks`.
        size: MMDetection's `train_cfg` of the regions, with `mask_size`.
        trust: which weights are wanted.

    Returns:
        Regions of all photos, one after another; whole masks are `visible` too where nothing else is known.
    """
    regions = [result.pos_priors for result in sampled]
    objects = [result.pos_assigned_gt_inds for result in sampled]
    masks: list[PairedMasks] = [photo.masks for photo in instances]

    def crop(maps: list[BitmapMasks], soft: bool = False) -> Tensor:
        config = {"mask_size": size["mask_size"], "soft_mask_target": soft}
        return mask_target(regions, objects, maps, _Config(config))

    pixels = of_objects = None
    if trust.of_pixels:
        pixels = trust.pixel_weights(crop([m.companions[DOUBT] for m in masks], soft=True) / 255)
    if trust.of_objects:
        uncertainty = [
            torch.from_numpy(m.numbers[UNCERTAINTY]).to(o.device)[o] for m, o in zip(masks, objects, strict=True)
        ]
        of_objects = trust.instance_weights(torch.cat(uncertainty))
    return MaskTruth(
        labels=torch.cat([result.pos_gt_labels for result in sampled]),
        amodal=crop([BitmapMasks(m.masks, m.height, m.width) for m in masks]),
        visible=crop([m.companions[VISIBLE] for m in masks]),
        pixel_weights=pixels,
        instance_weights=of_objects,
    )


class _Config(dict):
    """A dict with attributes, as MMDetection reads its configs."""

    __getattr__ = dict.__getitem__


@MODELS.register_module()
class TrustingMaskHead(FCNMaskHead):
    """Mask R-CNN's mask head, whose loss believes each label as far as `Trust` says.

    Args:
        trust: fields of `Trust`.
        more: as for `FCNMaskHead`.
    """

    def __init__(self, *, trust: Mapping[str, float], **more: Any) -> None:
        super().__init__(**more)
        self.trust = Trust(**trust)

    def loss_and_target(
        self, mask_preds: Tensor, sampling_results: Any, batch_gt_instances: Any, rcnn_train_cfg: Any
    ) -> dict[str, Any]:
        """Return the loss, as `FCNMaskHead.loss_and_target` does."""
        truth = mask_truth(sampling_results, batch_gt_instances, rcnn_train_cfg, self.trust)
        loss = mask_loss(of_class(mask_preds, truth.labels), truth.amodal, truth)
        return {"loss_mask": {"loss_mask": loss}, "mask_targets": truth.amodal}
