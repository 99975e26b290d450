"""Whole masks with companions: what else is known of each object, carried through MMDetection's stock transforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import DataError
from ..mmdetection import BitmapMasks

VISIBLE = "visible"
"""Companion: the visible part, 0 or 1, inside the whole mask."""
DOUBT = "doubt"
"""Companion: how doubtful each pixel of the label is, 0 (sure) to 255 (as likely in as out)."""
UNCERTAINTY = "uncertainty"
"""Number of an object: how likely its label is wrong, 0 to 1."""


class PairedMasks(BitmapMasks):
    """MMDetection's masks of whole objects, with further maps and numbers of the same objects in the same order.

    Stock transforms know one field of masks. Whatever they do to this one, they do to its companions too, so none of
    them has to be replaced. Each operation moves pixels, or mixes neighbouring ones with weights that are the same for
    all maps; so what lies inside the whole mask stays inside.

    Args:
        masks: (N, H, W) uint8, 0 or 1: whole objects.
        height: H.
        width: W.
        companions: maps by name, (N, H, W) uint8 or `BitmapMasks`.
        numbers: of the objects by name, (N,) float32.

    Raises:
        DataError: a companion of another shape, or not a number for each object.
    """

    def __init__(
        self,
        masks: Any,
        height: int,
        width: int,
        companions: Mapping[str, Any] | None = None,
        numbers: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        super().__init__(masks, height, width)
        self.companions: dict[str, BitmapMasks] = {}
        self.numbers = dict(numbers or {})
        for name, values in (companions or {}).items():
            maps = values if isinstance(values, BitmapMasks) else BitmapMasks(values, height, width)
            if maps.masks.shape != self.masks.shape:
                raise DataError(
                    f"{name}: expected maps of shape {self.masks.shape} as the masks, got {maps.masks.shape}"
                )
            self.companions[name] = maps
        for name, of_objects in self.numbers.items():
            if of_objects.shape != (len(self.masks),):
                raise DataError(f"{name}: expected a number for each of {len(self.masks)}, got {of_objects.shape}")

    def _each(self, operation: Callable[[BitmapMasks], BitmapMasks], objects: Any = slice(None)) -> PairedMasks:
        """Do to all maps what MMDetection does to one; `objects` are the ones that stay."""
        whole = operation(BitmapMasks(self.masks, self.height, self.width))
        others = {name: operation(maps) for name, maps in self.companions.items()}
        numbers = {name: np.atleast_1d(values[objects]) for name, values in self.numbers.items()}
        return PairedMasks(whole.masks, whole.height, whole.width, others, numbers)

    def __getitem__(self, index: Any) -> PairedMasks:
        return self._each(lambda maps: maps[index], index)

    def rescale(self, *args: Any, **kwargs: Any) -> PairedMasks:
        """See `BitmapMasks.rescale`."""
        return self._each(lambda maps: maps.rescale(*args, **kwargs))

    def resize(self, *args: Any, **kwargs: Any) -> PairedMasks:
        """See `BitmapMasks.resize`."""
        return self._each(lambda maps: maps.resize(*args, **kwargs))

    def flip(self, *args: Any, **kwargs: Any) -> PairedMasks:
        """See `BitmapMasks.flip`."""
        return self._each(lambda maps: maps.flip(*args, **kwargs))

    def pad(self, *args: Any, **kwargs: Any) -> PairedMasks:
        """See `BitmapMasks.pad`."""
        return self._each(lambda maps: maps.pad(*args, **kwargs))

    def crop(self, *args: Any, **kwargs: Any) -> PairedMasks:
        """See `BitmapMasks.crop`."""
        return self._each(lambda maps: maps.crop(*args, **kwargs))

    def crop_and_resize(
        self, bboxes: Any, out_shape: tuple[int, int], inds: Any, *args: Any, **kwargs: Any
    ) -> PairedMasks:
        """See `BitmapMasks.crop_and_resize`."""
        return self._each(lambda maps: maps.crop_and_resize(bboxes, out_shape, inds, *args, **kwargs), np.asarray(inds))

    def expand(self, *args: Any, **kwargs: Any) -> PairedMasks:
        """See `BitmapMasks.expand`."""
        return self._each(lambda maps: maps.expand(*args, **kwargs))

    def translate(self, *args: Any, **kwargs: Any) -> PairedMasks:
        """See `BitmapMasks.translate`."""
        return self._each(lambda maps: maps.translate(*args, **kwargs))

    def shear(self, *args: Any, **kwargs: Any) -> PairedMasks:
        """See `BitmapMasks.shear`."""
        return self._each(lambda maps: maps.shear(*args, **kwargs))

    def rotate(self, *args: Any, **kwargs: Any) -> PairedMasks:
        """See `BitmapMasks.rotate`."""
        return self._each(lambda maps: maps.rotate(*args, **kwargs))

    @classmethod
    def cat(cls, masks: Sequence[Any]) -> PairedMasks:
        """Put the masks of several photos one after another, as mosaics do.

        Raises:
            DataError: not all have the same companions.
        """
        first = masks[0]
        names = [sorted({**m.companions, **m.numbers}) if isinstance(m, PairedMasks) else [] for m in masks]
        if any(found != names[0] for found in names):
            raise DataError(f"masks to be joined: expected the same companions for all, got {names}")
        companions = {n: np.concatenate([m.companions[n].masks for m in masks]) for n in first.companions}
        numbers = {n: np.concatenate([m.numbers[n] for m in masks]) for n in first.numbers}
        whole = np.concatenate([m.masks for m in masks])
        height, width = whole.shape[1:]
        return cls(whole, height, width, companions, numbers)
