"""CVAT for images 1.1: one XML file, or the folder of an unpacked export with `annotations.xml`.

CVAT's outlines have the corners of pixels at whole numbers, on the photo as it is shown. Shapes of one label and one
`group_id` are members of a group, not parts: every shape is an object. Where shapes overlap, a higher `z_order` is in
front.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset_builder import Builder, Canvas, DrawnOn
from ..data.format_losses import UnsupportedFields, as_one_ring, unsupported_fields
from ..data.mask_parsing import as_number, brief
from ..data.outlines import crop_of_pixels, decimal, ellipse, rectangle, ring
from ..data.records import AnnotationSet, Instance, LeftOut, Mask
from ..data.source import Source, files_below
from ..errors import DataError
from ..io.files import write_bytes
from ..io.xml import read_xml
from ..masks import rle
from .shared.attributes import Value, simple

_NOT_AREAS = {"polyline", "points", "cuboid", "skeleton", "tag"}
_CROWD = "is_crowd"  # the attribute by which CVAT's own COCO export knows crowd regions
_AttributeTypes = dict[tuple[str, str], str]  # of label and attribute: checkbox, number, text, ...


def detect(source: Source) -> bool:
    """Tell by the root of the XML."""
    if source.path.is_dir():
        return any(file.name == "annotations.xml" for file in source.some(".xml"))
    return b"<annotations" in source.head and b"<?xml" in source.head.lstrip(b"\xef\xbb\xbf")[:200]


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a CVAT XML file.

    Args:
        path: the file, or a folder with one below it.
        images: folder of the photos, whose sizes are compared when it is given.
        drawn_on: of `Builder`.

    Raises:
        DataError: no such file, not XML, not CVAT for images, or nothing that can be read.
    """
    file = _the_file(path)
    root = read_xml(file, "a CVAT XML file")
    if root.tag != "annotations":
        raise DataError(f"{file}: expected CVAT's <annotations>, got <{root.tag[:60]}>")
    if root.find("track") is not None:
        raise DataError(f"{file}: expected CVAT for images 1.1, got CVAT for video; export the task for images")
    builder = Builder(file, images, drawn_on=drawn_on)
    types = _declare_labels(builder, root)
    found = list(root.iter("image"))
    times = Counter(image.get("name") for image in found)
    subsets = {subset for image in found if (subset := image.get("subset"))}
    for index, image in enumerate(found):
        place = f"image[{index}] {brief(image.get('name'))}"
        with builder.entry(place):
            name = _name(image, images, subsets, times[image.get("name")] > 1)
            _read_image(builder, image, name, place, types)
    return builder.finish()


def _the_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    files = [file for file in files_below(path, ".xml") if file.name == "annotations.xml"]
    if len(files) != 1:
        raise DataError(f"{path}: expected one annotations.xml below it, found {len(files)}; name the file itself")
    return files[0]


def _declare_labels(builder: Builder, root: ET.Element) -> _AttributeTypes:
    """Add the classes that the file declares, in its order."""
    types: _AttributeTypes = {}
    for label in root.iterfind("meta//labels/label"):
        name = (label.findtext("name") or "").strip()
        if not name:
            continue
        builder.category(name)
        for attribute in label.iterfind("attributes/attribute"):
            types[name, attribute.findtext("name") or ""] = attribute.findtext("input_type") or "text"
    return types


def _name(image: ET.Element, images: Path | None, subsets: set[str], is_repeated: bool) -> str | None:
    """Return a photo's name; CVAT puts the photos of a project into a folder per subset, and does not say so."""
    name, subset = image.get("name"), image.get("subset")
    if not name or not subset or name.startswith(f"{subset}/"):
        return name
    if images is not None and images.name in subsets - {subset}:
        raise LeftOut(f"missing photo: {subset}/{name}, but --images is the folder of the subset {images.name}")
    at_top = images is not None and not is_repeated and os.path.isfile(images / name)
    inside = images is not None and os.path.isfile(images / subset / name)
    is_folder_of_it = images is not None and images.name == subset and os.path.isfile(images / name)
    return f"{subset}/{name}" if not is_folder_of_it and (inside or is_repeated) and not at_top else name


def _read_image(builder: Builder, image: ET.Element, name: str | None, place: str, types: _AttributeTypes) -> None:
    height, width = as_number(image.get("height")), as_number(image.get("width"))
    if type(height) is not int or type(width) is not int:
        raise LeftOut("photo of unknown size: expected width and height as whole numbers")
    subset = image.get("subset")
    canvas = builder.photo(name, place, (height, width), extra={"subset": subset} if subset else None)
    depths: dict[int, int] = {}
    for index, shape in enumerate(image):
        with builder.entry(f"{place}: {shape.tag}[{index}]"):
            _read_shape(builder, canvas, shape, types, depths)
    for back, front in pairs_in_depth(builder.data.instances[-len(depths) :] if depths else [], depths):
        builder.data.front_of.append((front, back))


def _read_shape(
    builder: Builder, canvas: Canvas, shape: ET.Element, types: _AttributeTypes, depths: dict[int, int]
) -> None:
    label = shape.get("label")
    outline = _outline(builder, shape, canvas.shown_hw)
    attributes: dict[str, Any] = {}
    for attribute in shape.iterfind("attribute"):
        name = attribute.get("name", "")
        attributes[name] = _value(attribute.text or "", types.get((label or "", name), "text"))
    if shape.get("occluded") == "1":
        attributes["occluded"] = True
    is_crowd = attributes.pop(_CROWD, False) in (True, "true")
    group = shape.get("group_id", "")
    instance = builder.add(
        canvas,
        builder.category(label),
        outline,
        is_crowd=is_crowd,
        group=int(group) if group.isascii() and group.isdigit() and len(group) < 19 else None,
        extra={"attributes": attributes} if attributes else {},
    )
    try:
        depths[instance] = int(shape.get("z_order", "0"))
    except ValueError:
        depths[instance] = 0


def _outline(builder: Builder, shape: ET.Element, size_hw: tuple[int, int]) -> Mask:
    if shape.tag in _NOT_AREAS:
        raise LeftOut(f"not an area: {shape.tag}")
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in (shape.get("points") or "").split(";") if pair.strip()]
        return Mask((ring([[decimal(value) for value in pair] for pair in pairs]),))
    if shape.tag == "box":
        x, y, right, bottom = (decimal(shape.get(key)) for key in ("xtl", "ytl", "xbr", "ybr"))
        return Mask((_turned_box(x, y, right, bottom, decimal(shape.get("rotation", "0"))),))
    if shape.tag == "ellipse":
        x, y, radius_x, radius_y = (decimal(shape.get(key)) for key in ("cx", "cy", "rx", "ry"))
        return Mask((ellipse(x, y, radius_x, radius_y, decimal(shape.get("rotation", "0"))),))
    if shape.tag == "mask":
        return _mask(builder, shape, size_hw)
    raise LeftOut(f"unknown kind of shape: {brief(shape.tag)}")


def _turned_box(x: float, y: float, right: float, bottom: float, degrees: float) -> tuple[float, ...]:
    """Return a box that CVAT turns clockwise about its centre."""
    middle_x, middle_y = (x + right) / 2, (y + bottom) / 2
    corner = rectangle(0, 0, middle_x - x, middle_y - y, degrees)[4:6]  # from the centre to the lower right corner
    return rectangle(middle_x - corner[0], middle_y - corner[1], right - x, bottom - y, degrees)


def _mask(builder: Builder, shape: ET.Element, size_hw: tuple[int, int]) -> Mask:
    """Read run lengths of a crop, row by row, false pixels first; CVAT takes pixels after the last run as false."""
    try:
        x, y, width, height = (int(float(shape.get(key, ""))) for key in ("left", "top", "width", "height"))
        runs = np.array([int(run) for run in shape.get("rle", "").split(",")], dtype=np.int64)
    except (ValueError, OverflowError):
        raise LeftOut("malformed mask: expected left, top, width, height and rle as whole numbers") from None
    if not (0 < width <= size_hw[1] and 0 < height <= size_hw[0]):
        raise LeftOut(f"mask larger than its photo: got {width} x {height}")
    if (runs < 0).any() or (runs > width * height).any() or runs.sum() > width * height:
        raise LeftOut(f"corrupt RLE: expected runs over {width * height} pixels")
    if missing := width * height - int(runs.sum()):
        builder.mend(f"mask of {brief(shape.get('label'))}", f"RLE that stops short: {missing} pixels taken as empty")
        runs = np.append(runs, [0, missing] if len(runs) % 2 else [missing])
    crop = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return crop_of_pixels(crop, (x, y), size_hw)


def _value(text: str, kind: str) -> Value:
    if kind == "checkbox" and text in ("true", "false"):
        return text == "true"
    if kind == "number":
        try:
            value = float(text)
        except ValueError:
            return text
        return int(value) if value.is_integer() and abs(value) < 2**53 else value if abs(value) < float("inf") else text
    return text


def pairs_in_depth(instances: list[Instance], depths: dict[int, int]) -> list[tuple[int, int]]:
    """Return pairs (back, front) of a photo's objects whose boxes overlap and whose depths differ, lower ids first.

    Only objects that begin left of where another one ends are compared with it.
    """
    if len(set(depths.values())) < 2:
        return []
    ranks = {depth: rank for rank, depth in enumerate(sorted(set(depths.values())))}  # depths may be of any size
    boxes = np.array([_box(instance) for instance in instances])
    from_left = np.argsort(boxes[:, 0], kind="stable")
    left, top, right, bottom = boxes[from_left].T
    ids = np.array([instance.id for instance in instances])[from_left]
    rank = np.array([ranks[depths[instance.id]] for instance in instances])[from_left]
    pairs: list[tuple[int, int]] = []
    for one, end in enumerate(np.searchsorted(left, right).tolist()):
        later = slice(one + 1, end)
        meets = (left[one] < right[later]) & (top[one] < bottom[later]) & (top[later] < bottom[one])
        others, depth = ids[later][meets], rank[later][meets]
        pairs += ((int(ids[one]), other) for other in others[rank[one] < depth].tolist())
        pairs += ((other, int(ids[one])) for other in others[rank[one] > depth].tolist())
    return sorted(pairs, key=sorted)


def _box(instance: Instance) -> tuple[float, float, float, float]:
    """Return the least and most x, y: left, top, right, bottom."""
    assert instance.modal_mask is not None
    if instance.modal_mask.rle is not None:
        x, y, width, height = rle.box_xywh(instance.modal_mask.rle)
        return x, y, x + width, y + height
    points = np.concatenate([np.reshape(part, (-1, 2)) for part in instance.modal_mask.polygons])
    return *points.min(axis=0), *points.max(axis=0)


def write(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write a file that CVAT imports as "CVAT 1.1".

    Args:
        data: what to write.
        out: the XML file.
    """
    losses = unsupported_fields(
        data, "whole masks (amodal)", "stuff marks", "scores", "other keys of classes", "other keys of the file"
    )
    names = data.category_names
    stated = _stated_pairs(data)
    instances: dict[int, list[Instance]] = {photo.id: [] for photo in data.images}
    for instance in data.instances:
        if instance.modal_mask is None:
            losses["objects without a visible mask"] += 1
        else:
            instances[instance.image_id].append(instance)
    root = ET.Element("annotations")
    _text(root, "version", "1.1")
    _write_labels(root, data, names)
    for index, photo in enumerate(data.images):
        height, width = photo.size_hw
        subset = {"subset": photo.extra["subset"]} if isinstance(photo.extra.get("subset"), str) else {}
        losses["other keys of photos"] += len(photo.extra) - len(subset)
        image = ET.SubElement(
            root,
            "image",
            {"id": str(index), "name": photo.file_name, **subset, "width": str(width), "height": str(height)},
        )
        depths = _depths(instances[photo.id], stated[photo.id], losses)
        for instance in instances[photo.id]:
            _write_shape(
                image, instance, photo.size_hw, names[instance.category_id], depths.get(instance.id, 0), losses
            )
    ET.indent(root)
    try:
        text = ET.tostring(root, encoding="utf-8", xml_declaration=True)
        ET.fromstring(text)
    except (ET.ParseError, UnicodeEncodeError):  # control characters cannot be written in XML at all
        raise DataError(f"{out}: expected names without control characters, which XML cannot hold; rename") from None
    write_bytes(out, text)
    return +losses


def _write_labels(root: ET.Element, data: AnnotationSet, names: dict[int, str]) -> None:
    kinds: dict[int, dict[str, Value]] = defaultdict(dict)  # of a class: name of an attribute to one of its values
    for instance in data.instances:
        known = simple(instance.extra.get("attributes"))[0] | ({_CROWD: True} if instance.is_crowd else {})
        for name, value in known.items():
            if name == "occluded" and isinstance(value, bool):  # CVAT has a mark of its own for it
                continue
            before = kinds[instance.category_id].setdefault(name, value)
            if _input_type(before) != _input_type(value):
                kinds[instance.category_id][name] = "text"
    labels = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")
    for category_id, category in names.items():
        label = ET.SubElement(labels, "label")
        _text(label, "name", category)
        attributes = ET.SubElement(label, "attributes")
        for name, value in kinds[category_id].items():
            attribute = ET.SubElement(attributes, "attribute")
            for key, text in (
                ("name", name),
                ("mutable", "False"),
                ("input_type", _input_type(value)),
                ("default_value", "false" if isinstance(value, bool) else ""),
                ("values", ""),
            ):
                _text(attribute, key, text)


def _input_type(value: Value) -> str:
    return "checkbox" if isinstance(value, bool) else "number" if isinstance(value, int | float) else "text"


def _stated_pairs(data: AnnotationSet) -> dict[int, set[tuple[int, int]]]:
    """Return the pairs of `front_of` whose objects have visible masks on one photo, by its id."""
    photo_of = {instance.id: instance.image_id for instance in data.instances if instance.modal_mask is not None}
    pairs: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for front, back in data.front_of:
        if front in photo_of and photo_of[front] == photo_of.get(back):
            pairs[photo_of[front]].add((front, back))
    return pairs


def _depths(instances: list[Instance], pairs: set[tuple[int, int]], losses: UnsupportedFields) -> dict[int, int]:
    """Return `z_order` per object such that reading it gives the pairs again; nothing if none does."""
    if not pairs:
        return {}
    depths = {instance.id: 0 for instance in instances}
    for _ in range(len(depths)):
        raised = {front: depths[back] + 1 for front, back in pairs if depths[front] <= depths[back]}
        depths |= raised
        if not raised:
            break
    if {(front, back) for back, front in pairs_in_depth(instances, depths)} != pairs:
        losses["order in depth, pairs"] += len(pairs)
        return {}
    return depths


def _write_shape(
    image: ET.Element, instance: Instance, size_hw: tuple[int, int], label: str, depth: int, losses: UnsupportedFields
) -> None:
    assert instance.modal_mask is not None
    attributes, others = simple(instance.extra.get("attributes"))
    losses["attributes that are lists"] += others
    losses["other keys of objects"] += sum(key != "attributes" for key in instance.extra)
    if instance.is_crowd:
        attributes[_CROWD] = True
    occluded = isinstance(attributes.get("occluded"), bool) and bool(attributes.pop("occluded"))
    common = {"label": label, "source": "manual", "occluded": str(int(occluded))}
    place = {"z_order": str(depth)}
    if instance.group is not None:
        place["group_id"] = str(instance.group)
    if instance.modal_mask.rle is not None:
        shape = ET.SubElement(image, "mask", {**common, **_runs(instance.modal_mask), **place})
    else:
        flat = as_one_ring(instance.modal_mask, size_hw, losses)
        points = ";".join(f"{x:.10g},{y:.10g}" for x, y in zip(flat[::2], flat[1::2], strict=True))
        shape = ET.SubElement(image, "polygon", {**common, "points": points, **place})
    for name, value in attributes.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        _text(shape, "attribute", text, name=name)


def _runs(outline: Mask) -> dict[str, str]:
    assert outline.rle is not None
    x, y, width, height = box = rle.box_xywh(outline.rle)
    flat = rle.decode_box(outline.rle, box).ravel()
    borders = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), len(flat)]
    runs = np.diff(borders).tolist()
    return {
        "rle": ", ".join(map(str, [0, *runs] if flat[0] else runs)),
        "left": str(x),
        "top": str(y),
        "width": str(width),
        "height": str(height),
    }


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text
