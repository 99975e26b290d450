"""A small data set in the converters' hub, with everything that formats differ over, and what tests compare of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from amodalpl.data.dataset_builder import pixels
from amodalpl.data.hub import Category, DataSet, Outline, Photo, Thing
from amodalpl.masks import rle

SIZE_HW = (40, 60)


def box(x: float, y: float, w: float, h: float) -> tuple[float, ...]:
    """Return a rectangle as a flat polygon."""
    return tuple(float(v) for v in (x, y, x + w, y, x + w, y + h, x, y + h))


def drawn(*boxes: tuple[int, int, int, int], holes=(), size_hw=SIZE_HW) -> np.ndarray:
    """Return a mask that is true in boxes x, y, w, h and false in holes."""
    mask = np.zeros(size_hw, dtype=bool)
    for value, rectangles in ((True, boxes), (False, holes)):
        for x, y, w, h in rectangles:
            mask[y : y + h, x : x + w] = value
    return mask


def in_pixels(mask: np.ndarray) -> Outline:
    """Return a mask as an outline in pixels."""
    return Outline(rle=rle.encode(mask))


def data_set() -> DataSet:
    """Return three photos, one in a folder with a hostile name, one empty; polygons, parts, pixels, groups, a crowd."""
    photos = [Photo(1, "a.png", SIZE_HW), Photo(2, "sub dir/ä & <b>.png", (30, 50)), Photo(3, "empty.png", (8, 9))]
    things = [
        Thing(1, 1, 1, Outline((box(2.25, 3, 10, 8),)), extra={"attributes": {"colour": "red", "rank": 2}}),
        Thing(2, 1, 2, Outline((box(10, 5, 6, 6), box(20, 5, 4, 4)))),
        Thing(3, 1, 1, in_pixels(drawn((30, 10, 9, 9), (41, 20, 3, 2), holes=[(33, 12, 2, 3)]))),
        Thing(4, 1, 2, Outline((box(1, 30, 50, 8),)), is_crowd=True),
        Thing(5, 2, 1, Outline((box(5, 5, 5, 5),)), group=7, extra={"attributes": {"occluded": True}}),
        Thing(6, 2, 2, Outline((box(20, 5, 5, 5),)), group=7),
    ]
    return DataSet(photos, things, [Category(1, "cup"), Category(2, "Ωdog & <i>")])


def write_photos(folder: Path, data: DataSet) -> Path:
    """Draw the photos of a data set, all black, and return their folder."""
    for photo in data.photos:
        path = folder / photo.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*photo.size_hw, 3), dtype=np.uint8)).save(path)
    return folder


def described(data: DataSet, *fields: str, pixels_only: bool = False) -> list[tuple[Any, ...]]:
    """Return what should survive, without ids: photo, class, outline and some fields of every object, in order."""
    photos = {photo.id: photo for photo in data.photos}
    names = {category.id: category.name for category in data.categories}
    rows = []
    for thing in data.things:
        photo = photos[thing.image_id]
        outline = Outline(rle=pixels(thing.modal, photo.size_hw)) if pixels_only else thing.modal
        rows.append((photo.file_name, names[thing.category_id], outline, *(getattr(thing, name) for name in fields)))
    return rows
