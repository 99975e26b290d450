"""A small data set, with everything that formats differ over, and what tests compare of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from amodalpl.data.records import AnnotationSet, ImageRecord, Instance, Mask
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


def in_pixels(mask: np.ndarray) -> Mask:
    """Return a mask as an outline in pixels."""
    return Mask(rle=rle.encode(mask))


def data_set() -> AnnotationSet:
    """Return three photos, one in a folder with a hostile name, one empty; polygons, parts, pixels, groups, a crowd."""
    photos = [
        ImageRecord(1, "a.png", SIZE_HW),
        ImageRecord(2, "sub dir/ä & <b>.png", (30, 50)),
        ImageRecord(3, "empty.png", (8, 9)),
    ]
    things = [
        Instance(1, 1, 1, Mask((box(2.25, 3, 10, 8),)), extra={"attributes": {"colour": "red", "rank": 2}}),
        Instance(2, 1, 2, Mask((box(10, 5, 6, 6), box(20, 5, 4, 4)))),
        Instance(3, 1, 1, in_pixels(drawn((30, 10, 9, 9), (41, 20, 3, 2), holes=[(33, 12, 2, 3)]))),
        Instance(4, 1, 2, Mask((box(1, 30, 50, 8),)), is_crowd=True),
        Instance(5, 2, 1, Mask((box(5, 5, 5, 5),)), group=7, extra={"attributes": {"occluded": True}}),
        Instance(6, 2, 2, Mask((box(20, 5, 5, 5),)), group=7),
    ]
    return AnnotationSet(photos, things, [{"id": 1, "name": "cup"}, {"id": 2, "name": "Ωdog & <i>"}])


def write_photos(folder: Path, data: AnnotationSet) -> Path:
    """Draw the photos of a data set, all black, and return their folder."""
    for photo in data.images:
        path = folder / photo.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*photo.size_hw, 3), dtype=np.uint8)).save(path)
    return folder


def described(data: AnnotationSet, *fields: str, pixels_only: bool = False) -> list[tuple[Any, ...]]:
    """Return what should survive, without ids: photo, class, outline and some fields of every object, in order."""
    photos = {photo.id: photo for photo in data.images}
    names = {category["id"]: category["name"] for category in data.categories}
    rows = []
    for thing in data.instances:
        photo = photos[thing.image_id]
        outline = Mask(rle=thing.modal_mask.pixels(photo.size_hw)) if pixels_only else thing.modal_mask
        rows.append((photo.file_name, names[thing.category_id], outline, *(getattr(thing, name) for name in fields)))
    return rows
