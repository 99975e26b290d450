"""Completers: a network with its method, a row of `completer_table.py`, which says how it is fed and read."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from . import losses
from .completer_table import METHODS, Method
from .few_at_once import FewAtOnce, Remembering
from .photo_encoder import PhotoUNet
from .unet import DoubleConv, UNet

IMAGE_MEAN = (123.675, 116.28, 103.53)  # of ImageNet, RGB 0-255
IMAGE_STD = (58.395, 57.12, 57.375)


class Completer(nn.Module):
    """A network with its method.

    Args:
        network: (B, C, P, P) float -> (B, 2, P, P) raw; C = 1 + the method's channels, 3 more with the image.
        method: how it is fed and read.
        uses_image: whether the photo is given too.
    """

    image_mean: torch.Tensor
    image_std: torch.Tensor

    def __init__(self, network: nn.Module, method: Method, uses_image: bool = False) -> None:
        super().__init__()
        self.network = network
        self.method = method
        self.uses_image = uses_image
        # on the network's device from the start: made anew in each step they would hold a GPU up
        self.register_buffer("image_mean", torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("image_std", torch.tensor(IMAGE_STD).view(1, 3, 1, 1), persistent=False)

    def forward(
        self,
        modal: torch.Tensor,
        occluder: torch.Tensor,
        boundary: torch.Tensor | None = None,
        image: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the raw outputs.

        Args:
            modal: (B, 1, P, P) bool, what is visible.
            occluder: (B, 1, P, P) bool.
            boundary: (B, 1, P, P) bool, needed when the method sees it.
            image: (B, 3, P, P) uint8 RGB, needed when `uses_image`.

        Returns:
            (B, 2, P, P) float.
        """
        given = {"occluder": occluder} if boundary is None else {"occluder": occluder, "boundary": boundary}
        channels = [modal.float(), *(given[name].float() for name in self.method.channels)]
        if self.uses_image:
            if image is None:
                raise ValueError("this completer looks at the photo: expected image patches, got None")
            channels.append((image.float() - self.image_mean) / self.image_std)
        stacked = torch.cat(channels, dim=1)  # (B, C, P, P)
        return self.network(stacked.contiguous(memory_format=torch.channels_last)).float()

    def read(self, outputs: torch.Tensor) -> torch.Tensor:
        """Read raw outputs.

        ASBU's u shapes its training only: what a label is worth comes from calibrated probabilities, for all methods
        alike (`calibration.fit`, `labelling.label`).

        Returns:
            (B, P, P) float in [0, 1], the probability that a pixel belongs to the object.
        """
        if self.method.has_uncertainty:
            return losses.mask_and_uncertainty(outputs)[0][:, 0]
        return torch.sigmoid(outputs[:, 1] - outputs[:, 0])


def build_completer(
    method: str, width: int, uses_image: bool, init_gain: float | None = None, photo_encoder: str | None = None
) -> Completer:
    """Put a completer together, with fresh weights.

    Args:
        method: a key of `completer_table.METHODS`.
        width: channels of the first level.
        uses_image: whether the photo is given too.
        init_gain: gain of the start weights; None takes the method's own.
        photo_encoder: name of the frozen network through which the photo is seen; None for the pixels themselves.
    """
    row = METHODS[method]
    of_masks, gain = 1 + len(row.channels), init_gain or row.init_gain
    if uses_image and photo_encoder:
        network: UNet = PhotoUNet(of_masks, width, gain)
    else:
        network = UNet(of_masks + (3 if uses_image else 0), width, gain)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a CPU
    return Completer(network, row, uses_image)


def fuse_for_use(completer: Completer) -> Completer:
    """Return a copy in eval mode whose batch normalisations are part of the convolutions before them.

    The same function up to rounding, and a third faster on a CPU, where it takes few patches at a time (`FewAtOnce`).
    It cannot be trained on.
    """
    fused = copy.deepcopy(completer).eval()
    for block in [m for m in fused.modules() if isinstance(m, DoubleConv)]:
        for at in (0, 3):
            convolution, normalisation = block[at], block[at + 1]
            block[at] = fuse_conv_bn_eval(convolution, normalisation)  # type: ignore[type-var, arg-type]
            block[at + 1] = nn.Identity()
    if isinstance(fused.network, UNet):
        fused.network = FewAtOnce(fused.network)
    return fused


def remembering(completer: Completer) -> Completer:
    """Return a completer that gives the same answers, and remembers them, where its network can (`Remembering`)."""
    network = completer.network
    if not isinstance(network, FewAtOnce):
        return completer
    return Completer(Remembering(network), completer.method, completer.uses_image).train(completer.training)
