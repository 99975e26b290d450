"""Label Studio: its JSON export (a list of tasks, each with annotations), and the same for import.

Outlines are in percent of the photo as the browser shows it, brush masks in Label Studio's own run lengths
(`shared/label_studio_rle.py`). Where several people annotated a photo, the one marked as ground truth counts, else the
last; the others are listed as left out.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np
from PIL import Image

from ..data.coco_parsing import score_of
from ..data.dataset_builder import Builder, Canvas, DrawnOn
from ..data.format_losses import UnsupportedFields, as_one_ring, unsupported_fields, visible_part
from ..data.mask_parsing import brief, stated_size_hw
from ..data.outlines import DECIMALS, crop_of_pixels, ellipse, number, rectangle, ring
from ..data.records import AnnotationSet, ImageRecord, Instance, LeftOut, Mask
from ..data.source import Source
from ..errors import DataError
from ..io.files import read_json, write_json
from ..io.images import MAX_IMAGE_PX
from ..masks import rle
from .shared.label_studio_rle import decode, encode

_KINDS = {
    "polygonlabels": "polygon",
    "brushlabels": "brush",
    "rectanglelabels": "rectangle",
    "ellipselabels": "ellipse",
    "bitmasklabels": "bitmask",
}
_LABELS = ("labels", "choices")  # types of results that may name the class of a shape beside them
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")  # which Label Studio puts before the names of uploaded files
_PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")


def detect(source: Source) -> bool:
    """Tell by tasks: a list of objects with `data` beside `annotations` or `predictions`."""
    data = source.data
    return isinstance(data, list) and bool(data) and _is_task(data[0])


def _is_task(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("data"), dict) and _says_what(value)


def _says_what(task: dict[str, Any]) -> bool:
    return any(isinstance(task.get(key), list) for key in ("annotations", "completions", "predictions"))


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a JSON export of Label Studio.

    Args:
        path: the JSON file ("JSON", not "JSON-MIN").
        images: folder of the photos, in which names are found with and without what Label Studio adds to them.
        drawn_on: of `Builder`.

    Raises:
        DataError: no JSON, not of Label Studio, or nothing that can be read.
    """
    raw = read_json(path, "a JSON export of Label Studio")
    if not isinstance(raw, list) or not any(map(_is_task, raw)):
        hint = "; export as JSON, not JSON-MIN" if isinstance(raw, list) and raw else ""
        raise DataError(f"{path}: expected a list of Label Studio tasks with data and annotations, got none{hint}")
    builder = Builder(path, images, drawn_on=drawn_on, in_fractions=True)
    for index, task in enumerate(raw):
        place = f"tasks[{index}]"
        with builder.entry(place):
            if not _is_task(task):
                raise LeftOut("not a task: expected the keys data and annotations")
            _read_task(builder, task, place)
    return builder.finish()


def _read_task(builder: Builder, task: dict[str, Any], place: str) -> None:
    chosen, others = _annotation(task)
    results = _objects(chosen.get("result"))
    name = _name(task, builder.images)
    stated = (stated_size_hw(result.get("original_height"), result.get("original_width")) for result in results)
    canvas = builder.photo(name, place, next(filter(None, stated), None))
    for key, entry in others:
        builder.leave_out(f"{place}: {key}", f"another annotation of the photo: {_whose(entry)}")
    named = _labels_beside(results)
    for index, result in enumerate(results):
        with builder.entry(f"{place}: result[{index}]"):
            kind = str(result.get("type"))
            if kind in _KINDS:
                _add(builder, canvas, result, _KINDS[kind], named)
            elif kind in _KINDS.values():
                _add(builder, canvas, result, kind, named)
            elif kind in _LABELS and isinstance(result.get("id"), str):  # of a shape, or of the photo
                continue
            elif kind != "relation" and "from_name" in result and "original_width" in result:
                raise LeftOut(f"not an area: {brief(kind)}")


def _labels_beside(results: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the classes that are results of their own, by the id of their shape."""
    named: dict[str, list[Any]] = {}
    for kind in reversed(_LABELS):
        for result in results:
            value = result.get("value")
            labels = value.get(kind) if isinstance(value, dict) and result.get("type") == kind else None
            if isinstance(labels, list) and isinstance(result.get("id"), str):
                named[result["id"]] = labels
    return named


def _annotation(task: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """Choose one annotator's work, a model's predictions where nobody annotated; return it and the others, by key."""
    for key in ("annotations", "completions", "predictions"):
        offered = [entry for entry in _objects(task.get(key)) if not entry.get("was_cancelled")]
        if offered:
            last = max(offered, key=lambda entry: str(entry.get("updated_at") or entry.get("created_at") or ""))
            chosen = next((entry for entry in offered if entry.get("ground_truth") is True), last)
            return chosen, [(key, entry) for entry in offered if entry is not chosen]
    return {}, []


def _objects(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _whose(entry: dict[str, Any]) -> str:
    author = entry.get("completed_by", entry.get("model_version"))
    author = author.get("email", author.get("id")) if isinstance(author, dict) else author
    return f"number {brief(entry.get('id'))} by {brief(author)}"


def _name(task: dict[str, Any], images: Path | None) -> Any:
    """Return the name of a task's photo: of an address, its longest end that the folder of photos has."""
    address = _address(task["data"])
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    local = parse_qs(parts.query).get("d", [""])[0]
    if not (local or parts.scheme or address.startswith("/data/")):
        return address
    name = local or unquote(parts.path)
    ends = [end for end in name.replace("\\", "/").split("/") if end]
    if ".." in ends or not ends:
        return name
    uploaded = _UPLOAD_PREFIX.sub("", ends[-1])
    if images is not None:
        for candidate in (*("/".join(ends[start:]) for start in range(len(ends))), uploaded):
            if os.path.isfile(images / candidate):
                return candidate
    return "/".join(ends) if local else uploaded if "/upload/" in name else ends[-1]


def _address(data: dict[str, Any]) -> str:
    if isinstance(data.get("image"), str):
        return data["image"]
    for value in data.values():
        if isinstance(value, str) and value.lower().endswith(_PHOTO_SUFFIXES):
            return value
    raise LeftOut("task without a photo: expected its address in data")


def _add(builder: Builder, canvas: Canvas, result: dict[str, Any], kind: str, named: dict[str, list[Any]]) -> None:
    value = result.get("value")
    if not isinstance(value, dict):
        raise LeftOut("malformed outline: expected a value")
    if result.get("image_rotation") not in (None, 0):
        raise LeftOut(f"photo turned in Label Studio: by {brief(result['image_rotation'])} degrees")
    labels = value.get(result["type"]) or named.get(str(result.get("id")))
    if not isinstance(labels, list) or len(labels) != 1:
        raise LeftOut(f"object of several classes: got {brief(labels)}" if labels else "object without a class")
    outline = _outline(kind, value, canvas.shown_hw)
    score = score_of({"score": result.get("score", value.get("score"))})
    builder.add(canvas, builder.category(labels[0]), outline, score=score)


def _outline(kind: str, value: dict[str, Any], size_hw: tuple[int, int]) -> Mask:
    height, width = size_hw
    if kind == "brush":
        return _brush(value, size_hw)
    if kind == "bitmask":
        return _bitmask(value.get("imageDataURL"), size_hw)
    if kind == "polygon":
        points = np.reshape(ring(value.get("points")), (-1, 2)) * (width / 100, height / 100)
        return Mask((tuple(points.ravel().round(DECIMALS).tolist()),))
    x, y = number(value.get("x")) * width / 100, number(value.get("y")) * height / 100
    turn = number(value.get("rotation") or 0)
    across, down = ("radiusX", "radiusY") if kind == "ellipse" else ("width", "height")
    size_x, size_y = number(value.get(across)) * width / 100, number(value.get(down)) * height / 100
    return Mask(((ellipse if kind == "ellipse" else rectangle)(x, y, size_x, size_y, turn),))


def _bitmask(data: Any, size_hw: tuple[int, int]) -> Mask:
    """Read a PNG of the photo's size in an address: the mask is what is not see-through, or else not black."""
    try:
        kind, _, text = data.partition(",")
        if "base64" not in kind:
            raise ValueError
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as image:
            if (image.height, image.width) != size_hw:
                raise LeftOut(f"mask of another size than its photo: got {image.width} x {image.height}")
            pixels = np.asarray(image.convert("RGBA"))
    except LeftOut:
        raise
    except Exception:  # Pillow raises what it likes over bytes that are no PNG
        raise LeftOut("malformed mask: expected a PNG in base64") from None
    seen = pixels[:, :, 3] > 0
    return crop_of_pixels(np.asarray(pixels[:, :, :3].any(axis=2)) if seen.all() else seen, (0, 0), size_hw)


def _brush(value: dict[str, Any], size_hw: tuple[int, int]) -> Mask:
    data = value.get("rle")
    if value.get("format") != "rle" or not isinstance(data, list) or not set(map(type, data)) <= {int}:
        raise LeftOut("malformed mask: expected Label Studio's rle as a list of bytes")
    if data and not (0 <= min(data) and max(data) <= 255):
        raise LeftOut("malformed mask: expected Label Studio's rle as a list of bytes")
    height, width = size_hw
    if height * width > MAX_IMAGE_PX:
        raise LeftOut("mask larger than a photo can be")
    try:
        channels = decode(bytes(data), height * width * 4)
    except ValueError as error:
        raise LeftOut(f"corrupt RLE: {error}") from None
    return crop_of_pixels(channels.reshape(height, width, 4)[:, :, 3] > 0, (0, 0), size_hw)


def write(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write tasks for import; the labelling configuration needs tags named `label`, `brush` and an Image `image`.

    Objects with a score become predictions, others annotations. Photos are expected in Label Studio's local storage.

    Args:
        data: what to write.
        out: the JSON file.
    """
    losses = unsupported_fields(
        data,
        "whole masks (amodal)",
        "stuff marks",
        "groups",
        "order in depth, pairs",
        "other keys of objects",
        "other keys of photos",
        "other keys of classes",
        "other keys of the file",
        "classes without objects",
    )
    names = data.category_names
    instances = data.by_image
    tasks = []
    for photo in data.images:
        results = list(_results(photo, instances[photo.id], names, losses))
        losses["sizes of photos without objects"] += not results
        predicted = bool(results) and all("score" in result for result in results)
        answer = [{"result": results, **({"model_version": "amodalpl"} if predicted else {})}]
        tasks.append(
            {
                "data": {"image": f"/data/local-files/?d={quote(photo.file_name)}"},
                "annotations": [] if predicted else answer,
                "predictions": answer if predicted else [],
            }
        )
    write_json(out, tasks)
    return +losses


def _results(
    photo: ImageRecord, instances: list[Instance], names: dict[int, str], losses: UnsupportedFields
) -> Iterator[dict[str, Any]]:
    height, width = photo.size_hw
    for instance in instances:
        mask = visible_part(instance, losses)
        if mask is None:
            continue
        kind = "polygonlabels" if mask.rle is None else "brushlabels"
        value: dict[str, Any] = {kind: [names[instance.category_id]]}
        if mask.rle is None:
            points = np.reshape(as_one_ring(mask, photo.size_hw, losses), (-1, 2)) * (100 / width, 100 / height)
            value |= {"points": points.tolist(), "closed": True}
        else:
            channels = np.repeat(rle.decode(mask.rle).ravel().view(np.uint8) * 255, 4)
            value |= {"format": "rle", "rle": list(encode(channels))}
        yield {
            "id": f"amodalpl{instance.id}",
            "type": kind,
            "from_name": "label" if kind == "polygonlabels" else "brush",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": value,
            **({} if instance.score is None else {"score": instance.score}),
        }
