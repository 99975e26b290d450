"""labelme: a folder of JSON files, one per photo (the format of labelme 3 to 5).

Shapes of one label and one `group_id` are parts of one object, as labelme's own converters take them. Coordinates are
pixels with their corners at whole numbers, on the photo as labelme shows it: it follows EXIF notes. labelme keeps keys
that it does not know, so ids, scores and attributes that are written survive being edited there.
"""

from __future__ import annotations

import base64
import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from ..data.coco_parsing import crowd_flag, score_of
from ..data.dataset_builder import Builder, Canvas, DrawnOn, is_text
from ..data.format_losses import UnsupportedFields, unsupported_fields
from ..data.mask_parsing import brief, stated_size_hw
from ..data.outlines import crop_of_pixels, ellipse, join, rectangle, ring
from ..data.records import AnnotationSet, ImageRecord, Instance, LeftOut, Mask
from ..data.source import Source
from ..io.files import write_json
from ..masks import rle
from .shared.attributes import attributes_of
from .shared.file_per_photo import files_of, files_to_write, json_of, read_each

VERSION = "5.5.0"  # whose files are written
_NO_OBJECTS = {"__ignore__", "_background_"}
_NOT_AREAS = {"line", "linestrip", "point", "points"}
_OF_SHAPE = {
    *("label", "points", "shape_type", "group_id", "flags", "mask"),
    *("attributes", "score", "iscrowd", "isStuff"),
}


@dataclass
class _Object:
    """Shapes that belong together, until all are read."""

    label: Any
    shape: dict[str, Any]
    group: int | None
    parts: list[Mask] = field(default_factory=list)


def detect(source: Source) -> bool:
    """Tell by the keys of a labelme file, or of any JSON file in a folder."""
    return _is_labelme(source.data) or any(map(_is_labelme, source.some_data))


def _is_labelme(data: Any) -> bool:
    return isinstance(data, dict) and isinstance(data.get("shapes"), list) and "imagePath" in data


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a folder of labelme files, or one.

    Args:
        path: the folder, searched in depth, or a single file.
        images: folder of the photos; by default the folder of the files, as labelme has it.
        drawn_on: of `Builder`.

    Raises:
        DataError: nothing there, or nothing that can be read.
    """
    files = files_of(path, ".json", "labelme")
    folder = path if path.is_dir() else path.parent
    builder = Builder(path, folder if images is None else images, must_be_there=images is not None, drawn_on=drawn_on)
    return read_each(builder, files, _read_file)


def _read_file(builder: Builder, file: Path, place: str) -> None:
    raw = json_of(file)
    if not _is_labelme(raw):
        raise LeftOut("not a labelme file: expected the keys shapes and imagePath")
    assert builder.images is not None
    name = _name_from(builder, Path(place).parent, file, raw["imagePath"])
    extra = {"flags": raw["flags"]} if isinstance(raw.get("flags"), dict) and raw["flags"] else {}
    inside = isinstance(name, str) and not builder.other_name(name) and bool(_size_of_copy(raw))
    if inside:
        name = str(Path(place).parent / PurePosixPath(name).name)
    stated_hw = _stated_size(raw, builder.images, name)
    canvas = builder.photo(name, place, stated_hw, extra=extra, may_be_missing=inside)
    if inside:
        builder.mend(place, f"photo that is only inside its labelme file: save its imageData as {name}")
    objects = list(_objects(builder, raw["shapes"], place, canvas))
    members = Counter(entry.group for entry in objects)
    for entry in objects:
        with builder.entry(f"{place}: {brief(entry.label)}"):
            _add(builder, canvas, entry, entry.group if members[entry.group] > 1 else None)


def _name_from(builder: Builder, beside: Path, file: Path, stated: Any) -> Any:
    """Return a photo's name from the folder of photos; labelme states it from the folder of the JSON file.

    Photos that were moved since are found in the same subfolder of the photos, then by their bare names.

    Args:
        builder: knows the folder of the photos.
        beside: the JSON file's folder, relative to the folder that is read.
        file: the JSON file.
        stated: `imagePath`.
    """
    if not isinstance(stated, str) or not stated or "\0" in stated or not is_text(stated):
        return stated
    images = builder.images
    assert images is not None
    posix = PurePosixPath(stated.replace("\\", "/"))
    if posix.suffix.lower() == ".json":  # of the file itself, as some tools write
        posix = posix.with_suffix(".jpg")
    inside, path = os.path.realpath(images), os.path.realpath(file.parent / posix)
    if path.startswith(os.path.join(inside, "")) and os.path.isfile(path):
        return os.path.relpath(path, inside)
    for candidate in (beside / posix, beside / posix.name, Path(posix.name)):
        if ".." not in candidate.parts and not candidate.is_absolute() and os.path.isfile(images / candidate):
            return str(candidate)
    if builder.other_name(str(beside / posix)) is None and builder.other_name(str(beside / f"{file.stem}.jpg")):
        return str(beside / f"{file.stem}.jpg")  # as the JSON file is called, with any suffix
    return str(beside / posix)


def _stated_size(raw: dict[str, Any], images: Path, name: Any) -> tuple[int, int] | None:
    stated_hw = stated_size_hw(raw.get("imageHeight"), raw.get("imageWidth"))
    if stated_hw is None and isinstance(name, str) and not os.path.isfile(images / name):
        return _size_of_copy(raw)
    return stated_hw


def _size_of_copy(raw: dict[str, Any]) -> tuple[int, int] | None:
    """Return the size of the photo that is stored in a labelme file, as shown; None when there is none."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(raw["imageData"], validate=True))) as image:
            return image.height, image.width
    except Exception:  # Pillow raises what it likes over bytes that are no photo
        return None


def _objects(builder: Builder, shapes: list[Any], place: str, canvas: Canvas) -> Iterator[_Object]:
    """Read shapes and join those of one label and group, at the place of the first."""
    found: dict[Any, _Object] = {}
    for index, shape in enumerate(shapes):
        with builder.entry(f"{place}: shapes[{index}]"):
            if not isinstance(shape, dict):
                raise LeftOut(f"not a shape: got {brief(shape)}")
            if str(shape.get("label")) in _NO_OBJECTS:
                raise LeftOut(f"no object: labelme's {shape['label']}")
            outline = _outline(shape, canvas.shown_hw)
            group = shape.get("group_id")
            group = group if type(group) is int else None
            key = index if group is None else (str(shape.get("label")), group)
            found.setdefault(key, _Object(shape.get("label"), shape, group)).parts.append(outline)
    yield from found.values()


def _outline(shape: dict[str, Any], size_hw: tuple[int, int]) -> Mask:
    kind, points = str(shape.get("shape_type") or "polygon"), shape.get("points")
    if kind in _NOT_AREAS:
        raise LeftOut(f"not an area: {kind}")
    if kind in ("rectangle", "circle", "mask"):
        if not isinstance(points, list) or len(points) not in (2, 4):
            raise LeftOut(f"malformed outline: expected the 2 points of a {kind}, got {brief(points)}")
        pairs = [ring([p, p, p])[:2] for p in points]
        if kind == "circle":
            (x, y), (edge_x, edge_y) = pairs[:2]
            radius = float(np.hypot(edge_x - x, edge_y - y))
            return Mask((ellipse(x, y, radius, radius),))
        xs, ys = zip(*pairs, strict=True)
        if kind == "mask":
            return crop_of_pixels(_mask_of(shape.get("mask"), size_hw), (round(min(xs)), round(min(ys))), size_hw)
        return Mask((rectangle(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)),))
    if kind in ("polygon", "rotated_rectangle", "oriented_rectangle"):
        return Mask((ring(points),))
    raise LeftOut(f"unknown kind of shape: {brief(kind)}")


def _mask_of(data: Any, size_hw: tuple[int, int]) -> np.ndarray:
    """Decode the PNG of a mask shape: (h, w) bool, not larger than the photo."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True)), formats=["PNG"]) as image:
            if image.height > size_hw[0] or image.width > size_hw[1]:
                raise LeftOut(f"mask larger than its photo: got {image.width} x {image.height}")
            pixels = np.asarray(image)
    except LeftOut:
        raise
    except Exception:  # Pillow raises what it likes over bytes that are no PNG
        raise LeftOut("malformed mask: expected a PNG in base64") from None
    return np.asarray(pixels.reshape(*pixels.shape[:2], -1).any(axis=2))


def _add(builder: Builder, canvas: Canvas, entry: _Object, group: int | None) -> None:
    shape = entry.shape
    extra = {key: value for key, value in shape.items() if key not in _OF_SHAPE and value not in (None, "")}
    if attributes := attributes_of(shape.get("attributes")) | attributes_of(shape.get("flags")):
        extra["attributes"] = attributes
    builder.add(
        canvas,
        builder.category(entry.label),
        join(entry.parts, canvas.shown_hw),
        is_crowd=crowd_flag(shape.get("iscrowd")) == 1,
        is_stuff=shape.get("isStuff") in (1, True),
        score=score_of(shape),
        group=group,
        extra=extra,
    )


def write(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write a folder of labelme files, named as the photos; put them beside the photos to open them.

    Args:
        data: what to write.
        out: the folder.

    Raises:
        DataError: two photos differ in nothing but their suffix, which labelme cannot tell apart.
    """
    losses = unsupported_fields(
        data,
        "whole masks (amodal)",
        "order in depth, pairs",
        "other keys of classes",
        "other keys of the file",
        "classes without objects",
    )
    names = data.category_names
    instances = data.by_image
    for photo, file in files_to_write(data.images, out, "", ".json"):
        write_json(file, _file(photo, instances[photo.id], names, losses))
    return +losses


def _file(
    photo: ImageRecord, instances: list[Instance], names: dict[int, str], losses: UnsupportedFields
) -> dict[str, Any]:
    losses["other keys of photos"] += sum(key != "flags" for key in photo.extra)
    return {
        "version": VERSION,
        "flags": photo.extra.get("flags", {}),
        "shapes": list(_shapes(instances, names, losses)),
        "imagePath": PurePosixPath(photo.file_name).name,
        "imageData": None,
        "imageHeight": photo.size_hw[0],
        "imageWidth": photo.size_hw[1],
    }


def _shapes(instances: list[Instance], names: dict[int, str], losses: UnsupportedFields) -> Iterator[dict[str, Any]]:
    free = max((instance.group for instance in instances if instance.group is not None), default=0) + 1
    used: set[tuple[int, int]] = set()
    for instance in instances:
        if instance.modal_mask is None:
            losses["objects without a visible mask"] += 1
            continue
        group = instance.group
        if group is not None and (instance.category_id, group) in used:  # would become one object
            losses["groups of objects of one class"] += 1
            group = None
        if group is None and len(instance.modal_mask.polygons) > 1:
            group, free = free, free + 1
        if group is not None:
            used.add((instance.category_id, group))
        attributes = attributes_of(instance.extra.get("attributes"))
        losses["attributes that are lists"] += bool(instance.extra.get("attributes")) and not attributes
        flags = {name: attributes.pop(name) for name, value in list(attributes.items()) if isinstance(value, bool)}
        common = {
            **{key: value for key, value in instance.extra.items() if key not in _OF_SHAPE},
            "label": names[instance.category_id],
            "group_id": group,
            "description": instance.extra.get("description", ""),
            "flags": flags,
            **({"attributes": attributes} if attributes else {}),
            **({"score": instance.score} if instance.score is not None else {}),
            **({"iscrowd": 1} if instance.is_crowd else {}),
            **({"isStuff": 1} if instance.is_stuff else {}),
        }
        if instance.modal_mask.rle is not None:
            yield common | _mask_shape(instance.modal_mask)
        for part in instance.modal_mask.polygons:
            points = [[x, y] for x, y in zip(part[::2], part[1::2], strict=True)]
            yield common | {"points": points, "shape_type": "polygon", "mask": None}


def _mask_shape(outline: Mask) -> dict[str, Any]:
    assert outline.rle is not None
    x, y, width, height = box = rle.box_xywh(outline.rle)
    crop = rle.decode_box(outline.rle, box)
    buffer = io.BytesIO()
    Image.fromarray(crop.view(np.uint8) * 255).convert("1").save(buffer, "PNG")
    return {
        "points": [[float(x), float(y)], [float(x + width - 1), float(y + height - 1)]],
        "shape_type": "mask",
        "mask": base64.b64encode(buffer.getvalue()).decode("ascii"),
    }
