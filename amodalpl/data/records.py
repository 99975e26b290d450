"""What every reader returns and every stage takes: photos, instances, categories.

The only place where file formats meet the rest: whatever a file calls its masks, here they are
`modal` (the visible part; "inmodal" or "visible_mask" elsewhere) and `amodal` (the whole object).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..masks.rle import Rle


@dataclass(frozen=True)
class ImageRecord:
    """One photo.

    Attributes:
        id: the user's own id.
        file_name: path relative to the image folder, as the file has it.
        size_hw: (height, width) in pixels as the file states it.
        raw: the untouched entry, written back as it was.
    """

    id: int
    file_name: str
    size_hw: tuple[int, int]
    raw: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Instance:
    """One annotated object.

    Attributes:
        id: the user's own annotation id.
        image_id: of the photo it is in.
        category_id: the user's own category id.
        modal: visible part, in the frame of the whole image; None when the file has none.
        amodal: whole object, in the frame of the whole image; None for purely modal files.
        is_crowd: COCO's crowd flag: a region of many objects, never completed nor cut out.
        is_stuff: COCOA's flag for regions such as sky and floor.
        place: where it stands in its file, for messages ("annotations[3]").
    """

    id: int
    image_id: int
    category_id: int
    modal: Rle | None = field(repr=False)
    amodal: Rle | None = field(default=None, repr=False)
    is_crowd: bool = False
    is_stuff: bool = False
    place: str = ""


@dataclass(frozen=True)
class Dropped:
    """An entry that could not become an instance, and why; listed in every stage's counts."""

    place: str
    annotation_id: int | None
    image_id: int | None
    reason: str


@dataclass
class AnnotationSet:
    """A whole annotation file.

    Attributes:
        path: the file (or folder of records) it was read from.
        format: "coco", "cocoa", "kins", "kins2020" or "d2sa".
        images: in file order.
        instances: in file order, crowd included.
        categories: raw category entries, carried over untouched.
        dropped: entries that were left out by the reader, each with a reason.
        front_of: pairs of annotation ids (front, back) that the file states (COCOA's `depth_constraint`).
        raw: top-level entries that are carried over to label files (`info`, `licenses`).
    """

    path: Path
    format: str
    images: list[ImageRecord]
    instances: list[Instance]
    categories: list[dict[str, Any]]
    dropped: list[Dropped] = field(default_factory=list)
    front_of: list[tuple[int, int]] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def by_image(self) -> dict[int, list[Instance]]:
        """Instances per image id, in file order; images without instances have an empty list."""
        groups: dict[int, list[Instance]] = {image.id: [] for image in self.images}
        for instance in self.instances:
            groups.setdefault(instance.image_id, []).append(instance)
        return groups

    @cached_property
    def image_by_id(self) -> dict[int, ImageRecord]:
        """Images by their id."""
        return {image.id: image for image in self.images}

    @cached_property
    def category_names(self) -> dict[int, str]:
        """Category names by id."""
        return {int(c["id"]): str(c.get("name", c["id"])) for c in self.categories}
