"""Darwin JSON of V7: one file per photo, version 2.0 and the older 1.0.

Coordinates are pixels with their corners at whole numbers. Several paths of one polygon are its pieces and holes: where
they overlap, an even number of paths is outside. Brush masks share one raster, `raster_layer`, in which each pixel has
one owner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..data.dataset_builder import Builder, Canvas, DrawnOn
from ..data.mask_parsing import brief, stated_size_hw
from ..data.outlines import ellipse, number, rectangle, ring
from ..data.records import AnnotationSet, LeftOut, Mask
from ..data.source import Source
from ..masks import boxed, rle
from ..masks.boxed import BoxedMask, common_window
from .shared.file_per_photo import files_of, json_of, read_each

_NOT_AREAS = ("tag", "line", "keypoint", "skeleton", "directional_vector", "cuboid", "string", "graph", "link", "table")
_LAYER = "raster_layer"
MOST_RUN = 2**28


def detect(source: Source) -> bool:
    """Tell by the photo's entry and the annotations, in a file or any in a folder."""
    return any(_is_darwin(data) for data in (source.data, *source.some_data))


def _is_darwin(data: Any) -> bool:
    if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
        return False
    item, image = data.get("item"), data.get("image")
    of_version_1 = isinstance(image, dict) and ("filename" in image or "original_filename" in image)
    return (isinstance(item, dict) and "name" in item) or of_version_1


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a folder of Darwin files, or one.

    Args:
        path: the folder, searched in depth, or a single file.
        images: folder of the photos; files of version 2.0 without slots state no sizes, so that it is needed.
        drawn_on: of `Builder`.

    Raises:
        DataError: nothing there, or nothing that can be read.
    """
    files = files_of(path, ".json", "Darwin")
    return read_each(Builder(path, images, drawn_on=drawn_on), files, _read_file)


def _read_file(builder: Builder, file: Path, place: str) -> None:
    raw = json_of(file)
    if not _is_darwin(raw):
        raise LeftOut("not a Darwin file: expected the keys item (or image) and annotations")
    name, stated_hw, slot = _photo(raw)
    canvas = builder.photo(name, place, stated_hw)
    layers = [layer for entry in raw["annotations"] if isinstance(entry, dict) if (layer := entry.get(_LAYER))]
    painted: dict[str, Mask] = {}
    for layer in layers:
        with builder.entry(f"{place}: {_LAYER}"):
            painted |= _painted(layer, canvas)
    for index, entry in enumerate(raw["annotations"]):
        with builder.entry(f"{place}: annotations[{index}]"):
            if not isinstance(entry, dict):
                raise LeftOut(f"not an annotation: got {brief(entry)}")
            slots = entry.get("slot_names")
            if slot is not None and isinstance(slots, list) and slots and slot not in slots:
                raise LeftOut(f"of another slot: expected {brief(slot)}, got {brief(slots)}")
            if _LAYER not in entry:
                _add(builder, canvas, entry, painted, f"{place}: annotations[{index}]")


def _photo(raw: Mapping[str, Any]) -> tuple[Any, tuple[int, int] | None, Any]:
    """Return name, stated height and width, and the slot that holds the photo (None: there are no slots)."""
    item = raw.get("item")
    if not isinstance(item, dict):
        image = raw["image"]
        name, folder = image.get("original_filename") or image.get("filename"), image.get("path")
        return _in_folder(folder, name), stated_size_hw(image.get("height"), image.get("width")), None
    slots = item.get("slots")
    first = slots[0] if isinstance(slots, list) and slots and isinstance(slots[0], dict) else {}
    if first.get("type", "image") != "image":
        raise LeftOut(f"not a photo: expected a slot of type image, got {brief(first.get('type'))}")
    stated_hw = stated_size_hw(first.get("height"), first.get("width"))
    return _in_folder(item.get("path"), item.get("name")), stated_hw, first.get("slot_name")


def _in_folder(folder: Any, name: Any) -> Any:
    """Return a photo's name with the folder that the tool shows it in, which starts with a slash."""
    inside = folder.strip("/") if isinstance(folder, str) else ""
    return str(PurePosixPath(inside) / name) if inside and isinstance(name, str) and name else name


def _add(builder: Builder, canvas: Canvas, entry: Mapping[str, Any], painted: Mapping[str, Mask], place: str) -> None:
    if "frames" in entry:
        raise LeftOut("not of a photo: got frames of a video")
    outline, bad = _outline(entry, canvas, painted)
    if bad:
        builder.mend(place, f"bad part of a mask: {bad[0]}")
    names = entry.get("attributes")
    attributes = {name: True for name in names if isinstance(name, str)} if isinstance(names, list) else {}
    extra = {"attributes": attributes} if attributes else {}
    builder.add(canvas, builder.category(entry.get("name")), outline, extra=extra)


def _outline(entry: Mapping[str, Any], canvas: Canvas, painted: Mapping[str, Mask]) -> tuple[Mask, list[str]]:
    """Return an outline, and what is wrong with parts of it that were left out."""
    if "mask" in entry:
        mask = painted.get(str(entry.get("id")))
        if mask is None:
            raise LeftOut(f"empty mask: no pixel of {_LAYER} is of it")
        return mask, []
    polygon = entry.get("polygon", entry.get("complex_polygon"))
    if isinstance(polygon, dict):
        return _even_odd(_paths(polygon), canvas.shown_hw)
    if isinstance(shape := entry.get("ellipse"), dict):
        (x, y), (radius_x, radius_y) = _points([shape.get("center"), shape.get("radius")])
        turn = math.degrees(number(shape.get("angle", 0)))
        return Mask((ellipse(number(x), number(y), number(radius_x), number(radius_y), turn),)), []
    if kind := next((kind for kind in _NOT_AREAS if kind in entry), ""):
        raise LeftOut(f"not an area: {kind}")
    if isinstance(box := entry.get("bounding_box"), dict):
        return Mask((rectangle(*(number(box.get(key)) for key in ("x", "y", "w", "h"))),)), []
    raise LeftOut(f"unknown kind of annotation: got {brief(sorted(map(str, entry)))}")


def _paths(polygon: Mapping[str, Any]) -> list[Any]:
    """Return the paths of a polygon, however a version spells them."""
    paths = polygon.get("paths")
    if paths is None:
        path, more = polygon.get("path"), polygon.get("additional_paths")
        is_nested = isinstance(path, list) and bool(path) and isinstance(path[0], list)
        paths = [*(path if is_nested else [path]), *(more if isinstance(more, list) else [])]  # type: ignore[misc]
    if not isinstance(paths, list) or not paths:
        raise LeftOut(f"malformed outline: expected paths, got {brief(paths)}")
    return paths


def _points(path: Any) -> list[tuple[Any, Any]]:
    if not isinstance(path, list) or not all(isinstance(point, dict) for point in path):
        raise LeftOut(f"malformed outline: expected points of x and y, got {brief(path)}")
    return [(point.get("x"), point.get("y")) for point in path]


def _even_odd(paths: list[Any], size_hw: tuple[int, int]) -> tuple[Mask, list[str]]:
    """Return the pixels inside an odd number of paths, and what is wrong with others; pieces that lie apart stay rings.

    Raises:
        LeftOut: nothing is right with any path.
    """
    rings, pieces, bad = [], [], []
    for path in paths:
        try:
            outline = ring(_points(path))
            pieces.append(boxed.decode(Mask((outline,)).pixels(size_hw)))
            rings.append(outline)
        except LeftOut as reason:
            bad.append(str(reason))
    if not rings:
        raise LeftOut(bad[0])
    rows, columns = window = common_window(*pieces)
    times = np.sum([piece[window] for piece in pieces], axis=0)
    if times.max() < 2:
        return Mask(tuple(rings)), bad
    mask = BoxedMask.cut(times % 2 == 1, (columns.start, rows.start), size_hw)
    if not mask.any():
        raise LeftOut("empty mask: its paths cover each other")
    return Mask(rle=mask.encode()), bad


def _painted(layer: Any, canvas: Canvas) -> dict[str, Mask]:
    """Return by id the masks of a raster, which lists number and length of runs, row by row."""
    runs = layer.get("dense_rle") if isinstance(layer, dict) else None
    ids = layer.get("mask_annotation_ids_mapping") if isinstance(layer, dict) else None
    if not isinstance(runs, list) or len(runs) % 2 or not isinstance(ids, dict):
        raise LeftOut("malformed raster: expected pairs in dense_rle, and mask_annotation_ids_mapping")
    if not all(type(value) is int and 0 <= value <= MOST_RUN for value in (*runs, *ids.values())):
        raise LeftOut(f"malformed raster: expected whole numbers from 0 to {MOST_RUN}")
    height, width = canvas.shown_hw
    if (total := sum(runs[1::2])) != height * width:
        raise LeftOut(f"raster of another size: expected {height * width} pixels, got {total}")
    numbers = np.repeat(np.array(runs[::2], dtype=np.int32), runs[1::2]).reshape(height, width)
    found = {str(key): numbers == value for key, value in ids.items()}
    return {key: Mask(rle=rle.encode(mask)) for key, mask in found.items() if mask.any()}
