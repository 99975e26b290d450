"""A backend for training on CPUs without AVX-512: 3x3 convolutions whose gradients come at the CPU's speed.

The networks are written with `nn.Conv2d`; `train_at_full_speed` puts these convolutions in the place of theirs.
Channels-last is the fast layout of a network's passes, but oneDNN has no fast kernel for the gradient of the weights in
it on CPUs without AVX-512: at 16 to 50 of 95 GFLOP/s per core it took half of a training step. Copied to the plain
layout, where there is one, it takes half as long, the copies included.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

PATCHES_COPIED = 8  # at a time, which bounds the memory of the copies


def train_at_full_speed(module: nn.Module) -> None:
    """Replace every 3x3 convolution inside a module; does nothing on a CPU that needs no help.

    Weights stay the same tensors under the same names. In eval mode answers are those of `nn.Conv2d`.

    Args:
        module: on the CPU; changed in place.
    """
    if not _lacks_avx512():
        return
    for name, child in module.named_children():
        if not any(weight.requires_grad for weight in child.parameters()):
            continue  # frozen
        if type(child) is nn.Conv2d and child.kernel_size == (3, 3) and child.padding == (1, 1):
            setattr(module, name, Convolution.like(child))
        else:
            train_at_full_speed(child)


class Convolution(nn.Conv2d):
    """`nn.Conv2d(channels_in, channels_out, 3, padding=1)`: the same weights, the same function, the same gradients.

    Shapes: (B, channels_in, H, W) float -> (B, channels_out, H, W) float.
    """

    @classmethod
    def like(cls, plain: nn.Conv2d) -> Convolution:
        """Return one with the tensors of a plain convolution."""
        ours = cls(plain.in_channels, plain.out_channels, 3, padding=1, device="meta")  # no random weights are drawn
        ours.weight, ours.bias = plain.weight, plain.bias
        return ours.train(plain.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolved channels."""
        if self.training and not torch.is_autocast_enabled("cpu"):
            return _PlainWeightGradient.apply(x, self.weight, self.bias)
        return super().forward(x)


def _lacks_avx512() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


class _PlainWeightGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return functional.conv2d(x, weight, bias, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor]:
        x, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        of_x = _gradients(grad, x, weight, (True, False, False))[0] if ctx.needs_input_grad[0] else None  # type: ignore[attr-defined]
        plain = weight.contiguous()
        of_weight, of_bias = torch.zeros_like(plain), torch.zeros_like(weight[:, 0, 0, 0])
        for some_grad, some_x in zip(grad.split(PATCHES_COPIED), x.split(PATCHES_COPIED), strict=True):
            _, part, bias_part = _gradients(some_grad.contiguous(), some_x.contiguous(), plain, (False, True, True))
            of_weight += part
            of_bias += bias_part
        return of_x, of_weight, of_bias


def _gradients(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, wanted: tuple[bool, bool, bool]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of the input, the weights and the bias, as far as they are wanted."""
    return torch.ops.aten.convolution_backward(
        grad, x, weight, [len(weight)], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted
    )
