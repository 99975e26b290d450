"""Masks and stated boxes -> filled boxes, for models that learn from boxes alone.

A filled box is a mask like any other: it goes through the same files and the same transforms of MMDetection, and its
tight box is the box again. So nothing downstream has to know of boxes without masks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from ...data.records import AnnotationSet, Box, Dropped, Instance, Mask
from ...errors import DataError
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


def with_whole_boxes(filled: AnnotationSet, labels: AnnotationSet) -> AnnotationSet:
    """Give objects whose visible box alone is known the whole box of an earlier label.

    Args:
        filled: of `filled_boxes`.
        labels: whole masks, or masks, under the same annotation ids.

    Returns:
        The same objects. A whole box is the smallest around that of the label and the visible box; a whole box that was
        known, and objects without a label, stay as they are.

    Raises:
        DataError: no label is of an object, or one is of another photo than its object.
    """
    of_id = {i.id: (i, mask) for i in labels.instances if not i.is_crowd and (mask := i.amodal or i.modal)}
    instances = []
    for instance in filled.instances:
        visible = instance.modal
        if instance.id in of_id and visible is not None and instance.amodal is None:
            label, whole = of_id[instance.id]
            photo, of_label = filled.image_by_id[instance.image_id], labels.image_by_id[label.image_id]
            if (of_label.file_name, of_label.size_hw) != (photo.file_name, photo.size_hw):
                raise DataError(
                    f"{labels.path}: annotation {label.id}: expected the photo {photo.file_name} as in {filled.path}, "
                    f"got {of_label.file_name}; give labels that were made of the same annotations"
                )
            box = envelope_xywh(rle.box_xywh(visible), rle.box_xywh(whole)) if rle.area_px(whole) else None
            instance = replace(instance, amodal_mask=_filled(box, photo.size_hw))
        instances.append(instance)
    if filled.instances and not any(i.amodal for i in instances):
        raise DataError(
            f"{labels.path}: expected labels of the annotations of {filled.path}, got none with the same annotation id"
        )
    return replace(filled, instances=instances)


def envelope_xywh(first: Box, second: Box) -> Box:
    """Return the smallest box around two.

    >>> envelope_xywh((0, 2, 4, 4), (3, 0, 5, 5))
    (0, 0, 8, 6)
    """
    x, y = min(first[0], second[0]), min(first[1], second[1])
    right, bottom = (max(box[k] + box[k + 2] for box in (first, second)) for k in (0, 1))
    return x, y, right - x, bottom - y


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
