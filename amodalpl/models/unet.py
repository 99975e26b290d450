"""The UNet of PCNet-M and ASBU (`unet2` in their code): 3.35 million parameters at width 32."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class DoubleConv(nn.Sequential):
    """Twice: 3x3 convolution, batch normalisation, ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    """Four halvings, four doublings, skips in the order [skip, up], bilinear upsampling with aligned corners.

    Args:
        channels_in: of the input patch.
        width: channels of the first level; the levels have 1, 2, 4, 8, 8 times as many.
        init_gain: gain of the Xavier normal start of every convolution (0.02 in the reference).

    Shapes: (B, channels_in, H, W) float -> (B, 2, H, W) float, raw; H and W multiples of 16.
    """

    def __init__(self, channels_in: int, width: int = 32, init_gain: float = 0.02) -> None:
        super().__init__()
        self.enter = DoubleConv(channels_in, width)
        self.down = nn.ModuleList(DoubleConv(a * width, b * width) for a, b in ((1, 2), (2, 4), (4, 8), (8, 8)))
        self.up = nn.ModuleList(DoubleConv(a * width, b * width) for a, b in ((16, 4), (8, 2), (4, 1), (2, 1)))
        self.leave = nn.Conv2d(width, 2, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight, init_gain)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the two raw channels."""
        return self.leave(self.features(x))

    def features(self, x: torch.Tensor, added: Sequence[torch.Tensor] = ()) -> torch.Tensor:
        """Return what the two channels are made of, (B, width, H, W) float.

        Args:
            x: the patch.
            added: to each level after a halving, of its shape; nothing where there is none.
        """
        x = self.enter(x)
        skips = []
        for level, block in enumerate(self.down):
            skips.append(x)
            x = block(functional.max_pool2d(x, 2))
            if added:
                x = x + added[level]
        for block in self.up:
            x = _doubled(x)
            if x.device.type == "cpu" and self.training and x.requires_grad:
                x.register_hook(_in_channels_last)
            x = block(_joined(skips.pop(), x))
        return x


def freeze_idle_biases(network: nn.Module) -> None:
    """Learn no biases that a normalisation takes away again: their gradients are zero, but a GPU sums them up.

    That is a twentieth of a step (H200, 32 patches of 256 px). On a CPU they stay: rounding would change.
    """
    for block in (module for module in network.modules() if isinstance(module, DoubleConv)):
        for convolution in (block[0], block[3]):
            convolution.bias.requires_grad_(False)  # type: ignore[union-attr, operator]


def _doubled(x: torch.Tensor) -> torch.Tensor:
    """Upsample; on a GPU in the precision of what is given, where autocast would widen it and all that follows."""
    narrow = x.device.type == "cuda" and x.dtype != torch.float32
    with torch.autocast("cuda", enabled=False) if narrow else contextlib.nullcontext():
        return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


def _joined(skip: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Join channels; where they lie last, on a CPU, `cat` takes a quarter of the time if it is told that they do."""
    last = x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last)
    if torch.is_grad_enabled() or torch.jit.is_tracing() or not last:
        return torch.cat([skip, x], dim=1)
    return torch.cat([skip.permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)], dim=3).permute(0, 3, 1, 2)


def _in_channels_last(gradient: torch.Tensor) -> torch.Tensor:
    """Copy what `cat` hands back, a slice: upsampling's own backward takes ten times as long over one on a CPU."""
    return gradient.contiguous(memory_format=torch.channels_last)
