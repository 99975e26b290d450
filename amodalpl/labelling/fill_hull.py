"""Growth behind things without a mask, to the convex hull: for objects whose shape says that something lies over them.

A network that sees masks only, or was trained to stay behind annotated objects, leaves these as they are drawn. A label
that is in several pieces, when all that annotated objects explain has been completed, is seldom whole: something lies
between them. One that fills little of its convex hull may be whole, as people and giraffes are; who knows that his
objects are hidden may have it filled too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from ..masks.boxed import BoxedMask, BoxedMasks
from ..masks.geometry import count_px, filled_hull
from .label_features import count_pieces

Fill = Literal["never", "pieces", "hollow"]
HOLLOW = 0.65
"""Labels that are less of what they would be when they were filled are hollow. Chosen on half of COCOA-cls (LOG.md)."""


def fill_hull(masks: BoxedMasks, target: int, whole: BoxedMask, fronts: Iterable[int], fill: Fill) -> BoxedMask:
    """Return a label grown to its convex hull where no other object is seen, or only what is in front of it.

    Args:
        masks: visible parts of all objects of the photo, disjoint.
        target: index of the object.
        whole: its label; contains what is visible.
        fronts: indices of the objects in front of it.
        fill: "pieces" grows labels in several pieces; "hollow" those too that would grow by more than half.
    """
    if fill == "never":
        return whole
    label, fronts = np.ascontiguousarray(whole.crop), set(fronts)
    others = masks.any_of((k for k in masks.meeting(whole.window) if k != target and k not in fronts), whole.window)
    grown = label | (filled_hull(label) & ~others)
    if count_pieces(label) > 1 or (fill == "hollow" and count_px(label) < HOLLOW * count_px(grown)):
        return BoxedMask.cut(grown, whole.box_xywh[:2], whole.size_hw)
    return whole
