"""The equations of the mask heads: losses, weights and scores. Tensors in, tensors out; no MMDetection.

N regions of interest, masks of S x S pixels (28 x 28). Logits are of the region's own class.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class MaskTruth:
    """What the mask heads are to say of N regions.

    Attributes:
        labels: (N,) int64, classes.
        amodal: (N, S, S) float32 of 0 and 1, whole objects.
        visible: (N, S, S) float32 of 0 and 1, visible parts.
        pixel_weights: (N, S, S) float32 in [0, 1], how far the pixels are to be learnt; None for all alike.
        instance_weights: (N,) float32 in [0, 1], how far the objects are; None for all alike.
    """

    labels: Tensor
    amodal: Tensor
    visible: Tensor
    pixel_weights: Tensor | None = None
    instance_weights: Tensor | None = None


@dataclass(frozen=True)
class Trust:
    """How far labels are believed; everything off by default.

    Attributes:
        pixels: share of the loss that a pixel loses which is as likely in as out; surer ones lose less.
        ignore_above: uncertainty above which pixels are not learnt at all; 1 or more ignores none.
        labels: share of the mask losses that an object loses whose label is surely wrong.
    """

    pixels: float = 0.0
    ignore_above: float = 1.0
    labels: float = 0.0

    @property
    def of_pixels(self) -> bool:
        """Whether pixels differ."""
        return self.pixels > 0 or self.ignore_above < 1

    @property
    def of_objects(self) -> bool:
        """Whether objects differ."""
        return self.labels > 0

    def pixel_weights(self, uncertainty: Tensor) -> Tensor:
        """Return 1 - `pixels` d, and 0 where d is above `ignore_above`, for uncertainties d in [0, 1]."""
        return (1 - self.pixels * uncertainty) * (uncertainty <= self.ignore_above)

    def instance_weights(self, uncertainty: Tensor) -> Tensor:
        """Return 1 - `labels` u for the uncertainty u of each label, in [0, 1]."""
        return 1 - self.labels * uncertainty


def of_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mask of each region's own class.

    Shapes: (N, C, S, S), (N,) -> (N, S, S).
    """
    return logits[torch.arange(len(labels), device=logits.device), labels]


def mask_loss(logits: Tensor, target: Tensor, truth: MaskTruth, weights: Tensor | None = None) -> Tensor:
    """Return the weighted binary cross entropy of masks.

    L = sum_i a_i b_i sum_p w_ip BCE(m_ip, t_ip) / sum_ip w_ip, with a of the labels (`instance_weights`), b of the
    method (`weights`) and w of the pixels; it is Mask R-CNN's mean where none is given. Weights of objects lower the
    loss; those of pixels only say which count.

    Args:
        logits: (N, S, S) m.
        target: (N, S, S) t, 0 or 1.
        truth: its weights a and w.
        weights: (N,) b.

    Returns:
        Scalar; 0, with gradients of 0, for no regions.
    """
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    pixels = torch.ones_like(loss) if truth.pixel_weights is None else truth.pixel_weights
    total = pixels.sum().clamp_min(1e-6)
    for of_objects in (truth.instance_weights, weights):
        if of_objects is not None:
            loss = loss * of_objects[:, None, None]
    return (loss * pixels).sum() / total


def probability_loss(probability: Tensor, target: Tensor, truth: MaskTruth) -> Tensor:
    """Do what `mask_loss` does for (N, S, S) probabilities."""
    return mask_loss(torch.logit(probability.float(), eps=1e-6), target, truth)


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Return the IoU of predicted and true masks, without gradients; 0 where both are empty.

    Shapes: (N, S, S) logits, (N, S, S) of 0 and 1 -> (N,).
    """
    found, true = logits.detach() > 0, target > 0.5
    union = (found | true).sum(dim=(1, 2))
    return (found & true).sum(dim=(1, 2)) / union.clamp_min(1)


def matching_loss(features: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean over regions of 1 - cos between feature maps; `wanted` gets no gradients.

    Shapes: (N, C, H, W), (N, C, H, W) -> scalar.
    """
    similarity = functional.cosine_similarity(features.flatten(1), wanted.detach().flatten(1), dim=1)
    return (1 - similarity).sum() / max(len(features), 1)


def weighted_class_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean over regions of weight times cross entropy.

    Shapes: (N, C), (N,), (N,) -> scalar.
    """
    loss = functional.cross_entropy(logits, labels, reduction="none")
    return (loss if weights is None else loss * weights).sum() / max(len(labels), 1)
