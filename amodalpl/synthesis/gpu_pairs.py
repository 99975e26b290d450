"""A backend for training on GPUs: batches of the recipe `pair` with their pixels made there, as `pair.py` makes them.

The CPU draws numbers only: which cut-outs, which rows and columns of them, where the occluder is tried. The device has
the bank's bits, picks them, tries the placements of the whole batch at once, and composes. The samples are the same,
bit for bit; `training.synthesis_device` turns it on and off. Nothing but the training imports this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from .dataset import SampleStream
from .pair import draw_sample
from .placement import draw_offset
from .placement_geometry import draw_view

TRIES = 4  # placements of an occluder that the device tries; four of five first ones fit
_FINE = 1024  # parts of a pixel that OpenCV counts in, and so do we, to take the same pixels
_SHARE_OF_MEMORY = 4  # the bank's bits may take one in so many bytes that the device has left

Batch = dict[str, torch.Tensor]


class Drawn(Dataset):
    """The numbers of a stream's samples, without their pixels; for a `DataLoader` with `collate_fn=Drawn.as_it_is`.

    Batches are dicts of tensors, of the object first and the occluder second where there are two:
        number: (B,) int64, of the samples
        is_hidden: (B,) bool, whether the object is behind
        first_bit: (B, 2) int64, of the cut-outs' masks in the bank
        width: (B, 2) int64, of these masks
        rows, columns: (B, 2, P) int64, those of the masks that the patch takes, -1 where it reaches beyond
        offsets: (B, T, 2) int64, x and y in patch pixels, shifts of the occluder to be tried
    """

    def __init__(self, stream: SampleStream) -> None:
        self.stream = stream

    def __len__(self) -> int:
        return len(self.stream)

    def __getitem__(self, number: int) -> Batch:
        return self.__getitems__([number])

    def __getitems__(self, numbers: list[int]) -> Batch:
        """Draw a batch: the samples' own generators are asked what `draw_sample` asks them, in the same order."""
        stream, settings = self.stream, self.stream.settings
        tries = min(TRIES, settings.placement_tries)
        chosen, matrices, flips, is_hidden, offsets = [], [], [], [], []

        def look(index: int, rng: np.random.Generator) -> None:
            _, _, _, x, y, w, h, scale, *_ = stream.bank.table[index].item()
            view = draw_view((x, y, w, h), rng, settings)
            chosen.append(index)
            matrices.append(view.square.patch_from_raster(settings.patch_px, (x, y), scale))
            flips.append(view.flip)

        for index, rng in map(stream.start, numbers):
            look(index, rng)
            is_hidden.append(rng.random() < settings.front_probability)
            look(int(rng.integers(len(stream.bank))), rng)
            offsets.append([draw_offset(rng, settings.overlap_fraction) for _ in range(tries)])

        table = stream.bank.table[chosen]
        size_hw = np.stack([table["rows"], table["columns"]], axis=-1)
        rows, columns = picked(np.array(matrices), size_hw, settings.patch_px)
        columns = np.where(np.array(flips)[:, None], columns[:, ::-1], columns)
        of_both = {"first_bit": 8 * table["offset"], "width": size_hw[:, 1].astype(np.int64)}
        of_both |= {"rows": rows, "columns": columns}
        batch = {name: values.reshape(len(numbers), 2, *values.shape[1:]) for name, values in of_both.items()}
        batch["number"], batch["is_hidden"] = np.array(numbers), np.array(is_hidden)
        batch["offsets"] = (np.array(offsets) * settings.patch_px).astype(np.int64)
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    @staticmethod
    def as_it_is(batch: Any) -> Batch:
        """Return the batch, which needs no collating."""
        return batch

    @property
    def bits(self) -> np.ndarray:
        """The bank's masks, (K,) uint8, eight pixels each."""
        return np.load(self.stream.bank.folder / "bits.npy", mmap_mode="r", allow_pickle=False)


def can_make(stream: SampleStream, device: torch.device) -> bool:
    """Tell whether the device can make a stream's samples: masks of the recipe `pair`, from a bank that fits."""
    if stream.draw is not draw_sample or stream.settings.with_image:
        return False
    return device.type != "cuda" or Drawn(stream).bits.nbytes * _SHARE_OF_MEMORY <= torch.cuda.mem_get_info(device)[0]


class DeviceLoader:
    """The batches that a `DataLoader` over the stream would give, but on the device, and made there."""

    def __init__(self, loader: DataLoader, device: torch.device) -> None:
        """Put the bank's masks on the device.

        Args:
            loader: over a `Drawn`.
            device: of the batches.
        """
        assert isinstance(loader.dataset, Drawn)
        self.loader = loader
        self.dataset = loader.dataset
        self.device = device
        self.bits = torch.from_numpy(np.array(self.dataset.bits)).to(device)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        if self.device.type != "cuda":
            yield from map(self._make, self.loader)
            return
        # what is waited for here does not wait for the training, and goes before it
        own = torch.cuda.Stream(self.device, priority=-1)
        training = torch.cuda.current_stream(self.device)
        for numbers in self.loader:
            with torch.cuda.stream(own):
                batch = self._make(numbers)
            training.wait_stream(own)
            for tensor in batch.values():
                tensor.record_stream(training)
            yield batch

    def _make(self, numbers: Batch) -> Batch:
        stream = self.dataset.stream
        on_device = {name: tensor.to(self.device, non_blocking=True) for name, tensor in numbers.items()}
        batch, fits = make_pairs(self.bits, on_device, stream.settings.cut_fraction)
        if stream.with_boundary:
            batch["boundary"] = boundaries(batch["modal"], batch["occluder"], stream.settings.boundary_px)
        for place in torch.nonzero(~fits).flatten().tolist():  # a few need more tries, or another occluder
            for name, mask in stream[int(numbers["number"][place])].items():
                batch[name][place] = mask.to(self.device)
        return batch


def make_pairs(bits: torch.Tensor, numbers: Batch, cut_fraction: tuple[float, float]) -> tuple[Batch, torch.Tensor]:
    """Make the pixels of a batch, on the device where its numbers are.

    Args:
        bits: (K,) uint8, the bank's masks.
        numbers: batch of `Drawn`.
        cut_fraction: see `place_occluder`.

    Returns:
        modal, occluder, target: (B, 1, P, P) bool; and (B,) bool, whether one of the tried placements fits.
        Where none does, the masks are of no use.
    """
    rows, columns = numbers["rows"][..., None], numbers["columns"][..., None, :]  # (B, 2, P, 1), (B, 2, 1, P)
    inside = (rows >= 0) & (columns >= 0)
    at = numbers["first_bit"][..., None, None] + rows * numbers["width"][..., None, None] + columns
    at = at.where(inside, 0)
    masks = ((bits[at >> 3] >> (7 - (at & 7))) & 1).bool() & inside  # (B, 2, P, P)
    target, other = masks.unbind(1)
    tried = shifted_each(other, numbers["offsets"])  # (B, T, P, P)
    cut_px = (tried & target[:, None]).sum((2, 3))
    hidden = cut_px.double() / target.sum((1, 2))[:, None]  # not a number, so never right, where there is no object
    right = (hidden >= cut_fraction[0]) & (hidden < cut_fraction[1])
    first = right.byte().argmax(1)
    other = tried[torch.arange(len(first), device=first.device), first]
    is_hidden = numbers["is_hidden"][:, None, None]
    modal, occluder = target & ~(other & is_hidden), other & (is_hidden | ~target)
    batch = {"modal": modal, "occluder": occluder, "target": target}
    return {name: mask[:, None] for name, mask in batch.items()}, right.any(1)


def boundaries(modal: torch.Tensor, occluder: torch.Tensor, boundary_px: int) -> torch.Tensor:
    """Draw the boundary of every sample, as `occlusion_boundary` does.

    Args:
        modal: (B, 1, P, P) bool.
        occluder: (B, 1, P, P) bool.
        boundary_px: odd side of the growing square.

    Returns:
        (B, 1, P, P) bool.
    """
    both = torch.cat([modal, occluder], 1).float()  # (B, 2, P, P)
    return functional.max_pool2d(both, boundary_px, 1, boundary_px // 2).bool().all(1, keepdim=True)


def shifted_each(masks: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Move every mask in several ways, as `placement.shifted` does.

    Args:
        masks: (B, P, P) bool.
        offsets: (B, T, 2) int64, to the right and down, in pixels.

    Returns:
        (B, T, P, P) bool.
    """
    side = masks.shape[-1]
    at = torch.arange(side, device=masks.device)
    columns, rows = (at - offsets[..., None]).unbind(2)  # (B, T, P) each
    inside = ((rows >= 0) & (rows < side))[..., None] & ((columns >= 0) & (columns < side))[..., None, :]
    which = torch.arange(len(masks), device=masks.device)[:, None, None, None]
    return masks[which, rows.clamp(0, side - 1)[..., None], columns.clamp(0, side - 1)[..., None, :]] & inside


def picked(patch_from_raster: np.ndarray, size_hw: np.ndarray, patch_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which row and column of a raster each row and column of its patch takes: `to_patch`, nearest, upright.

    A crop of the recipe is never turned, so a patch is some rows and columns of the stored mask: numbers that can be
    worked out before any pixel is touched.

    Args:
        patch_from_raster: (..., 2, 3) as `Square.patch_from_raster` gives it.
        size_hw: (..., 2), of the rasters.
        patch_px: P, side of the patches.

    Returns:
        rows, columns: (..., P) int64 each; -1 where the patch reaches beyond the raster.

    >>> picked(np.array([[2.0, 0.0, 2.5], [0.0, 2.0, 0.5]]), np.array([2, 2]), 6)
    (array([ 0,  0,  1,  1, -1, -1]), array([-1, -1,  0,  0,  1,  1]))
    """
    matrix = patch_from_raster[..., None]  # (..., 2, 3, 1)
    inverse = 1.0 / (matrix[..., 0, 0, :] * matrix[..., 1, 1, :])
    per_column, per_row = matrix[..., 1, 1, :] * inverse, matrix[..., 0, 0, :] * inverse  # (..., 1)
    at = np.arange(patch_px)
    # OpenCV rounds step and start apart along x, their sum along y
    columns = np.rint(per_column * at * _FINE) + np.rint(-(per_column * matrix[..., 0, 2, :]) * _FINE)
    rows = np.rint((per_row * at - per_row * matrix[..., 1, 2, :]) * _FINE)
    return _within(rows, size_hw[..., :1]), _within(columns, size_hw[..., 1:])


def _within(fine: np.ndarray, size: np.ndarray) -> np.ndarray:
    whole = (fine.astype(np.int64) + _FINE // 2) // _FINE
    return np.where((whole < 0) | (whole >= size), -1, whole)
