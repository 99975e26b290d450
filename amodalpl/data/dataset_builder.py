"""Puts a data set together while a file is read: photos and their sizes, classes, objects, and what is left out."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from ..errors import DataError
from ..io.images import image_path, image_size_hw
from ..masks import rle
from . import exif
from .coco_family import check_size
from .mask_parsing import MAX_COORDINATE_PX, brief
from .records import AnnotationSet, Dropped, ImageRecord, Instance, LeftOut, Mask

DECIMALS = 5  # of pixels, kept of coordinates that a file states as fractions, so that they come back as drawn
CORNERS_OF_A_CIRCLE = 72  # a circle of 100 px is off by a twentieth of a pixel


@dataclass(frozen=True)
class Canvas:
    """A photo while objects are put on it.

    Attributes:
        photo: with the size of its stored pixels.
        shown_hw: height and width of the frame that the objects were drawn in.
        turn: EXIF orientation that leads from the stored to the shown frame; 1 when both are one.
    """

    photo: ImageRecord
    shown_hw: tuple[int, int]
    turn: int = 1


class Builder:
    """Reads entry by entry; what cannot be read is left out with its place and a reason.

    Args:
        path: of the source, for messages.
        images: folder of the photos; None when it was not given.
        must_be_there: a photo that is not in `images` is left out; else the size that the file states is believed.
    """

    def __init__(self, path: Path, images: Path | None, must_be_there: bool = True) -> None:
        self.path, self.images = path, images
        self.data = AnnotationSet([], [], [], path=path, folder=images)
        self._must_be_there = must_be_there
        self._names: dict[str, str] = {}
        self._classes: dict[str, int] = {}

    @contextmanager
    def entry(self, place: str) -> Iterator[None]:
        """Read one entry: what raises `LeftOut` inside is listed, and reading goes on after it."""
        try:
            yield
        except LeftOut as reason:
            self.leave_out(place, str(reason))

    def leave_out(self, place: str, reason: str) -> None:
        """List what could not be read."""
        self.data.dropped.append(Dropped(place, None, None, reason))

    def photo(
        self,
        name: Any,
        place: str,
        stated_hw: tuple[int, int] | None = None,
        as_shown: bool = True,
        extra: dict[str, Any] | None = None,
        id: int | None = None,
    ) -> Canvas:
        """Add a photo.

        Args:
            name: as the file has it.
            place: of its entry.
            stated_hw: height and width that the file states; None when it states none.
            as_shown: the tool follows EXIF notes, so that sizes and coordinates are of the shown photo.
            extra: of `ImageRecord`.
            id: of `ImageRecord`; the next free number by default.

        Raises:
            LeftOut: a name outside the folder, a photo that is missing, taken, or of another size.
        """
        file_name = photo_name(name, self.images)
        if file_name in self._names:
            raise LeftOut(f"second entry of a photo: {file_name} was read from {self._names[file_name]}")
        stored_hw, shown_hw, turn = self._sizes(file_name, stated_hw, as_shown)
        photo = ImageRecord(len(self.data.images) + 1 if id is None else id, file_name, stored_hw, extra or {})
        self._names[file_name] = place
        self.data.images.append(photo)
        return Canvas(photo, shown_hw, turn)

    def _sizes(
        self, file_name: str, stated_hw: tuple[int, int] | None, as_shown: bool
    ) -> tuple[tuple[int, int], tuple[int, int], int]:
        """Return the stored size, the size objects were drawn in, and the turn between them."""
        path = None if self.images is None else image_path(self.images, file_name)
        if path is None or not os.path.isfile(path):
            if path is not None and self._must_be_there:
                raise LeftOut(f"missing photo: {file_name}")
            if stated_hw is None:
                raise LeftOut("photo of unknown size: the file states none; give the folder of photos with --images")
            try:
                check_size(self.path, file_name, stated_hw)
            except DataError as error:
                raise LeftOut(f"impossible size: {error}") from None
            return stated_hw, stated_hw, 1
        try:
            stored_hw = image_size_hw(path)
        except DataError as error:
            raise LeftOut(f"unreadable photo: {error}") from None
        if stated_hw == stored_hw and not as_shown:
            return stored_hw, stored_hw, 1
        turn = exif.orientation(path)
        shown_hw = exif.shown_size(stored_hw, turn)
        if stated_hw in (None, shown_hw):
            return stored_hw, shown_hw, turn
        if stated_hw == stored_hw:  # the tool does not follow the note
            return stored_hw, stored_hw, 1
        (h, w), (stated_h, stated_w) = stored_hw, stated_hw or (0, 0)
        raise LeftOut(
            f"size differs from the photo: expected {w} x {h} as {file_name} has, got {stated_w} x {stated_h}"
        )

    def category(self, name: Any) -> int:
        """Return the id of a class, which is added when it is new.

        Raises:
            LeftOut: no name.
        """
        if isinstance(name, int | float) and not isinstance(name, bool):
            name = str(name)
        if not isinstance(name, str) or not name.strip() or not is_text(name):
            raise LeftOut(f"object without a class: got {brief(name)}")
        if name not in self._classes:
            self._classes[name] = len(self._classes) + 1
            self.data.categories.append({"id": self._classes[name], "name": name})
        return self._classes[name]

    def add_categories(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add the classes of a file, whose ids were checked; letters that no file can hold become question marks."""
        for index, entry in enumerate(entries):
            name = str(entry.get("name", entry["id"]))
            plain = name.encode("utf-8", "replace").decode()
            if plain != name:
                self.leave_out(f"categories[{index}].name", f"letters that no file can hold: in {plain[:60]!r}")
            self.data.categories.append({**entry, "name": plain})

    def add(self, canvas: Canvas, category_id: int, outline: Mask, **fields: Any) -> int:
        """Add an object and return its id.

        Args:
            canvas: of its photo.
            category_id: of its class.
            outline: of its visible part, in the frame of the photo as it was shown.
            fields: other attributes of `Instance`.
        """
        modal = exif.stored(outline, canvas.photo.size_hw, canvas.turn)
        instance = Instance(len(self.data.instances) + 1, canvas.photo.id, category_id, modal, **fields)
        self.data.instances.append(instance)
        return instance.id

    def finish(self) -> AnnotationSet:
        """Return the data set.

        Raises:
            DataError: nothing could be read.
        """
        data = self.data
        for photo in data.images:
            self._make_storable(f"photo {photo.id}", photo.raw)
        for instance in data.instances:
            self._make_storable(f"object {instance.id}", instance.extra)
        for category in data.categories:
            self._make_storable(f"class {category['id']}", category)
        self._make_storable("the file", data.raw)
        if not data.images:
            first = ": ".join(data.left_out[0]) if data.dropped else "it names none"
            raise DataError(
                f"{self.path}: expected annotated photos, could read none of {len(data.dropped)} entries ({first})"
            )
        return data

    def _make_storable(self, place: str, extra: dict[str, Any]) -> None:
        """Replace carried values that no file can hold: NaN, infinity, broken text."""
        try:
            json.dumps(extra, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            bad = [key for key, value in extra.items() if _storable(value) != value or not is_text(key)]
            for key in bad:
                value = extra.pop(key)
                if is_text(key):
                    extra[key] = _storable(value)
            self.leave_out(place, f"value that no file can hold: of {brief(bad)}")


def on_photos(records: AnnotationSet, images: Path | None) -> AnnotationSet:
    """Bring a file in COCO's frame onto its photos: names and sizes are those of the files, masks of stored pixels.

    Args:
        records: the file, with masks as drawn.
        images: folder of the photos; None: what the file says of them is believed.

    Raises:
        DataError: none of the photos is there.
    """
    builder = Builder(records.path, images)
    data = builder.data
    data.raw, data.format = records.raw, records.format
    builder.add_categories(records.categories)
    canvases: dict[int, Canvas] = {}
    for index, image in enumerate(records.images):
        with builder.entry(place := f"images[{index}]"):
            canvases[image.id] = builder.photo(image.file_name, place, image.size_hw, False, image.extra, image.id)
    data.dropped += records.dropped
    for instance in records.instances:
        with builder.entry(instance.place):
            canvas = canvases.get(instance.image_id)
            if canvas is None:
                raise LeftOut(f"photo not read: expected the id of one of the images, got {instance.image_id}")
            data.instances.append(_as_stored(instance, canvas))
    kept = {instance.id for instance in data.instances}
    data.front_of = [pair for pair in records.front_of if kept.issuperset(pair)]
    return builder.finish()


def _as_stored(instance: Instance, canvas: Canvas) -> Instance:
    """Return an instance in the frame of the stored photo; a region of many objects has no whole."""
    whole = None if instance.is_crowd else instance.amodal_mask
    if canvas.turn == 1:
        return replace(instance, amodal_mask=whole)
    modal, amodal = (
        mask and exif.stored(mask, canvas.photo.size_hw, canvas.turn) for mask in (instance.modal_mask, whole)
    )
    extra = {key: value for key, value in instance.extra.items() if key not in ("bbox", "area")}
    return replace(instance, modal_mask=modal, amodal_mask=amodal, extra=extra)


def _storable(value: Any) -> Any:
    try:
        text = json.dumps(value, ensure_ascii=True)
    except RecursionError:
        return None
    plain = json.loads(text, parse_constant=lambda name: None)
    return json.loads(json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace"))


def is_text(name: str) -> bool:
    """Tell whether a name can be written as UTF-8, which names out of JSON or of files need not be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def photo_name(name: Any, images: Path | None) -> str:
    """Return a photo's name relative to the folder of photos, with forward slashes.

    Backslashes are those of Windows unless the folder has a file of that very name.

    Raises:
        LeftOut: no name, or one that leaves the folder, links followed.
    """
    if not isinstance(name, str) or not name:
        raise LeftOut(f"photo without a name: got {brief(name)}")
    if not is_text(name):
        raise LeftOut(f"photo whose name is no text: {name[:120]!r}")
    as_it_is = images is not None and "\\" in name and os.path.isfile(images / name)
    plain = name if as_it_is else name.replace("\\", "/")
    pure = PurePosixPath(plain)
    if pure.is_absolute() or ".." in pure.parts or "\0" in plain or PureWindowsPath(name).drive or not pure.parts:
        raise LeftOut(f"photo outside the folder: {name[:120]!r}")
    try:
        image_path(images if images is not None else Path("."), str(pure))
    except DataError:
        raise LeftOut(f"photo outside the folder: {name[:120]!r}") from None
    return str(pure)


def number(value: Any) -> float:
    """Return a coordinate.

    Raises:
        LeftOut: not a finite number within what photos can have.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_COORDINATE_PX:
        raise LeftOut(f"malformed outline: expected coordinates within {MAX_COORDINATE_PX} pixels, got {brief(value)}")
    return float(value)


def decimal(text: Any) -> float:
    """Return a coordinate that is written as text.

    Raises:
        LeftOut: as `number` does.
    """
    try:
        return number(float(text))
    except (TypeError, ValueError):
        raise LeftOut(f"malformed outline: expected a number, got {brief(text)}") from None


def ring(points: Any) -> tuple[float, ...]:
    """Return a polygon, flat, from a list of pairs x, y.

    Raises:
        LeftOut: not pairs of numbers, or fewer than 3.
    """
    if not isinstance(points, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in points):
        raise LeftOut(f"malformed outline: expected pairs of x and y, got {brief(points)}")
    if len(points) < 3:
        raise LeftOut(f"polygon with fewer than 3 points: got {len(points)}")
    return tuple(number(value) for point in points for value in point)


def rectangle(x: float, y: float, width: float, height: float, degrees: float = 0.0) -> tuple[float, ...]:
    """Return a box as a polygon, turned clockwise about its top left corner.

    >>> rectangle(1, 2, 3, 4)
    (1.0, 2.0, 4.0, 2.0, 4.0, 6.0, 1.0, 6.0)
    """
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64)
    return _placed(corners, x, y, degrees)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> tuple[float, ...]:
    """Return an ellipse around x, y as a polygon of `CORNERS_OF_A_CIRCLE` corners, turned clockwise about x, y."""
    angles = np.arange(CORNERS_OF_A_CIRCLE) * (2 * math.pi / CORNERS_OF_A_CIRCLE)
    corners = np.stack([radius_x * np.cos(angles), radius_y * np.sin(angles)], axis=1)
    return _placed(corners, x, y, degrees)


def _placed(corners: np.ndarray, x: float, y: float, degrees: float) -> tuple[float, ...]:
    if degrees:
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        corners = corners @ np.array([[cos, sin], [-sin, cos]])  # y points down, so this is clockwise to the eye
    return tuple(number(value) for value in (corners + (x, y)).ravel().tolist())


def join(outlines: Sequence[Mask], size_hw: tuple[int, int]) -> Mask:
    """Return the union of the parts of one object: polygons stay polygons unless a part is in pixels."""
    if len(outlines) == 1:
        return outlines[0]
    if all(outline.rle is None for outline in outlines):
        return Mask(tuple(part for outline in outlines for part in outline.polygons))
    return Mask(rle=rle.union(*(outline.pixels(size_hw) for outline in outlines)))


def crop_of_pixels(crop: np.ndarray, corner_xy: tuple[int, int], size_hw: tuple[int, int]) -> Mask:
    """Return a mask that is given as a crop.

    Args:
        crop: (h, w) bool.
        corner_xy: of its top left pixel in the photo.
        size_hw: of the photo.

    Raises:
        LeftOut: no true pixel in the photo.
    """
    mask = rle.encode_in_frame(crop, corner_xy, size_hw)
    if not rle.area_px(mask):
        raise LeftOut("empty mask: no pixel of it is in the photo")
    return Mask(rle=mask)
