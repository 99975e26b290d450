"""Masks come from the loader's processes as bits, in shared memory.

MMDetection sends a byte per pixel through a pipe, in pieces of 64 KB: 20 MB for a step of two photos of 1333 x 800 px
with nine objects each. On a GPU that kept the thread that receives batches busy for half of the time of a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as _tensors  # noqa: F401  # which teaches the pickler of processes to share tensors

from ..mmdetection import BitmapMasks
from .paired_masks import PairedMasks


@contextmanager
def masks_as_bits() -> Iterator[None]:
    """Let processes that start meanwhile send masks this way; what is written to files is as before."""
    kinds = (BitmapMasks, PairedMasks)
    for kind in kinds:
        ForkingPickler.register(kind, _sent)
    try:
        yield
    finally:
        for kind in kinds:
            ForkingPickler._extra_reducers.pop(kind)  # type: ignore[attr-defined]


def _sent(masks: BitmapMasks) -> tuple[Any, ...]:
    others = {name: value for name, value in vars(masks).items() if name != "masks"}
    pixels = np.asarray(masks.masks)
    as_bits = pixels.dtype == np.uint8 and pixels.max(initial=0) <= 1  # maps of doubt have more values
    sent = np.packbits(pixels, axis=-1) if as_bits else np.ascontiguousarray(pixels)
    return _received, (type(masks), others, torch.from_numpy(sent), pixels.shape[-1] if as_bits else None)


def _received(kind: type, others: dict[str, Any], sent: torch.Tensor, width: int | None) -> BitmapMasks:
    masks: BitmapMasks = object.__new__(kind)
    pixels = sent.numpy()
    vars(masks).update(others, masks=pixels if width is None else np.unpackbits(pixels, axis=-1, count=width))
    return masks
