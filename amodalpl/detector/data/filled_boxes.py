"""Masks and stated boxes -> filled boxes, for models that learn from boxes alone.

A filled box is a mask like any other: it goes through the same files and the same transforms of MMDetection, and its
tight box is the box again. So nothing downstream has to know of boxes without masks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from ...data.records import AnnotationSet, Box, Dropped, Instance, Mask
from ...masks import rle

BoxesOf = Literal["masks", "file"]


def filled_boxes(annotations: AnnotationSet, boxes_of: BoxesOf) -> AnnotationSet:
    """Replace the masks of every object by its filled boxes; nothing else of its masks is left.

    Args:
        annotations: any; read with `boxes=True` for "file".
        boxes_of: "masks" takes the tight boxes of the masks, so that any mask data set is a box data set with known
            truth; "file" takes the boxes that the file states, whether there are masks or not.

    Returns:
        The same photos; `modal` is the filled visible box and `amodal` the filled whole box, None where it is not
        known. Objects without any box are under `dropped`.
    """
    instances, dropped = [], list(annotations.dropped)
    for instance in annotations.instances:
        size_hw = annotations.image_by_id[instance.image_id].size_hw
        modal, amodal = (_filled(box, size_hw) for box in _boxes(instance, boxes_of))
        if modal is None and amodal is None:
            dropped.append(Dropped(instance.place, instance.id, instance.image_id, "no box"))
        else:
            instances.append(replace(instance, modal_mask=modal, amodal_mask=amodal))
    return replace(annotations, instances=instances, dropped=dropped)


def _boxes(instance: Instance, boxes_of: BoxesOf) -> tuple[Box | None, Box | None]:
    """Return the visible and the whole box."""
    if boxes_of == "file":
        return instance.modal_box_xywh, instance.amodal_box_xywh
    modal, amodal = (
        rle.box_xywh(mask) if mask is not None and rle.area_px(mask) else None
        for mask in (instance.modal, instance.amodal)
    )
    return modal, amodal


def _filled(box_xywh: Box | None, size_hw: tuple[int, int]) -> Mask | None:
    """Return the pixels of a box, at least one, cut to the photo."""
    if box_xywh is None:
        return None
    x, y, width, height = box_xywh
    frame = np.zeros(size_hw, dtype=bool)
    frame[_span(y, height, size_hw[0]), _span(x, width, size_hw[1])] = True
    return Mask(rle=rle.encode(frame))


def _span(start: float, length: float, limit: int) -> slice:
    first = min(max(round(start), 0), limit - 1)
    return slice(first, max(min(round(start + length), limit), first + 1))
