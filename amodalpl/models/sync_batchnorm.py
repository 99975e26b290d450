"""Batch normalisation over all processes: N processes train as one process with N times the batch.

On a GPU it is torch's own `SyncBatchNorm`, which has no kernels for a CPU: there, this module does the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

_OVER = (0, 2, 3)  # a channel's statistics run over samples and pixels


def share_statistics(module: nn.Module) -> None:
    """Replace every `BatchNorm2d` inside a module by one that learns with the samples of all processes.

    Weights and running statistics stay the same tensors under the same names, so weights and checkpoints fit networks
    with and without. In eval mode nothing is shared, and answers are those of `BatchNorm2d`.

    Args:
        module: on the device it is trained on; changed in place.
    """
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            on_gpu = child.weight.is_cuda
            shared = nn.SyncBatchNorm.convert_sync_batchnorm(child) if on_gpu else SharedBatchNorm2d.like(child)
            setattr(module, name, shared)
        else:
            share_statistics(child)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """`BatchNorm2d` whose statistics in training are those of the samples of all processes of the default group.

    Processes may bring unequal numbers of samples, but each at least one. Statistics are at least float32.
    It has weights, running statistics and a momentum, as all normalisations of our networks.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    @classmethod
    def like(cls, plain: nn.BatchNorm2d) -> SharedBatchNorm2d:
        """Return one that has the weights and running statistics of another, not copies."""
        shared = cls(plain.num_features, plain.eps, plain.momentum)
        shared.weight, shared.bias = plain.weight, plain.bias
        for name, statistic in plain.named_buffers():
            setattr(shared, name, statistic)
        return shared.train(plain.training)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W) float, and remember the statistics when in training."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        mean, variance, count = joint_statistics(input)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)  # unbiased, as BatchNorm2d's
        return _Normalise.apply(input, self.weight, self.bias, mean, variance, count, self.eps)


@torch.no_grad()
def joint_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, biased variance and number of values of each channel over all processes.

    Each process's squares are taken around its own mean, and put together by Chan et al. 1979: nothing large cancels.

    Args:
        x: (B, C, H, W) float; B may differ between processes.

    Returns:
        (C,), (C,) and (1,) float32 or, of float64, float64; the same to the bit on all processes.
    """
    variance, mean = torch.var_mean(_wide(x), _OVER, correction=0)
    own = torch.cat([mean, variance, mean.new_tensor([x.numel() / len(mean)])])
    every = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(every, own)
    means, variances, counts = torch.stack(every).split([len(mean), len(mean), 1], dim=1)
    count = counts.sum(0)
    share = counts / count  # (processes, 1)
    mean = (share * means).sum(0)
    return mean, (share * (variances + (means - mean) ** 2)).sum(0), count


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class _Normalise(Function):
    """Normalise by statistics that depend on the inputs of all processes (Ioffe and Szegedy 2015, their gradients).

    Gradients of weight and bias are of this process's samples: `DistributedDataParallel` puts them together.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        return functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        scale = torch.rsqrt(variance + ctx.eps)[:, None, None]  # (C, 1, 1)
        normal = (_wide(x) - mean[:, None, None]) * scale  # (B, C, H, W)
        gradient = _wide(gradient)
        of_bias, of_weight = gradient.sum(_OVER), (gradient * normal).sum(_OVER)
        joint = torch.stack([of_bias, of_weight])
        distributed.all_reduce(joint)
        through_mean, through_variance = (joint / count)[..., None, None]
        of_x = (gradient - through_mean - normal * through_variance) * (weight[:, None, None] * scale)
        return of_x.to(x.dtype), of_weight, of_bias, None, None, None, None
