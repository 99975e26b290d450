"""What a detector found, as visible masks: the same object found twice counts once."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from ..data.records import AnnotationSet, Dropped, Instance
from ..masks import rle
from ..masks.rle import Rle

SAME_OBJECT_IOU = 0.9


def without_doubles(data: AnnotationSet, places: dict[int, str]) -> None:
    """Leave out detections that cover the same pixels as one of a higher score, of any class.

    Both would claim all pixels of the object, and each would seem to hide the other. Of equal scores the first stays.

    Args:
        data: its `instances` and `dropped` are changed.
        places: of instances by id, for the list of what is left out.
    """
    sizes = {photo.id: photo.size_hw for photo in data.images}
    groups: defaultdict[int, list[Instance]] = defaultdict(list)
    for instance in data.instances:
        if instance.modal_mask is not None and instance.score is not None and not instance.is_crowd:
            groups[instance.image_id].append(instance)
    doubles: dict[int, str] = {}
    for image_id, instances in groups.items():
        ranked = sorted(instances, key=lambda instance: -(instance.score or 0.0))
        masks = [instance.modal_mask.pixels(sizes[image_id]) for instance in ranked if instance.modal_mask]
        for double, kept, iou in _doubles(masks):
            doubles[ranked[double].id] = (
                f"second detection of one object: IoU {iou:.2f} with {places[ranked[kept].id]} of a higher score"
            )
    data.dropped += [
        Dropped(places[instance.id], instance.id, instance.image_id, doubles[instance.id])
        for instance in data.instances
        if instance.id in doubles
    ]
    data.instances = [instance for instance in data.instances if instance.id not in doubles]


def _doubles(masks: list[Rle]) -> list[tuple[int, int, float]]:
    """Return (double, the one kept, IoU) of masks in order of falling scores."""
    shared = rle.intersections_px(masks, masks)
    areas = rle.areas_px(masks)
    ious = shared / np.maximum(areas[:, None] + areas[None] - shared, 1)
    kept: list[int] = []
    found = []
    for index in range(len(masks)):
        same = [other for other in kept if ious[index, other] >= SAME_OBJECT_IOU]
        if same:
            found.append((index, same[0], float(ious[index, same[0]])))
        else:
            kept.append(index)
    return found
