"""What every converter reads into and writes from: photos, objects, categories, with outlines as they were drawn.

The pipeline's own readers (`amodalpl.data.read`) rasterise at once; a converter must not, because a polygon that comes
back as pixels is not what the user drew.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..masks.rle import Rle


@dataclass(frozen=True)
class Outline:
    """A mask as its file holds it: polygons, or pixels.

    Attributes:
        polygons: flat rings x0, y0, x1, y1, ... in pixels of the photo, pixel corners at whole numbers (the centre of
            the first pixel is 0.5, 0.5), whose union is the mask; empty when `rle` is given.
        rle: the mask in pixels, for formats that hold pixels; None when polygons are given.
    """

    polygons: tuple[tuple[float, ...], ...] = ()
    rle: Rle | None = None


@dataclass(frozen=True)
class Photo:
    """One photo.

    Attributes:
        id: positive, unique.
        file_name: relative to the folder of photos, with forward slashes; never absolute, never with `..`.
        size_hw: height, width in pixels.
        extra: other JSON values of the photo's entry, by key.
    """

    id: int
    file_name: str
    size_hw: tuple[int, int]
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Thing:
    """One annotated object.

    Attributes:
        id: positive, unique in the data set.
        image_id: of its photo.
        category_id: of its category.
        modal: visible part; None when the file has none.
        amodal: whole object; None when the file has none.
        is_crowd: a region of many objects.
        is_stuff: a region such as sky or floor.
        score: of a detection, 0 to 1; None for annotations.
        group: number that joins parts or members; None when there is none.
        extra: other JSON values of the entry, by key.
    """

    id: int
    image_id: int
    category_id: int
    modal: Outline | None
    amodal: Outline | None = None
    is_crowd: bool = False
    is_stuff: bool = False
    score: float | None = None
    group: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Category:
    """One class; `extra` holds what else its entry says, `supercategory` for one."""

    id: int
    name: str
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class DataSet:
    """All of it.

    Attributes:
        photos: in file order, also those without objects.
        things: in file order.
        categories: in file order.
        front_of: pairs of thing ids, front and back, that the file states.
        extra: other top-level JSON values (`info`, `licenses`).
        left_out: what could not be read: reasons ("kind" or "kind: detail"), each after its place in the file.
        images: folder that the photos' names start from; None when the reader knows none.
    """

    photos: list[Photo]
    things: list[Thing]
    categories: list[Category]
    front_of: list[tuple[int, int]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    images: Path | None = None

    def by_photo(self) -> dict[int, list[Thing]]:
        """Return the objects of each photo by its id, in file order; photos without objects have an empty list."""
        groups: dict[int, list[Thing]] = {photo.id: [] for photo in self.photos}
        for thing in self.things:
            groups[thing.image_id].append(thing)
        return groups


Losses = Counter[str]  # what a format could not hold, in words, and how many times
