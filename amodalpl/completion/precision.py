"""The arithmetic that a trained completer is used with: half precision where a GPU gains from it."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import nn

from ..models.completer import Completer

Precision = Literal["auto", "fp32", "bf16", "fp16"]
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class HalfNetwork(nn.Module):
    """A network whose convolutions run in half precision: float32 in, float32 out.

    fp16 has three more bits than bf16 and a smaller range. Where a batch leaves that range, it is computed again as is.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the two raw channels."""
        with torch.autocast(x.device.type, self.dtype):
            outputs = self.network(x).float()
        return outputs if bool(torch.isfinite(outputs).all()) else self.network(x)


class ExactNetwork(nn.Module):
    """A network whose convolutions have all of float32; on a GPU cuDNN usually takes TF32, with the bits of fp16."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the two raw channels."""
        cudnn = torch.backends.cudnn
        with cudnn.flags(True, cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False):
            return self.network(x)


def in_precision(completer: Completer, precision: Precision, device: torch.device) -> Completer:
    """Return a completer that is used in a precision; its weights are shared.

    Measured on two completers trained on photos of COCO, over 48 crops each: fp16 changes no probability by more than
    0.002, and 15 of 63 939 hidden pixels; bf16 0.02 and 118.

    Args:
        completer: in eval mode, its network on the device.
        precision: "auto" is fp16 on a GPU and fp32 elsewhere.
        device: of the network.
    """
    if precision == "auto":
        precision = "fp16" if device.type == "cuda" else "fp32"
    if precision == "fp32" and device.type != "cuda":
        return completer
    network = completer.network
    used = copy.copy(completer)
    wanted = ExactNetwork(network) if precision == "fp32" else HalfNetwork(network, _HALF[precision])
    used._modules = {**completer._modules, "network": wanted}
    return used.eval()
