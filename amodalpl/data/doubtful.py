"""What seems wrong with a data set as a whole, though every entry of it can be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..masks import rle
from ..masks.rle import Rle
from .records import AnnotationSet, Dropped, Instance

SAME_OBJECT_IOU = 0.9
MOSTLY = 0.5  # share of masks that fill their bounding box, from which a file has boxes only
LEAST_OBJECTS = 10  # of a file about whose kind of masks something can be said


def doubtful(data: AnnotationSet) -> list[str]:
    """List what a user should look at before going on."""
    found = list(data.doubts)
    if any(i.is_crowd for i in data.instances) and (why := data.odd_crowds):
        found.append(f"{why}: if they are single objects, convert with --crowds-are-objects")
    boxes = sum(_is_box(instance) for instance in data.instances)
    if boxes:
        found.append(f"{boxes} of {len(data.instances)} outlines are upright rectangles: boxes are no masks of objects")
    return found


def _is_box(instance: Instance) -> bool:
    """Tell whether an outline is an upright rectangle with four corners."""
    rings = instance.modal_mask.polygons if instance.modal_mask else ()
    if len(rings) != 1 or len(rings[0]) not in (8, 10):
        return False
    xs, ys = rings[0][::2], rings[0][1::2]
    return len(set(xs)) == len(set(ys)) == 2 and len({*zip(xs, ys, strict=True)}) == 4


def filling_their_box(masks: Sequence[Rle]) -> int:
    """Count masks that fill their bounding box."""
    return int((rle.boxes_xywh(masks)[:, 2:].prod(axis=1) == rle.areas_px(masks)).sum()) if masks else 0


def has_only_boxes(data: AnnotationSet) -> bool:
    """Tell whether nobody has drawn masks: there are none, or most of them are filled boxes."""
    masks = [mask for i in data.instances if not i.is_crowd and (mask := i.modal or i.amodal)]
    return not masks or (len(masks) >= LEAST_OBJECTS and filling_their_box(masks) >= MOSTLY * len(masks))


def boxes_warning(data: AnnotationSet) -> str:
    """Say that there is nothing to complete where masks are filled boxes; "" where they are masks."""
    if not has_only_boxes(data):
        return ""
    return (
        f"{data.path}: most masks fill their bounding box; boxes are no masks of objects, and completed ones mean "
        "nothing; `amodalpl check` says what learns from boxes"
    )


def merged(data: AnnotationSet) -> AnnotationSet:
    """Keep one of the objects of a photo that cover the same pixels: that of the highest score, else the first."""
    doubles: dict[int, Dropped] = {}
    for instances in data.by_image.values():
        ranked = sorted((i for i in instances if i.modal and not i.is_crowd), key=lambda i: -(i.score or 0.0))
        for double, kept, iou in same_object([mask for i in ranked if (mask := i.modal)]):
            one, other = ranked[double], ranked[kept]
            reason = f"second mask of one object: IoU {iou:.2f} with object {other.id}"
            doubles[one.id] = Dropped(one.place or f"object {one.id}", one.id, one.image_id, reason)
    return replace(
        data,
        instances=[instance for instance in data.instances if instance.id not in doubles],
        front_of=[pair for pair in data.front_of if doubles.keys().isdisjoint(pair)],
        dropped=[*data.dropped, *doubles.values()],
    )


def same_object(masks: Sequence[Rle]) -> Iterator[tuple[int, int, float]]:
    """Find masks of one photo that cover the same pixels as one before, without decoding any.

    Args:
        masks: in order of preference.

    Yields:
        (the double, the one before that is kept, IoU), where IoU is at least `SAME_OBJECT_IOU`.
    """
    areas, boxes = rle.areas_px(masks), rle.boxes_xywh(masks)
    ends = boxes[:, :2] + boxes[:, 2:]
    kept: list[int] = []
    for index in range(len(masks)):
        alike = np.minimum(areas[kept], areas[index]) >= SAME_OBJECT_IOU * np.maximum(areas[kept], areas[index])
        meet = np.minimum(ends[kept], ends[index]) > np.maximum(boxes[kept, :2], boxes[index, :2])
        for at in np.flatnonzero(alike & meet.all(axis=1)).tolist():
            shared = rle.intersection_px(masks[index], masks[kept[at]])
            iou = shared / (areas[index] + areas[kept[at]] - shared)
            if iou >= SAME_OBJECT_IOU:
                yield index, kept[at], float(iou)
                break
        else:
            kept.append(index)
