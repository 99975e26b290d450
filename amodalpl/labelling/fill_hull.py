"""Growth behind things without a mask, to the convex hull: for objects whose shape says that something lies over them.

A network that sees masks only, or was trained to stay behind annotated objects, leaves these as they are drawn. An
object in several pieces is seldom whole: something lies between them. One that fills little of its convex hull may be
whole, as people and giraffes are; who knows that his objects are hidden may have it filled too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from ..masks.boxed import BoxedMask, BoxedMasks
from ..masks.geometry import count_px, filled_hull
from .looks import count_pieces

Fill = Literal["never", "pieces", "hollow"]
HOLLOW = 0.65
"""Objects whose visible part fills less of its convex hull are hollow. Chosen on half of COCOA-cls (LOG.md)."""


def fill_hull(masks: BoxedMasks, target: int, whole: BoxedMask, fronts: Iterable[int], fill: Fill) -> BoxedMask:
    """Return a label grown to its convex hull where no other object is seen, or only what is in front of it.

    Args:
        masks: visible parts of all objects of the photo, disjoint.
        target: index of the object; at least one of its pixels is visible.
        whole: its label; contains what is visible.
        fronts: indices of the objects in front of it.
        fill: "pieces" grows objects in several pieces; "hollow" those too that fill little of their convex hull.
    """
    seen = masks[target].crop
    asks = fill != "never" and count_pieces(seen) > 1
    asks |= fill == "hollow" and count_px(seen) < HOLLOW * count_px(filled_hull(seen))
    if not asks:
        return whole
    window = whole.window
    fronts = set(fronts)
    others = masks.any_of((k for k in masks.meeting(window) if k != target and k not in fronts), window)
    grown = whole.crop | (filled_hull(np.ascontiguousarray(whole.crop)) & ~others)
    return BoxedMask.cut(grown, whole.box_xywh[:2], whole.size_hw)
