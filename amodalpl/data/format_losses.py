"""Counts of what a format cannot hold, in the same words for every format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ..masks.rle import Rle
from .mask_tracing import one_ring
from .records import AnnotationSet, ImageRecord, Instance, LeftOut, Mask, Ring

UnsupportedFields = Counter[str]  # what a format could not hold, in words, and how many times

_DERIVED = {"bbox", "area"}  # these follow from masks
_COUNTS: dict[str, Callable[[AnnotationSet], int]] = {
    "whole masks (amodal)": lambda data: sum(instance.amodal_mask is not None for instance in data.instances),
    "visible masks": lambda data: sum(instance.modal_mask is not None for instance in data.instances),
    "stuff marks": lambda data: sum(instance.is_stuff for instance in data.instances),
    "scores": lambda data: sum(instance.score is not None for instance in data.instances),
    "groups": lambda data: len({instance.group for instance in data.instances} - {None}),
    "order in depth, pairs": lambda data: len(data.front_of),
    "other keys of objects": lambda data: sum(len(instance.extra.keys() - _DERIVED) for instance in data.instances),
    "other keys of photos": lambda data: sum(len(photo.extra) for photo in data.images),
    "other keys of classes": lambda data: sum(len(category.keys() - {"id", "name"}) for category in data.categories),
    "other keys of the file": lambda data: len(data.raw),
    "classes without objects": lambda data: len(
        {category["id"] for category in data.categories} - {instance.category_id for instance in data.instances}
    ),
    "photos without objects": lambda data: len(
        {photo.id for photo in data.images} - {instance.image_id for instance in data.instances}
    ),
    "ids of objects": lambda data: sum(instance.id != number for number, instance in enumerate(data.instances, 1)),
    "ids of photos": lambda data: sum(photo.id != number for number, photo in enumerate(data.images, 1)),
    "ids of classes": lambda data: sum(category["id"] != number for number, category in enumerate(data.categories, 1)),
}


def unsupported_fields(data: AnnotationSet, *parts: str) -> UnsupportedFields:
    """Count parts of a data set that a format has no place for.

    Args:
        data: what is to be written.
        parts: keys of the table above, as `<format>.losses.json` tells them.

    >>> dict(unsupported_fields(AnnotationSet([], [], [], front_of=[(1, 2)]), "scores", "order in depth, pairs"))
    {'order in depth, pairs': 1}
    """
    return +UnsupportedFields({part: _COUNTS[part](data) for part in parts})


def visible_part(instance: Instance, losses: UnsupportedFields) -> Mask | None:
    """Return the visible mask of an object, for formats that know no crowds; None, and counted, where it has none."""
    if instance.modal_mask is None:
        losses["objects without a visible mask"] += 1
    elif instance.is_crowd:  # it would become an object
        losses["crowd regions"] += 1
    else:
        return instance.modal_mask
    return None


def as_one_ring(mask: Mask, size_hw: tuple[int, int], losses: UnsupportedFields) -> Ring:
    """Return a mask as one polygon, for formats that allow no more; what that changes is counted."""
    losses["masks in pixels, as polygons along pixels"] += mask.rle is not None
    losses["objects of several polygons, joined by slits"] += len(mask.polygons) > 1
    return one_ring(mask, size_hw)


def visible_pixels(instance: Instance, photo: ImageRecord, losses: UnsupportedFields) -> Rle | None:
    """Return the pixels of a visible part, for formats of pixels that know no crowds; None when it has none.

    Args:
        instance: of the photo.
        photo: says the size.
        losses: what is left out, or drawn otherwise, is added to it.
    """
    mask = visible_part(instance, losses)
    if mask is None:
        return None
    try:
        pixels = mask.pixels(photo.size_hw)
    except LeftOut:
        losses["objects whose mask covers no pixel of the photo"] += 1
        return None
    losses["objects drawn as polygons, now pixels"] += bool(mask.polygons)
    return pixels
