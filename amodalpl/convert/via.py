"""VGG Image Annotator 2: a saved project, or exported annotations in JSON.

Coordinates are pixels with their corners at whole numbers, on the photo as the browser shows it, turned by its EXIF
note. VIA states no sizes, so the photos are needed. A region's class is the attribute with the usual name (`class`,
`label`, `category`, `name`, `type`, `object`), else its only attribute.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..data.dataset_builder import Builder, Canvas, DrawnOn
from ..data.format_losses import UnsupportedFields, as_one_ring, unsupported_fields, visible_part
from ..data.mask_parsing import brief
from ..data.outlines import ellipse, number, rectangle, ring
from ..data.records import AnnotationSet, Instance, LeftOut, Mask
from ..data.source import Source
from ..errors import DataError
from ..io.files import read_json, write_json
from .shared.attributes import attributes_of, simple

CLASS_NAMES = ("class", "label", "category", "name", "type", "object")
_NOT_AREAS = {"point", "polyline", "line"}
_METADATA = "_via_img_metadata"
_NO_CLASS = "object"
_MARKED = ""  # in place of the attribute that holds the class: each class is an attribute, on or off
_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "x": True}
_SWITCH |= {"": False, "0": False, "false": False, "no": False, "off": False}


def detect(source: Source) -> bool:
    """Tell by a project's own key, or by entries with `filename` and `regions`."""
    data = source.data
    return isinstance(data, dict) and bool(data) and (_METADATA in data or _is_entry(next(iter(data.values()))))


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict) and "filename" in value and isinstance(value.get("regions"), list | dict)


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a VIA 2 file.

    Args:
        path: a project or exported annotations, in JSON.
        images: folder of the photos.
        drawn_on: of `Builder`.

    Raises:
        DataError: no JSON, not of VIA, no folder of photos, no attribute that could be the class, or nothing to read.
    """
    raw = read_json(path, "a VIA project or its exported annotations")
    entries = raw.get(_METADATA, raw) if isinstance(raw, dict) else None
    if not isinstance(entries, dict) or not any(map(_is_entry, entries.values())):
        raise DataError(f"{path}: expected a VIA 2 project or its annotations in JSON, got something else")
    if images is None:
        raise DataError(f"{path}: expected the folder of photos too, because VIA states no sizes; give --images")
    key = _class_key(path, entries)
    builder = Builder(path, images, drawn_on=drawn_on)
    for name, entry in entries.items():
        place = brief(name)
        with builder.entry(place):
            if not _is_entry(entry):
                raise LeftOut("not a photo: expected an entry with filename and regions")
            extra = attributes_of(entry.get("file_attributes"))
            canvas = builder.photo(entry["filename"], place, extra={"attributes": extra} if extra else None)
            regions = entry["regions"]
            numbered = regions.items() if isinstance(regions, dict) else enumerate(regions)  # VIA 1 numbers by keys
            for index, region in numbered:
                with builder.entry(f"{place}: regions[{index}]"):
                    _add(builder, canvas, region, key)
    return builder.finish()


def _class_key(path: Path, entries: Mapping[str, Any]) -> str | None:
    """Find the attribute that holds the class; None where regions have no attributes at all."""
    keys = dict.fromkeys(key for region in _regions(entries) for key in attributes_of(region.get("region_attributes")))
    by_name = {key.strip().lower(): key for key in keys}
    for name in CLASS_NAMES:
        if name in by_name:
            return by_name[name]
    if keys and all(_marked(region) is not None for region in _regions(entries)):
        return _MARKED
    if len(keys) > 1:
        raise DataError(
            f"{path}: region_attributes: expected one named class, label or category, got {brief(list(keys))}; "
            "rename the attribute that holds the class in VIA"
        )
    return next(iter(keys), None)


def _marked(region: Mapping[str, Any]) -> list[str] | None:
    """Return the attributes of a region that are on, where all of them say on or off: `{"Lettuce": "1"}`; else None."""
    attributes = attributes_of(region.get("region_attributes"))
    said = {name: _SWITCH.get(str(value).strip().lower()) for name, value in attributes.items()}
    return None if None in said.values() else [name for name, on in said.items() if on]


def _regions(entries: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for entry in filter(_is_entry, entries.values()):
        regions = entry["regions"].values() if isinstance(entry["regions"], dict) else entry["regions"]
        yield from (region for region in regions if isinstance(region, dict))


def _add(builder: Builder, canvas: Canvas, region: Any, key: str | None) -> None:
    if not isinstance(region, dict) or not isinstance(region.get("shape_attributes"), dict):
        raise LeftOut("not a region: expected shape_attributes")
    outline = _outline(region["shape_attributes"])
    attributes = attributes_of(region.get("region_attributes"))
    label: Any = _NO_CLASS if key is None else attributes.pop(key, None)
    if key == _MARKED:
        label, attributes = dict.fromkeys(_marked(region) or (), True), {}
    if isinstance(label, dict):  # check boxes: {"cup": true}
        chosen = [name for name, on in label.items() if on]
        if len(chosen) != 1:
            raise LeftOut(f"object of several classes: got {brief(chosen)}" if chosen else "object without a class")
        label = chosen[0]
    builder.add(canvas, builder.category(label), outline, extra={"attributes": attributes} if attributes else {})


def _outline(shape: dict[str, Any]) -> Mask:
    kind = str(shape.get("name"))
    if kind in _NOT_AREAS:
        raise LeftOut(f"not an area: {kind}")
    if kind == "polygon":
        xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
            raise LeftOut("malformed outline: expected all_points_x and all_points_y of one length")
        return Mask((ring(list(zip(xs, ys, strict=True))),))
    if kind == "rect":
        return Mask((rectangle(*(number(shape.get(key)) for key in ("x", "y", "width", "height"))),))
    if kind == "circle":
        x, y, radius = (number(shape.get(key)) for key in ("cx", "cy", "r"))
        return Mask((ellipse(x, y, radius, radius),))
    if kind == "ellipse":
        x, y, radius_x, radius_y = (number(shape.get(key)) for key in ("cx", "cy", "rx", "ry"))
        turn = number(shape.get("theta", 0))  # radians
        return Mask((ellipse(x, y, radius_x, radius_y, math.degrees(turn)),))
    raise LeftOut(f"unknown kind of shape: {brief(kind)}")


def write(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write annotations that VIA 2 imports ("Import annotations from JSON"); the class goes into `class`.

    Args:
        data: what to write.
        out: the JSON file.
    """
    losses = unsupported_fields(
        data,
        "whole masks (amodal)",
        "scores",
        "stuff marks",
        "groups",
        "order in depth, pairs",
        "other keys of classes",
        "other keys of the file",
        "classes without objects",
    )
    names = data.category_names
    sizes = {photo.id: photo.size_hw for photo in data.images}
    regions: dict[int, list[dict[str, Any]]] = {photo.id: [] for photo in data.images}
    for instance in data.instances:
        if region := _region(instance, sizes[instance.image_id], names[instance.category_id], losses):
            regions[instance.image_id].append(region)
    for photo in data.images:
        losses["other keys of photos"] += sum(key != "attributes" for key in photo.extra)
    write_json(
        out,
        {
            f"{photo.file_name}-1": {  # VIA's own keys end in the photo's bytes, -1 where they are not known
                "filename": photo.file_name,
                "size": -1,
                "regions": regions[photo.id],
                "file_attributes": attributes_of(photo.extra.get("attributes")),
            }
            for photo in data.images
        },
    )
    return +losses


def _region(
    instance: Instance, size_hw: tuple[int, int], name: str, losses: UnsupportedFields
) -> dict[str, Any] | None:
    mask = visible_part(instance, losses)
    if mask is None:
        return None
    losses["other keys of objects"] += sum(key != "attributes" for key in instance.extra)
    attributes, others = simple(instance.extra.get("attributes"))
    losses["attributes that are lists"] += others
    losses["attributes named class"] += "class" in attributes
    flat = as_one_ring(mask, size_hw, losses)
    return {
        "shape_attributes": {"name": "polygon", "all_points_x": list(flat[::2]), "all_points_y": list(flat[1::2])},
        "region_attributes": {**attributes, "class": name},
    }
