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


class PairedMasks(BitmapMasks):
    """MMDetection's masks of whole objects, with further maps of the same objects, sizes and order.

    Stock transforms know one field of masks. Whatever they do to this one, they do to its companions too, so none of
    them has to be replaced. Each operation moves pixels, or mixes neighbouring ones with weights that are the same for
    all maps; so what lies inside the whole mask stays inside.

    Args:
        masks: (N, H, W) uint8, 0 or 1: whole objects.
        height: H.
        width: W.
        companions: maps by name, (N, H, W) uint8 or `BitmapMasks`.

    Raises:
        DataError: a companion of another shape.
    """

    def __init__(self, masks: Any, height: int, width: int, companions: Mapping[str, Any] | None = None) -> None:
        super().__init__(masks, height, width)
        self.companions: dict[str, BitmapMasks] = {}
        for name, values in (companions or {}).items():
            maps = values if isinstance(values, BitmapMasks) else BitmapMasks(values, height, width)
            if maps.masks.shape != self.masks.shape:
                raise DataError(
                    f"{name}: expected maps of shape {self.masks.shape} as the masks, got {maps.masks.shape}"
                )
            self.companions[name] = maps

    def _each(self, operation: Callable[[BitmapMasks], BitmapMasks]) -> PairedMasks:
        """Do to all maps what MMDetection does to one."""
        whole = operation(BitmapMasks(self.masks, self.height, self.width))
        others = {name: operation(maps) for name, maps in self.companions.items()}
        return PairedMasks(whole.masks, whole.height, whole.width, others)

    def __getitem__(self, index: Any) -> PairedMasks:
        return self._each(lambda maps: maps[index])

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

    def crop_and_resize(self, *args: Any, **kwargs: Any) -> PairedMasks:
        """See `BitmapMasks.crop_and_resize`."""
        return self._each(lambda maps: maps.crop_and_resize(*args, **kwargs))

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
        names = [sorted(getattr(m, "companions", {})) for m in masks]
        if any(found != names[0] for found in names):
            raise DataError(f"masks to be joined: expected the same companions for all, got {names}")
        together = {name: np.concatenate([m.companions[name].masks for m in masks]) for name in names[0]}
        whole = np.concatenate([m.masks for m in masks])
        return cls(whole, whole.shape[1], whole.shape[2], companions=together)
