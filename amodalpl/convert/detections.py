"""What a detector found, as visible masks: the same object found twice counts once."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from ..data.dataset_builder import pixels
from ..data.hub import DataSet, Thing
from ..masks import rle
from ..masks.rle import Rle

SAME_OBJECT_IOU = 0.9


def without_doubles(data: DataSet, places: dict[int, str]) -> None:
    """Leave out detections that cover the same pixels as one of a higher score, of any class.

    Both would claim all pixels of the object, and each would seem to hide the other. Of equal scores the first stays.

    Args:
        data: its `things` and `left_out` are changed.
        places: of things by id, for the list of what is left out.
    """
    sizes = {photo.id: photo.size_hw for photo in data.photos}
    groups: defaultdict[int, list[Thing]] = defaultdict(list)
    for thing in data.things:
        if thing.modal is not None and thing.score is not None and not thing.is_crowd:
            groups[thing.image_id].append(thing)
    doubles: dict[int, str] = {}
    for image_id, things in groups.items():
        ranked = sorted(things, key=lambda thing: -(thing.score or 0.0))
        masks = [pixels(thing.modal, sizes[image_id]) for thing in ranked if thing.modal]
        for double, kept, iou in _doubles(masks):
            doubles[ranked[double].id] = (
                f"second detection of one object: IoU {iou:.2f} with {places[ranked[kept].id]} of a higher score"
            )
    data.left_out += [(places[thing.id], doubles[thing.id]) for thing in data.things if thing.id in doubles]
    data.things = [thing for thing in data.things if thing.id not in doubles]


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
