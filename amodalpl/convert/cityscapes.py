"""Cityscapes (Cordts et al. 2016): `*_gtFine_polygons.json` per photo, else `*_gtFine_instanceIds.png`.

Polygons lie on top of one another: each hides what is before it in the list, however far that was drawn on beneath. The
visible mask is therefore what later polygons leave (the polygon itself, as drawn, where they leave all), and a polygon
that covers part of another is in front of it. A `...group` is a crowd. Classes without instances (road, sky) are stuff.

Points are corners of pixels here, and a pixel belongs to a polygon that covers its centre; the official PNG files are
drawn by Pillow, which also takes the pixels that the outline passes through.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset_builder import Builder, Canvas, DrawnOn, is_text
from ..data.mask_parsing import as_number, brief
from ..data.outlines import ring
from ..data.records import AnnotationSet, LeftOut, Mask
from ..data.source import Source, files_below
from ..errors import DataError
from ..masks import boxed, rle
from ..masks.boxed import BoxedMask
from ..masks.rle import Rle
from .shared.file_per_photo import json_of
from .shared.numbers_png import read_numbers
from .shared.photo_folder import PhotoFolder

POLYGONS, INSTANCES = "_polygons.json", "_instanceIds.png"
_PHOTO = "_leftImg8bit"
_GROUP = "group"
_PER_CLASS = 1000  # instanceIds.png: class * 1000 + number; below 1000 the class alone
_CLASSES = {
    name: number
    for number, name in enumerate(
        "unlabeled, ego vehicle, rectification border, out of roi, static, dynamic, ground, road, sidewalk, parking, "
        "rail track, building, wall, fence, guard rail, bridge, tunnel, pole, polegroup, traffic light, traffic sign, "
        "vegetation, terrain, sky, person, rider, car, truck, bus, caravan, trailer, train, motorcycle, bicycle".split(
            ", "
        )
    )
}
_NAMES = {number: name for name, number in _CLASSES.items()}
_NOTHING = {"unlabeled", "ego vehicle", "rectification border", "out of roi"}
_NOT_DRAWN = "license plate"  # a part of its car, which hides nothing in the official PNG files either
_STUFF = {
    *(name for name, number in _CLASSES.items() if 4 <= number <= 16), "vegetation", "terrain", "sky", "polegroup",
}  # fmt: skip


def detect(source: Source) -> bool:
    """Tell by the names of the files, and what those of polygons begin with: other tools' files may be called so."""
    if source.path.is_dir():
        return any(map(_is_polygons, source.some(POLYGONS))) or bool(source.some(INSTANCES.lower()))
    return source.path.name.endswith(INSTANCES) or (source.path.name.endswith(POLYGONS) and _is_polygons(source.path))


def _is_polygons(file: Path) -> bool:
    return b'"imgHeight"' in (head := Source(file).head) or b'"objects"' in head


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a folder such as `gtFine/train`.

    Args:
        path: the folder, or one of its files.
        images: the folder of photos such as `leftImg8bit/train`; without it photos are named as Cityscapes does, and
            sizes are believed.
        drawn_on: of `Builder`.

    Raises:
        DataError: none of these files, or none of the photos there.
    """
    folder = path if path.is_dir() else path.parent
    files = [path] if not path.is_dir() else [*files_below(path, POLYGONS), *files_below(path, INSTANCES.lower())]
    if not files:
        raise DataError(f"{path}: expected files *{POLYGONS} or *{INSTANCES}, found none; check the path")
    photos = None if images is None else PhotoFolder(images, path, files)
    builder = _Builder(path, images, drawn_on=drawn_on)
    done: set[str] = set()
    for file in files:
        name = file.relative_to(folder).as_posix()
        frame = name[: -len(POLYGONS if name.endswith(POLYGONS) else INSTANCES)]
        if frame in done:  # its polygons were read
            continue
        done.add(frame)
        with builder.entry(name):
            stem = _stem(frame)
            photo = f"{stem}.png" if photos is None else photos.named(stem)
            if name.endswith(POLYGONS):
                _read_polygons(builder, file, name, photo)
            else:
                _read_instances(builder, folder, name, photo)
    data = builder.finish()
    data.categories.sort(key=lambda category: int(category["id"]))
    return data


def _stem(frame: str) -> str:
    """Return the photo's name: `aachen/aachen_000000_000019_gtFine` is of `..._000019_leftImg8bit`."""
    for kind in ("_gtFine", "_gtCoarse"):
        if frame.endswith(kind):
            return frame.removesuffix(kind) + _PHOTO
    return frame


class _Builder(Builder):
    """Classes have the numbers of Cityscapes; others follow."""

    def category(self, name: Any) -> int:
        if isinstance(name, str) and name.strip() and is_text(name) and name not in self._classes:
            number = _CLASSES.get(name) or max([len(_CLASSES) - 1, *self._classes.values()]) + 1
            self._classes[name] = number
            self.data.categories.append({"id": number, "name": name})
        return super().category(name)

    def put(self, canvas: Canvas, label: str, is_crowd: bool, modal: Mask, place: str) -> int:
        """Add an object of a class, and return its id."""
        if label in _NOTHING:
            raise LeftOut(f"region without an object: {label}")
        return self.add(canvas, self.category(label), modal, is_crowd=is_crowd, is_stuff=label in _STUFF)


def _class(label: str) -> tuple[str, bool]:
    """Return the class of a label, and whether it is of a group: `cargroup` is several cars, `polegroup` a class."""
    if label not in _CLASSES and label.endswith(_GROUP) and len(label) > len(_GROUP):
        return label.removesuffix(_GROUP), True
    return label, False


def _read_polygons(builder: _Builder, file: Path, name: str, photo: str) -> None:
    data = json_of(file)
    if not isinstance(data, dict) or not isinstance(data.get("objects"), list):
        raise LeftOut(f"not polygons of Cityscapes: expected imgHeight, imgWidth and objects, got {brief(data)}")
    height, width = as_number(data.get("imgHeight")), as_number(data.get("imgWidth"))
    if type(height) is not int or type(width) is not int:
        raise LeftOut(f"photo of unknown size: expected imgHeight and imgWidth, got {brief(height)} and {brief(width)}")
    canvas = builder.photo(photo, name, (height, width))
    drawn: list[tuple[str, str, Mask, Rle]] = []  # place, label, outline, mask: bottom first
    for index, entry in enumerate(data["objects"]):
        place = f"{name}: objects[{index}]"
        with builder.entry(place):
            label = entry.get("label") if isinstance(entry, Mapping) else None
            if not isinstance(label, str) or not label.strip():
                raise LeftOut(f"object without a class: got {brief(label)}")
            if entry.get("deleted") or label == _NOT_DRAWN:
                raise LeftOut("deleted object" if entry.get("deleted") else f"region without an object: {label}")
            outline = Mask((ring(entry.get("polygon")),))
            drawn.append((place, label, outline, outline.pixels(canvas.shown_hw)))
    above = np.zeros(canvas.shown_hw, dtype=bool)
    visible: list[Mask | None] = []
    for _, _, outline, mask in reversed(drawn):
        own = boxed.decode(mask)
        left = BoxedMask.cut(own.crop & ~above[own.window], own.box_xywh[:2], own.size_hw)
        is_covered = left.area_px < own.area_px
        visible.append(None if not left.any() else Mask(rle=left.encode()) if is_covered else outline)
        own.add_to(above)
    numbers: dict[int, int] = {}  # position in `drawn` to id
    for at, ((place, label, _, _), modal) in enumerate(zip(drawn, reversed(visible), strict=True)):
        with builder.entry(place):
            if modal is None:
                raise LeftOut("fully hidden: later polygons cover it")
            numbers[at] = builder.put(canvas, *_class(label), modal, place)
    masks = [mask for _, _, _, mask in drawn]
    shared = rle.intersections_px(masks, masks)
    builder.data.front_of += [
        (numbers[front], numbers[back])
        for front, back in np.argwhere(np.tril(shared, -1)).tolist()
        if front in numbers and back in numbers
    ]


def _read_instances(builder: _Builder, folder: Path, name: str, photo: str) -> None:
    numbers = read_numbers(folder, name)
    canvas = builder.photo(photo, name, (numbers.shape[0], numbers.shape[1]))
    for value in np.unique(numbers).tolist():
        place = f"{name}: value {value}"
        with builder.entry(place):
            number = value // _PER_CLASS if value >= _PER_CLASS else value
            if number not in _NAMES:
                raise LeftOut(f"value without a class: expected class * {_PER_CLASS} + number, got {value}")
            label = _NAMES[number]
            several = value < _PER_CLASS and label not in _STUFF
            builder.put(canvas, label, several, Mask(rle=rle.encode(numbers == value)), place)
