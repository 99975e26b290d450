"""Checkpoints without pickle."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError


def read_tensors(path: Path) -> Any:
    """Read a file of torch as tensors and plain values on the CPU, never code; torch's own errors come through.

    It warns of foreign files before it refuses them: one line is enough.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def load_plain(path: Path) -> Any:
    """Load tensors and plain values, never code.

    Raises:
        CheckpointError: missing, damaged, or holding anything else.
    """
    try:
        return read_tensors(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: expected a weights file, found none") from None
    except Exception as error:  # torch raises half a dozen types, depending on where the bytes go wrong,
        # whose text advises to load unsafely
        raise CheckpointError(
            f"{path}: expected plain tensors, got a damaged or foreign file ({type(error).__name__}); "
            "delete it and start again"
        ) from None
