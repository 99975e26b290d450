"""What a detector found, as visible masks: the same object found twice counts once."""

from __future__ import annotations

from collections import defaultdict

from ...data.doubtful import same_object
from ...data.records import AnnotationSet, Dropped, Instance


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
        for double, kept, iou in same_object(masks):
            doubles[ranked[double].id] = (
                f"second detection of one object: IoU {iou:.2f} with {places[ranked[kept].id]} of a higher score"
            )
    data.dropped += [
        Dropped(places[instance.id], instance.id, instance.image_id, doubles[instance.id])
        for instance in data.instances
        if instance.id in doubles
    ]
    data.instances = [instance for instance in data.instances if instance.id not in doubles]
