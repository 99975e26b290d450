"""ORCNN: whole and visible masks from two heads, and a loss on their difference, the hidden part.

After Follmann, König, Härtinger, Klostermann, Böttger 2019 ("Learning to See the Invisible: End-to-End Trainable Amodal
Instance Segmentation").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from mmengine.model import BaseModule
from torch import Tensor
from torch.nn import functional

from ..mmdetection import MODELS, StandardRoIHead, bbox2roi, empty_instances
from .mask_losses import MaskTruth, Trust, mask_loss, of_class, probability_loss
from .mask_truth import mask_truth

Difference = Literal["logits", "probability"]


@MODELS.register_module()
class TwoMaskHead(BaseModule):
    """A mask head for whole objects and one for their visible parts, each as Mask R-CNN's, on the same features.

    Args:
        amodal: config of the head for whole masks.
        visible: config of the head for visible parts.
        difference: how the hidden part follows from both: of probabilities s(a) (1 - s(v)), or of logits
            a - max(v, 0).
        hidden_weight: of the loss on the hidden part; 0 has none.
        trust: fields of `Trust`.
        init_cfg: MMEngine's.
    """

    def __init__(
        self,
        amodal: Mapping[str, Any],
        visible: Mapping[str, Any],
        difference: Difference = "probability",
        hidden_weight: float = 0.0,
        trust: Mapping[str, float] | None = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        self.amodal = MODELS.build(amodal)
        self.visible = MODELS.build(visible)
        self.difference = difference
        self.hidden_weight = hidden_weight
        self.trust = Trust(**(trust or {}))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of whole masks and visible parts.

        Shapes: (N, channels, 14, 14) -> (N, C, 28, 28), (N, C, 28, 28).
        """
        return self.amodal(features), self.visible(features)

    def losses(self, features: Tensor, truth: MaskTruth) -> dict[str, Tensor]:
        """Return L_AM + L_VM of the paper, on whole and visible masks, and L_IM, on what is hidden, if it counts."""
        amodal, visible = (of_class(logits, truth.labels) for logits in self(features))
        losses = {
            "loss_mask_amodal": mask_loss(amodal, truth.amodal, truth),
            "loss_mask_visible": mask_loss(visible, truth.visible, truth),
        }
        if self.hidden_weight:
            of_hidden = hidden_loss(amodal, visible, truth, self.difference)
            losses["loss_mask_hidden"] = self.hidden_weight * of_hidden
        return losses

    def masks(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the whole and the visible mask of each region, of its class.

        Shapes: (N, channels, 14, 14), (N,) -> (N, 28, 28), (N, 28, 28).
        """
        amodal, visible = self(features)
        return of_class(amodal, labels), of_class(visible, labels)


def hidden_loss(amodal: Tensor, visible: Tensor, truth: MaskTruth, difference: Difference) -> Tensor:
    """Return the cross entropy of the hidden part, which is true where the whole mask is and the visible part is not.

    Args:
        amodal: (N, S, S) logits a.
        visible: (N, S, S) logits v.
        truth: of the regions.
        difference: "logits" takes a - max(v, 0) for the logit, "probability" s(a) (1 - s(v)) for the probability.
    """
    hidden = truth.amodal * (1 - truth.visible)
    if difference == "logits":
        return mask_loss(amodal - functional.relu(visible), hidden, truth)
    return probability_loss(torch.sigmoid(amodal) * (1 - torch.sigmoid(visible)), hidden, truth)


@MODELS.register_module()
class TwoMaskRoIHead(StandardRoIHead):
    """MMDetection's head on regions, whose mask head gives two masks of each: `masks` and `visible_masks`.

    Args:
        mask_iou_head: config of the head that says how good whole masks are; None for none.
        more: as for `StandardRoIHead`.
    """

    def __init__(self, *, mask_iou_head: Mapping[str, Any] | None = None, **more: Any) -> None:
        super().__init__(**more)
        self.mask_iou_head = MODELS.build(mask_iou_head) if mask_iou_head else None

    def mask_loss(self, x: Any, sampling_results: Any, bbox_feats: Any, batch_gt_instances: Any) -> dict[str, Any]:
        """Return the losses of the mask head on the regions sampled as objects."""
        rois = bbox2roi([result.pos_priors for result in sampling_results])
        truth = mask_truth(sampling_results, batch_gt_instances, self.train_cfg, self.mask_head.trust)
        features = self._features(x, rois)
        losses = self.mask_head.losses(features, truth)
        if self.mask_iou_head is not None:
            with torch.no_grad():
                amodal, _ = self.mask_head.masks(features, truth.labels)
            told = of_class(self.mask_iou_head(features, amodal), truth.labels)
            losses |= self.mask_iou_head.loss_and_target(
                told, amodal, truth.amodal, sampling_results, batch_gt_instances, self.train_cfg
            )
        return {"loss_mask": losses}

    def predict_mask(
        self, x: Any, batch_img_metas: list[dict], results_list: list[Any], rescale: bool = False
    ) -> list[Any]:
        """Add both masks, (n, H, W) bool in the frame of the photo, to the detections of each photo."""
        rois = bbox2roi([found.bboxes for found in results_list])
        if not len(rois):
            empty = empty_instances(
                batch_img_metas, rois.device, task_type="mask", instance_results=results_list,
                mask_thr_binary=self.test_cfg.mask_thr_binary,
            )  # fmt: skip
            for found in empty:
                found.visible_masks = found.masks.clone()
            return empty
        labels = torch.cat([found.labels for found in results_list])
        features = self._features(x, rois)
        both = self.mask_head.masks(features, labels)
        counts = [len(found) for found in results_list]
        for found, meta, *logits in zip(results_list, batch_img_metas, *(m.split(counts) for m in both), strict=True):
            boxes = found.bboxes.clone()  # MMDetection rescales boxes in place while it pastes masks
            found.visible_masks = self._paste(logits[1], boxes, meta, rescale)
            found.masks = self._paste(logits[0], found.bboxes, meta, rescale)
        if self.mask_iou_head is not None:
            qualities = self.mask_iou_head(features, both[0]).split(counts)
            return self.mask_iou_head.predict_by_feat(qualities, results_list)
        return results_list

    def _features(self, x: Any, rois: Tensor) -> Tensor:
        return self.mask_roi_extractor(x[: self.mask_roi_extractor.num_inputs], rois)

    def _paste(self, logits: Tensor, boxes: Tensor, meta: dict, rescale: bool) -> Tensor:
        """Return the masks in the frame of the photo, by MMDetection's own code."""
        if not len(boxes):
            height, width = meta["ori_shape"] if rescale else meta["img_shape"]
            return logits.new_zeros((0, height, width), dtype=torch.bool)
        first = torch.zeros(len(boxes), dtype=torch.int64, device=logits.device)  # the masks are of one class already
        return self.mask_head.amodal._predict_by_feat_single(
            logits[:, None], boxes, first, meta, self.test_cfg, rescale=rescale
        )
