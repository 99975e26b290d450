"""A completer's network that looks at the photo through a frozen encoder, which ImageNet has taught what things are.

What the encoder finds is added to the levels of the UNet through 1x1 convolutions. These start at zero: before its
first step the network answers as the mask-only one whose weights it starts from.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from .unet import UNet

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
"""Of MobileNetV2 up to stride 16: expansion, channels, blocks, stride of the first."""
LEVELS = (0, 1, 2, 4)  # stages whose answers are used, at strides 2, 4, 8, 16
IMAGENET_SCALE = (58.395 / 127.5, 57.12 / 127.5, 57.375 / 127.5)  # from mean and deviation of ImageNet to -1..1
IMAGENET_SHIFT = (123.675 / 127.5 - 1, 116.28 / 127.5 - 1, 103.53 / 127.5 - 1)


class PhotoEncoder(nn.Module):
    """MobileNetV2 (Sandler et al. 2018) up to stride 16, frozen, under the names that MMDetection has for its weights.

    Shapes: (B, 3, H, W) float, RGB normalised by ImageNet's mean and deviation -> (B, C, H / s, W / s) float for the
    strides s of 2, 4, 8, 16; H and W multiples of 16.
    """

    channels = tuple(STAGES[stage][1] for stage in LEVELS)
    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _convolution(3, 32, 3, 2)
        channels_in = 32
        for number, (expansion, channels, blocks, stride) in enumerate(STAGES, start=1):
            stage = [_Block(channels_in, channels, expansion, stride)]
            stage += [_Block(channels, channels, expansion, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            channels_in = channels
        self.register_buffer("scale", torch.tensor(IMAGENET_SCALE).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(IMAGENET_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> PhotoEncoder:
        """Stay in eval mode: what the normalisations learnt on ImageNet is part of the frozen weights."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, photo: torch.Tensor) -> list[torch.Tensor]:
        """Return the four maps, the finest first."""
        x, found = self.conv1(photo * self.scale + self.shift), []
        for number in range(len(STAGES)):
            x = self.get_submodule(f"layer{number + 1}")(x)
            if number in LEVELS:
                found.append(x)
        return found


class PhotoUNet(UNet):
    """A UNet of masks whose levels are told what the encoder finds in the photo.

    Shapes: (B, channels_in + 3, H, W) float, the photo last -> (B, 2, H, W) float, raw; H and W multiples of 16.
    """

    def __init__(self, channels_in: int, width: int = 32, init_gain: float = 0.02) -> None:
        super().__init__(channels_in, width, init_gain)
        self.encoder = PhotoEncoder()
        sizes = zip(self.encoder.channels, (2, 4, 8, 8), strict=True)
        self.evidence = nn.ModuleList(nn.Conv2d(channels, times * width, 1) for channels, times in sizes)
        for projection in self.evidence:
            nn.init.zeros_(projection.weight)  # type: ignore[arg-type]
            nn.init.zeros_(projection.bias)  # type: ignore[arg-type]

    def features(self, x: torch.Tensor, added: Sequence[torch.Tensor] = ()) -> torch.Tensor:
        """Return what the two channels are made of, (B, width, H, W) float."""
        masks, photo = (part.contiguous(memory_format=torch.channels_last) for part in (x[:, :-3], x[:, -3:]))
        found = self.encoder(photo)
        return super().features(masks, [tell(level) for tell, level in zip(self.evidence, found, strict=True)])


class _Block(nn.Module):
    """An inverted residual: widened by a 1x1 convolution, filtered channel by channel, narrowed again."""

    def __init__(self, channels_in: int, channels_out: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = expansion * channels_in
        self.is_residual = stride == 1 and channels_in == channels_out
        if expansion > 1:
            self.expand_conv = _convolution(channels_in, wide, 1)
        self.depthwise_conv = _convolution(wide, wide, 3, stride, groups=wide)
        self.linear_conv = _convolution(wide, channels_out, 1, is_linear=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = self.expand_conv(x) if hasattr(self, "expand_conv") else x
        out = self.linear_conv(self.depthwise_conv(wide))
        return x + out if self.is_residual else out


def _convolution(
    channels_in: int, channels_out: int, side: int, stride: int = 1, groups: int = 1, is_linear: bool = False
) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv"] = nn.Conv2d(channels_in, channels_out, side, stride, side // 2, groups=groups, bias=False)
    parts["bn"] = nn.BatchNorm2d(channels_out)
    if not is_linear:
        parts["activate"] = nn.ReLU6(inplace=True)
    return nn.Sequential(parts)
