"""A completer: what a method shows its network, how it is trained, how its answer is read.

PCNet-M, ASBU and the ablations of the ASBU paper differ in two choices only: the second input channel (the occluder's
mask, or the boundary with it) and the loss. `METHODS` is that table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from .. import losses
from .unet import UNet

IMAGE_MEAN = (123.675, 116.28, 103.53)  # of ImageNet, RGB 0-255
IMAGE_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Method:
    """One row of the ASBU paper's table of methods.

    Attributes:
        second_channel: what the network sees of the occluder.
        loss: see `amodalpl.losses`.
        has_uncertainty: whether channel 1 of the output is an uncertainty.
        order_from_pairs: recover the order by completing pair by pair (PCNet-M), not from the completions (ASBU eq. 3).
    """

    second_channel: Literal["occluder", "boundary"]
    loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    has_uncertainty: bool
    order_from_pairs: bool


METHODS: dict[str, Method] = {
    "pcnet-m": Method("occluder", losses.weighted_cross_entropy, False, True),
    "asbu": Method("boundary", losses.asbu, True, False),
    "boundary-pcnet-m": Method("boundary", losses.weighted_cross_entropy, False, False),
    "uncertainty-pcnet-m": Method("occluder", losses.asbu, True, True),
    "asbu-ubce": Method("boundary", losses.asbu_ubce, True, False),
    "asbu-gaussian": Method("boundary", losses.asbu_gaussian, True, False),
}


class Completer(nn.Module):
    """A network with its method.

    Args:
        network: (B, C, P, P) float -> (B, 2, P, P) raw; C = 2, or 5 with the image.
        method: how it is fed and read.
        uses_image: whether the photo is given too.
    """

    def __init__(self, network: nn.Module, method: Method, uses_image: bool = False) -> None:
        super().__init__()
        self.network = network
        self.method = method
        self.uses_image = uses_image

    def forward(
        self, modal: torch.Tensor, occluder: torch.Tensor, boundary: torch.Tensor, image: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the raw outputs.

        Args:
            modal: (B, 1, P, P) bool, what is visible.
            occluder: (B, 1, P, P) bool.
            boundary: (B, 1, P, P) bool.
            image: (B, 3, P, P) uint8 RGB, needed when `uses_image`.

        Returns:
            (B, 2, P, P) float.
        """
        second = occluder if self.method.second_channel == "occluder" else boundary
        channels = [modal.float(), second.float()]
        if self.uses_image:
            if image is None:
                raise ValueError("this completer looks at the photo: expected image patches, got None")
            mean = torch.tensor(IMAGE_MEAN, device=image.device).view(1, 3, 1, 1)
            std = torch.tensor(IMAGE_STD, device=image.device).view(1, 3, 1, 1)
            channels.append((image.float() - mean) / std)
        stacked = torch.cat(channels, dim=1)  # (B, C, P, P)
        return self.network(stacked.contiguous(memory_format=torch.channels_last)).float()

    def loss(self, outputs: torch.Tensor, target: torch.Tensor, occluder: torch.Tensor, inside: float) -> torch.Tensor:
        """Return the method's training loss, with weight `inside` under the occluder and 1 elsewhere."""
        return self.method.loss(outputs, target, 1 + (inside - 1) * occluder.float())

    def read(self, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Read raw outputs.

        Returns:
            probability: (B, P, P) float in [0, 1] that a pixel belongs to the object.
            doubt: (B, P, P) float in [0, 1]: ASBU's u, cut at 1; else 4 p (1 - p), which is 1 where p is one half.
        """
        if self.method.has_uncertainty:
            mask, u = losses.mask_and_uncertainty(outputs)
            return mask[:, 0], u[:, 0].clamp(max=1)
        probability = torch.sigmoid(outputs[:, 1] - outputs[:, 0])
        return probability, 4 * probability * (1 - probability)


def build_completer(method: str, width: int, uses_image: bool, init_gain: float = 0.02) -> Completer:
    """Put a completer of the reference's size together, with fresh weights."""
    network = UNet(5 if uses_image else 2, width, init_gain)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a CPU
    return Completer(network, METHODS[method], uses_image)
