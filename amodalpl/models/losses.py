"""The losses of PCNet-M, ASBU and its ablations: one function per equation.

All take
    outputs: (B, 2, H, W) float, the network's two raw channels
    target:  (B, 1, H, W) bool, the amodal mask
    weight:  (B, 1, H, W) float as `pixel_weight` gives it: in the papers 5 under the occluder and 1 elsewhere
and return the mean over all pixels of weight times the pixel's loss, as the reference does (theirs divides by one more
than the number of pixels, which changes the seventh digit).
"""

from __future__ import annotations

import torch
from torch.nn import functional

CONTACT_PX = 6  # patch pixels; of 128, about the band in which `order_by_contact` compares two objects
UNCERTAINTY_FLOOR = 1e-6  # added to the softplus in the reference code; the paper has none


def pixel_weight(
    occluder: torch.Tensor,
    inside: float,
    unknown: torch.Tensor | None = None,
    *,
    modal: torch.Tensor | None = None,
    contact: float = 1.0,
    elsewhere: float = 1.0,
) -> torch.Tensor:
    """Return how much each pixel counts.

    Args:
        occluder: (B, 1, H, W) bool.
        inside: weight under the occluder.
        unknown: (B, 1, H, W) bool, pixels that count nothing (Li and Malik 2016: the object may go on there unseen).
        modal: (B, 1, H, W) bool, what is visible; needed when `contact` is not 1.
        contact: factor on the weight of the occluder's pixels within `CONTACT_PX` of what is visible, where it can be
            seen who is in front (`labelling.contact.order_by_contact`); 1 in the papers.
        elsewhere: weight of all other pixels; 1 in the papers.

    Returns:
        (B, 1, H, W) float.
    """
    weight = elsewhere + (inside - elsewhere) * occluder.float()
    if contact != 1.0:
        if modal is None:
            raise ValueError("a contact weight needs the visible part: expected modal, got None")
        around = functional.max_pool2d(modal.float(), 2 * CONTACT_PX + 1, stride=1, padding=CONTACT_PX)
        weight = weight * (1 + (contact - 1) * around * occluder)
    return weight if unknown is None else weight * ~unknown


def mask_and_uncertainty(outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Read ASBU's channels: sigmoid(channel 0) is the mask, softplus(channel 1) the uncertainty u.

    Returns:
        Two (B, 1, H, W) float tensors; the mask in [0, 1], u above 0.
    """
    return torch.sigmoid(outputs[:, :1]), functional.softplus(outputs[:, 1:]) + UNCERTAINTY_FLOOR


def weighted_cross_entropy(outputs: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """PCNet-M (Zhan et al. 2020, eq. 1; `MaskWeightedCrossEntropyLoss`): two-class cross entropy, channel 1 is "in".

    The softmax over two channels is the sigmoid of their difference, so this is one dense pass.
    """
    logit = outputs[:, 1:] - outputs[:, :1]  # (B, 1, H, W)
    return (weight * functional.binary_cross_entropy_with_logits(logit, target.float(), reduction="none")).mean()


def asbu(outputs: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """ASBU eq. (1): 1/2 [((t - m) / u)^2 + u^2]."""
    mask, u = mask_and_uncertainty(outputs)
    return (weight * 0.5 * (((target.float() - mask) / u) ** 2 + u**2)).mean()


def asbu_gaussian(outputs: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """ASBU eq. (2), the Gaussian of the work they compare to: 1/2 [((t - m) / u)^2 + log u^2]."""
    mask, u = mask_and_uncertainty(outputs)
    return (weight * 0.5 * (((target.float() - mask) / u) ** 2 + 2 * torch.log(u))).mean()


def asbu_ubce(outputs: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """ASBU eq. (4): 1/2 [BCE(m, t) / u^2 + u^2]; its misplaced sign and bracket read as in the code."""
    _, u = mask_and_uncertainty(outputs)
    entropy = functional.binary_cross_entropy_with_logits(outputs[:, :1], target.float(), reduction="none")
    return (weight * 0.5 * (entropy / u**2 + u**2)).mean()
