"""Masks of a large image, of which only their boxes are kept: memory follows the objects, not objects x image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from . import rle
from .boxes import tight_box
from .rle import Rle

Window = tuple[slice, slice]
"""Rows and columns of an image, with start and stop; it may end beyond the image, as slices of arrays may."""


@dataclass(frozen=True, eq=False)
class BoxedMask:
    """A mask, used as an array of the whole image is: `mask[rows, columns]` is (h, w) bool, `np.asarray(mask)` all.

    Attributes:
        crop: (h, w) bool, what is in its box.
        box_xywh: tight box in image pixels; all zero for an empty mask.
        size_hw: height and width of the image.
    """

    crop: np.ndarray
    box_xywh: tuple[int, int, int, int]
    size_hw: tuple[int, int]

    @classmethod
    def cut(cls, mask: np.ndarray, corner_xy: tuple[int, int], size_hw: tuple[int, int]) -> BoxedMask:
        """Keep what is true of a part of an image.

        Args:
            mask: (h, w) bool, within the image.
            corner_xy: x, y of its top left pixel in the image.
            size_hw: height and width of the image.
        """
        if not mask.any():
            return cls.nothing(size_hw)
        x, y, w, h = tight_box(mask)
        box = (corner_xy[0] + x, corner_xy[1] + y, w, h)
        return cls(mask[y : y + h, x : x + w].copy(), box, size_hw)

    @classmethod
    def nothing(cls, size_hw: tuple[int, int]) -> BoxedMask:
        """Return an empty mask of an image."""
        return cls(np.zeros((0, 0), dtype=bool), (0, 0, 0, 0), size_hw)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the whole mask."""
        return self.size_hw

    @property
    def window(self) -> Window:
        """Rows and columns of the box."""
        x, y, w, h = self.box_xywh
        return np.s_[y : y + h, x : x + w]

    @property
    def area_px(self) -> int:
        """How many pixels are true."""
        return int(np.count_nonzero(self.crop))

    @property
    def at_edge(self) -> bool:
        """Whether it touches the edge of the image."""
        x, y, w, h = self.box_xywh
        return self.any() and (x == 0 or y == 0 or y + h == self.size_hw[0] or x + w == self.size_hw[1])

    def any(self) -> bool:
        """Tell whether a pixel is true."""
        return self.crop.size > 0

    def __getitem__(self, window: Window) -> np.ndarray:
        """Return an (h, w) bool array of its own."""
        part, corner_xy = _blank(window, self.size_hw)
        self.add_to(part, corner_xy)
        return part

    def united(self, other: BoxedMask) -> BoxedMask:
        """Return the pixels of either of two masks of the image."""
        if not (self.any() and other.any()):
            return self if self.any() else other
        rows, columns = window = common_window(self, other)
        return BoxedMask.cut(self[window] | other[window], (columns.start, rows.start), self.size_hw)

    def without(self, other: BoxedMask) -> BoxedMask:
        """Return the pixels that are not in another mask of the image."""
        return BoxedMask.cut(self.crop & ~other[self.window], self.box_xywh[:2], self.size_hw)

    def shared_px(self, other: BoxedMask) -> int:
        """Count the pixels that are in another mask of the image too."""
        return int(np.count_nonzero(self.crop & other[self.window]))

    def add_to(self, part: np.ndarray, corner_xy: tuple[int, int] = (0, 0)) -> None:
        """Make its pixels true in a part of the image, (h, w) bool whose top left pixel is given."""
        (x, y, w, h), (left, top) = self.box_xywh, corner_xy
        x0, y0, x1, y1 = max(x, left), max(y, top), min(x + w, left + part.shape[1]), min(y + h, top + part.shape[0])
        if x0 < x1 and y0 < y1:
            part[y0 - top : y1 - top, x0 - left : x1 - left] |= self.crop[y0 - y : y1 - y, x0 - x : x1 - x]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the whole mask, (H, W) bool."""
        return self[:, :] if dtype is None else self[:, :].astype(dtype)

    def encode(self) -> Rle:
        """Encode it."""
        return rle.encode_in_frame(self.crop, self.box_xywh[:2], self.size_hw)


class BoxedMasks(Sequence[BoxedMask]):
    """The masks of one image; `np.asarray(masks)` is their (N, H, W) bool stack."""

    def __init__(self, masks: Iterable[BoxedMask], size_hw: tuple[int, int]) -> None:
        """Keep the masks.

        Args:
            masks: of one image.
            size_hw: its height and width.
        """
        self._masks = list(masks)
        self.size_hw = size_hw

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the stack."""
        return len(self), *self.size_hw

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, index: Any) -> Any:  # a mask by its number, masks by a slice
        found = self._masks[index]
        return BoxedMasks(found, self.size_hw) if isinstance(index, slice) else found

    def __iter__(self) -> Iterator[BoxedMask]:
        return iter(self._masks)

    @cached_property
    def boxes_xywh(self) -> np.ndarray:
        """(N, 4) int64 tight boxes."""
        return np.array([mask.box_xywh for mask in self], dtype=np.int64).reshape(-1, 4)

    @property
    def filled(self) -> list[int]:
        """Indices of the masks that are not empty."""
        return [index for index, mask in enumerate(self) if mask.any()]

    def subset(self, indices: Iterable[int]) -> BoxedMasks:
        """Return some of the masks."""
        return BoxedMasks((self._masks[index] for index in indices), self.size_hw)

    def any_of(self, indices: Iterable[int], window: Window) -> np.ndarray:
        """Return the pixels of a window that any of some masks has, (h, w) bool."""
        union, corner_xy = _blank(window, self.size_hw)
        for index in indices:
            self._masks[index].add_to(union, corner_xy)
        return union

    def meeting(self, window: Window) -> list[int]:
        """Return the indices of the masks whose boxes have a pixel in a window."""
        x, y, w, h = self.boxes_xywh.T
        rows, columns = window
        within = (x < columns.stop) & (x + w > columns.start) & (y < rows.stop) & (y + h > rows.start)
        return [int(index) for index in np.flatnonzero(within & (w > 0))]

    def shared_px(self, mask: BoxedMask) -> dict[int, int]:
        """Return how many pixels of a mask of the image each of these has; those that have none are left out."""
        shared = {index: mask.shared_px(self._masks[index]) for index in self.meeting(mask.window)}
        return {index: px for index, px in shared.items() if px}

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the stack, (N, H, W) bool."""
        stack = np.zeros(self.shape, dtype=bool)
        for whole, mask in zip(stack, self, strict=True):
            mask.add_to(whole)
        return stack if dtype is None else stack.astype(dtype)


def _blank(window: Window, size_hw: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """Return an empty array of the size of a window, and x, y of its top left pixel."""
    (top, bottom, _), (left, right, _) = (part.indices(side) for part, side in zip(window, size_hw, strict=True))
    return np.zeros((max(bottom - top, 0), max(right - left, 0)), dtype=bool), (left, top)


def boxed(mask: np.ndarray | BoxedMask) -> BoxedMask:
    """Return the mask in its box; one that is there already stays as it is."""
    if isinstance(mask, BoxedMask):
        return mask
    return BoxedMask.cut(mask, (0, 0), (int(mask.shape[0]), int(mask.shape[1])))


def all_boxed(masks: np.ndarray | BoxedMasks) -> BoxedMasks:
    """Return the masks of an (N, H, W) bool stack in their boxes."""
    if isinstance(masks, BoxedMasks):
        return masks
    return BoxedMasks((boxed(mask) for mask in masks), (int(masks.shape[1]), int(masks.shape[2])))


def common_window(*masks: BoxedMask) -> Window:
    """Return the rows and columns of the smallest box around masks of an image."""
    boxes = np.array([mask.box_xywh for mask in masks if mask.any()]).reshape(-1, 4)
    if not len(boxes):
        return np.s_[0:1, 0:1]
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0).tolist(), (boxes[:, :2] + boxes[:, 2:]).max(axis=0).tolist()
    return np.s_[top:bottom, left:right]


def in_common_box(*masks: BoxedMask) -> list[np.ndarray]:
    """Return masks of an image within the smallest box around all of them, each (h, w) bool."""
    window = common_window(*masks)
    return [mask[window] for mask in masks]


def decode(encoded: Rle) -> BoxedMask:
    """Decode a mask; only its box is ever in memory."""
    box = rle.box_xywh(encoded)
    height, width = encoded["size"]
    return BoxedMask.cut(rle.decode_box(encoded, box), box[:2], (height, width))
