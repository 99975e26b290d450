"""Which device to compute on."""

from __future__ import annotations

import os

import torch

from ..errors import SettingsError


def pick_device(name: str) -> torch.device:
    """Return the device for "auto", "cpu" or "cuda"; under `torchrun` processes share out the GPUs.

    Raises:
        SettingsError: CUDA was asked for and is not there, or the name is unknown.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"--device: expected auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f"--device cuda: this torch ({torch.__version__}) sees no CUDA device; use --device cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
