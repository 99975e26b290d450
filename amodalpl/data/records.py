"""What every reader returns, every stage takes and every writer writes: photos, instances, categories.

The only place where file formats meet the rest: whatever a file calls its masks, here they are
`modal` (the visible part; "inmodal" or "visible_mask" elsewhere) and `amodal` (the whole object).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..masks.rle import Rle
from .mask_parsing import read_masks

Ring = tuple[float, ...]  # x0, y0, x1, y1, ... in pixels, pixel corners at whole numbers
Box = tuple[float, float, float, float]  # x, y, width, height in pixels
_OF_PHOTO = {"id", "file_name", "height", "width"}


class LeftOut(Exception):
    """Why an entry cannot be read: "kind" or "kind: detail", counted by kind."""


def reason_kind(reason: str) -> str:
    """Return the part of a reason by which it is counted.

    >>> reason_kind("RLE of the wrong size: expected [2, 3], got [3, 2]")
    'RLE of the wrong size'
    """
    return reason.partition(":")[0]


@dataclass(frozen=True)
class Mask:
    """A mask as its file holds it, polygons or pixels; polygons become pixels when somebody asks.

    Attributes:
        polygons: rings in pixels of the photo (the centre of the first pixel is 0.5, 0.5), whose union is the mask;
            empty when `rle` is given.
        rle: the mask in pixels; None when polygons are given.
        size_hw: height and width of the photo, which polygons do not tell.
    """

    polygons: tuple[Ring, ...] = ()
    rle: Rle | None = None
    size_hw: tuple[int, int] | None = field(default=None, compare=False, repr=False)

    def pixels(self, size_hw: tuple[int, int] | None = None) -> Rle:
        """Return the mask in pixels of a photo.

        Args:
            size_hw: of the photo; the mask's own by default.

        Raises:
            LeftOut: polygons that cover none of its pixels.
        """
        if self.rle is not None:
            return self.rle
        size_hw = size_hw or self.size_hw
        assert size_hw, "polygons without a size: whoever reads them knows the photo"
        mask = read_masks([[list(ring) for ring in self.polygons]], [size_hw])[0]
        if isinstance(mask, str):
            raise LeftOut(mask)
        return mask


@dataclass(frozen=True)
class ImageRecord:
    """One photo.

    Attributes:
        id: the user's own id.
        file_name: path relative to the image folder, as the file has it.
        size_hw: (height, width) in pixels as the file states it.
        raw: the untouched entry, written back as it was; of a file without entries of photos, what else it says.
    """

    id: int
    file_name: str
    size_hw: tuple[int, int]
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def extra(self) -> dict[str, Any]:
        """What the entry says beside id, name and size."""
        return {key: value for key, value in self.raw.items() if key not in _OF_PHOTO}


@dataclass(frozen=True)
class Dropped:
    """An entry that could not become an instance, and why; listed in every stage's counts."""

    place: str
    annotation_id: int | None
    image_id: int | None
    reason: str


@dataclass(frozen=True)
class Instance:
    """One annotated object.

    Attributes:
        id: the user's own annotation id.
        image_id: of the photo it is in.
        category_id: the user's own category id.
        modal_mask: visible part, in the frame of the whole image; None when the file has none.
        amodal_mask: whole object, in the frame of the whole image; None for purely modal files.
        is_crowd: COCO's crowd flag: a region of many objects, never completed nor cut out.
        is_stuff: COCOA's flag for regions such as sky and floor.
        score: of a detection, 0 to 1; None for annotations.
        group: number that joins parts or members; None when there is none.
        extra: other JSON values of the entry, by key; kept where masks are read as drawn.
        place: where it stands in its file, for messages ("annotations[3]").
        modal_box_xywh: box of the visible part in pixels, as the file states it; None when it was not asked for.
        amodal_box_xywh: box of the whole object, likewise.
        uncertainty: mean doubt of a label about its hidden part, 0 to 1; None for annotations.
        occluders: ids of what a label says is in front of it.
    """

    id: int
    image_id: int
    category_id: int
    modal_mask: Mask | None = field(repr=False)
    amodal_mask: Mask | None = field(default=None, repr=False)
    is_crowd: bool = False
    is_stuff: bool = False
    score: float | None = None
    group: int | None = None
    extra: dict[str, Any] = field(default_factory=dict, repr=False)
    place: str = field(default="", compare=False)
    modal_box_xywh: Box | None = None
    amodal_box_xywh: Box | None = None
    uncertainty: float | None = None
    occluders: tuple[int, ...] = ()

    @property
    def modal(self) -> Rle | None:
        """The visible part in pixels."""
        return None if self.modal_mask is None else self.modal_mask.pixels()

    @property
    def amodal(self) -> Rle | None:
        """The whole object in pixels."""
        return None if self.amodal_mask is None else self.amodal_mask.pixels()

    def left_out(self, reason: str) -> Dropped:
        """Return why it is left out: "kind" or "kind: detail"."""
        return Dropped(self.place, self.id, self.image_id, reason)


@dataclass
class AnnotationSet:
    """A whole annotation file.

    Attributes:
        images: in file order, also those without instances.
        instances: in file order, crowd included.
        categories: entries with id and name; what else they say is carried over untouched.
        dropped: entries that were left out by the reader, each with a reason.
        mended: entries that were kept, but not quite as the file has them, each with what was done.
        front_of: pairs of annotation ids (front, back) that the file states (COCOA's `depth_constraint`).
        raw: top-level entries that are carried over (`info`, `licenses`).
        path: the file (or folder of records) it was read from.
        format: "coco", "cocoa", "kins", "kins2020" or "d2sa".
        odd_crowds: why regions marked as crowds seem to be single objects; "" when they do not.
        doubts: what else seems wrong with the whole, in words.
        turned: how photos with a note on how to turn them (EXIF) were taken, and how many.
        folder: of the photos, where their names start; None when the reader knows none.
    """

    images: list[ImageRecord]
    instances: list[Instance]
    categories: list[dict[str, Any]]
    dropped: list[Dropped] = field(default_factory=list)
    mended: list[Dropped] = field(default_factory=list)
    front_of: list[tuple[int, int]] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict, repr=False)
    path: Path = Path()
    format: str = ""
    odd_crowds: str = ""
    doubts: list[str] = field(default_factory=list)
    turned: dict[str, int] = field(default_factory=dict)
    folder: Path | None = None

    @cached_property
    def by_image(self) -> dict[int, list[Instance]]:
        """Instances per image id, in file order; images without instances have an empty list."""
        groups: dict[int, list[Instance]] = {image.id: [] for image in self.images}
        for instance in self.instances:
            groups.setdefault(instance.image_id, []).append(instance)
        return groups

    @cached_property
    def completable(self) -> dict[int, list[Instance]]:
        """The instances per image id that can be completed: those with a visible mask that are no crowd."""
        return {
            image_id: [i for i in instances if i.modal_mask is not None and not i.is_crowd]
            for image_id, instances in self.by_image.items()
        }

    def not_completable(self, image_id: int) -> list[Dropped]:
        """Return why the other instances of a photo are not: crowd regions first, then those without a visible mask."""
        crowds = [i.left_out("crowd region") for i in self.by_image[image_id] if i.is_crowd]
        bare = [i for i in self.by_image[image_id] if not i.is_crowd and i.modal_mask is None]
        return [*crowds, *(i.left_out("no modal mask") for i in bare)]

    @cached_property
    def image_by_id(self) -> dict[int, ImageRecord]:
        """Images by their id."""
        return {image.id: image for image in self.images}

    @cached_property
    def category_names(self) -> dict[int, str]:
        """Category names by id."""
        return {int(c["id"]): str(c.get("name", c["id"])) for c in self.categories}

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """Place and reason of what was dropped."""
        return [(entry.place, entry.reason) for entry in self.dropped]
