"""Who owns a pixel that two modal masks share.

Modal masks are disjoint by meaning, but half of COCO's polygons overlap others. The rule: a shared pixel belongs to
the smaller mask (a cup on a table, a tie on a man), and of equal masks to the one that comes later in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import boxed
from .boxed import BoxedMask, BoxedMasks
from .rle import Rle


@dataclass(frozen=True)
class Owned:
    """The masks of one image, before and after every pixel has one owner.

    Attributes:
        drawn: N, as they were given.
        masks: N, disjoint.
        lost_px: (N,) int64, pixels each mask gave up.
    """

    drawn: BoxedMasks
    masks: BoxedMasks
    lost_px: np.ndarray

    def takers(self, index: int) -> tuple[int, ...]:
        """Return which masks own the pixels that one gave up, in order."""
        if not self.lost_px[index]:
            return ()
        return tuple(self.masks.shared_px(self.drawn[index].without(self.masks[index])))


def resolve(modal: Sequence[Rle], size_hw: tuple[int, int]) -> Owned:
    """Give every shared pixel to the smallest of the masks that claim it.

    Args:
        modal: N masks in the frame of the image.
        size_hw: of the image.

    >>> from . import rle
    >>> big, small = np.ones((4, 4), bool), np.eye(4, dtype=bool)
    >>> resolve([rle.encode(big), rle.encode(small)], (4, 4)).lost_px.tolist()
    [4, 0]
    """
    drawn = [boxed.decode(mask) for mask in modal]
    owned = list(drawn)
    areas_px = [mask.area_px for mask in drawn]
    lost_px = np.zeros(len(drawn), dtype=np.int64)
    taken = np.zeros(size_hw, dtype=bool)
    for index in sorted(range(len(drawn)), key=lambda i: (areas_px[i], -i)):
        mask = drawn[index]
        own = mask.crop & ~taken[mask.window]
        lost_px[index] = areas_px[index] - np.count_nonzero(own)
        if lost_px[index]:
            owned[index] = BoxedMask.cut(own, mask.box_xywh[:2], size_hw)
        taken[mask.window] |= own
    return Owned(BoxedMasks(drawn, size_hw), BoxedMasks(owned, size_hw), lost_px)
