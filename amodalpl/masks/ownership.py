"""Who owns a pixel that two modal masks share.

Modal masks are disjoint by meaning, but half of COCO's polygons overlap others. The rule: a shared pixel belongs to
the smaller mask (a cup on a table, a tie on a man), and of equal masks to the one that comes later in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import rle
from .boxed import BoxedMask, BoxedMasks
from .rle import Rle


@dataclass(frozen=True)
class Owned:
    """The masks of one image after every pixel has one owner.

    Attributes:
        masks: N, disjoint.
        lost_px: (N,) int64, pixels each mask gave up.
    """

    masks: BoxedMasks
    lost_px: np.ndarray


def resolve(modal: Sequence[Rle], size_hw: tuple[int, int]) -> Owned:
    """Give every shared pixel to the smallest of the masks that claim it.

    Args:
        modal: N masks in the frame of the image.
        size_hw: of the image.

    >>> big, small = np.ones((4, 4), bool), np.eye(4, dtype=bool)
    >>> resolve([rle.encode(big), rle.encode(small)], (4, 4)).lost_px.tolist()
    [4, 0]
    """
    owned: dict[int, BoxedMask] = {}
    areas = np.array([rle.area_px(m) for m in modal], dtype=np.int64)
    lost_px = np.zeros(len(modal), dtype=np.int64)
    taken = np.zeros(size_hw, dtype=bool)
    for index in sorted(range(len(modal)), key=lambda i: (areas[i], -i)):
        x, y, w, h = rle.box_xywh(modal[index])
        window = np.s_[y : y + h, x : x + w]
        claimed = rle.decode_box(modal[index], (x, y, w, h))
        own = claimed & ~taken[window]
        owned[index] = BoxedMask.cut(own, (x, y), size_hw)
        lost_px[index] = int(claimed.sum()) - int(own.sum())
        taken[window] |= own
    return Owned(BoxedMasks((owned[index] for index in range(len(modal))), size_hw), lost_px)
