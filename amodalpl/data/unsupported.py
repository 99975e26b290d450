"""Counts of what a format cannot hold, in the same words for every format."""

from __future__ import annotations

from collections.abc import Callable

from ..masks.rle import Rle
from .dataset_builder import LeftOut, pixels
from .hub import DataSet, Losses, Photo, Thing

_DERIVED = {"bbox", "area"}  # these follow from masks
_COUNTS: dict[str, Callable[[DataSet], int]] = {
    "whole masks (amodal)": lambda data: sum(thing.amodal is not None for thing in data.things),
    "visible masks": lambda data: sum(thing.modal is not None for thing in data.things),
    "stuff marks": lambda data: sum(thing.is_stuff for thing in data.things),
    "scores": lambda data: sum(thing.score is not None for thing in data.things),
    "groups": lambda data: len({thing.group for thing in data.things} - {None}),
    "order in depth, pairs": lambda data: len(data.front_of),
    "other keys of objects": lambda data: sum(len(thing.extra.keys() - _DERIVED) for thing in data.things),
    "other keys of photos": lambda data: sum(len(photo.extra) for photo in data.photos),
    "other keys of classes": lambda data: sum(len(category.extra) for category in data.categories),
    "other keys of the file": lambda data: len(data.extra),
    "classes without objects": lambda data: len(
        {category.id for category in data.categories} - {thing.category_id for thing in data.things}
    ),
    "photos without objects": lambda data: len(
        {photo.id for photo in data.photos} - {thing.image_id for thing in data.things}
    ),
    "ids of objects": lambda data: sum(thing.id != number for number, thing in enumerate(data.things, 1)),
    "ids of photos": lambda data: sum(photo.id != number for number, photo in enumerate(data.photos, 1)),
    "ids of classes": lambda data: sum(category.id != number for number, category in enumerate(data.categories, 1)),
}


def unheld(data: DataSet, *parts: str) -> Losses:
    """Count parts of a data set that a format has no place for.

    Args:
        data: what is to be written.
        parts: keys of the table above, as `<format>.losses.json` tells them.

    >>> dict(unheld(DataSet([], [], [], front_of=[(1, 2)]), "scores", "order in depth, pairs"))
    {'order in depth, pairs': 1}
    """
    return +Losses({part: _COUNTS[part](data) for part in parts})


def visible_pixels(thing: Thing, photo: Photo, losses: Losses) -> Rle | None:
    """Return the pixels of a visible part, for formats of pixels that know no crowds; None when it has none.

    Args:
        thing: of the photo.
        photo: says the size.
        losses: what is left out, or drawn otherwise, is added to it.
    """
    if thing.is_crowd:  # it would become an object
        losses["crowd regions"] += 1
        return None
    if thing.modal is None:
        losses["objects without a visible mask"] += 1
        return None
    try:
        mask = pixels(thing.modal, photo.size_hw)
    except LeftOut:
        losses["objects whose mask covers no pixel of the photo"] += 1
        return None
    losses["objects drawn as polygons, now pixels"] += bool(thing.modal.polygons)
    return mask
