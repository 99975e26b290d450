"""Compiled functions of mmcv that MMDetection calls on a GPU only; on a CPU it has plain torch of its own for them.

A model that trains on a CPU without them would fail on the first GPU. Arguments are those of mmcv's functions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Fill `output` with the focal loss of Lin et al. 2017 of each logit.

    Args:
        input: (N, C) float logits.
        target: (N,) int64 classes; C and more are background.
        weight: (C,) float of the classes, or empty.
        output: (N, C), filled.
        gamma: exponent that makes easy logits count less.
        alpha: share of the foreground.
    """
    output.copy_(_focal_loss(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    """Fill `grad_input` with the derivative of each logit's loss; arguments as for the forward half."""
    with torch.enable_grad():
        logits = input.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(_focal_loss(logits, target, weight, gamma, alpha).sum(), logits)
    grad_input.copy_(gradient)


def _focal_loss(logits: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    exact = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    is_class = (target[:, None] == torch.arange(logits.shape[1], device=target.device)).to(exact.dtype)
    entropy = functional.binary_cross_entropy_with_logits(exact, is_class, reduction="none")
    probability = exact.sigmoid()
    missed = probability + is_class - 2 * probability * is_class  # 1 minus the probability of what is true
    loss = (alpha * is_class + (1 - alpha) * (1 - is_class)) * missed**gamma * entropy
    return loss * weight if weight.numel() else loss


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    *,
    im2col_step: int,
) -> Tensor:
    """Serve the forward half of multi-scale deformable attention (Zhu et al. 2021) by mmcv's plain torch.

    Args:
        value: (B, keys, heads, channels) of all levels.
        value_spatial_shapes: (levels, 2) int64 heights and widths.
        value_level_start_index: not needed here.
        sampling_locations: (B, queries, heads, levels, points, 2) x and y in [0, 1].
        attention_weights: (B, queries, heads, levels, points).
        im2col_step: not needed here.

    Returns:
        (B, queries, heads * channels).
    """
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    sizes = value_spatial_shapes.tolist()  # asked for once instead of level by level
    return multi_scale_deformable_attn_pytorch(value, sizes, sampling_locations, attention_weights)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    *,
    im2col_step: int,
) -> None:
    """Fill the gradients of value, locations and weights; arguments as for the forward half."""
    with torch.enable_grad():
        inputs = [x.detach().requires_grad_() for x in (value, sampling_locations, attention_weights)]
        output = ms_deform_attn_forward(
            inputs[0], value_spatial_shapes, value_level_start_index, inputs[1], inputs[2], im2col_step=im2col_step
        )
        gradients = torch.autograd.grad(output, inputs, grad_output)
    for filled, gradient in zip((grad_value, grad_sampling_loc, grad_attn_weight), gradients, strict=True):
        filled.copy_(gradient)
