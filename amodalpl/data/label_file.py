"""Label files and the order beside them, read and checked entry by entry: they may come from anywhere, and be large.

What `pseudolabel` and `apply-review` write passes; a file of another kind, or one changed by hand, gets one clear line.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..io.json_stream import read_entries, read_object
from .coco_family import read_categories, read_images, whole_id
from .mask_parsing import brief, read_masks
from .records import ImageRecord

_MASKS = ("segmentation", "visible_mask")
_NEEDED = ("id", "image_id", "category_id", *_MASKS, "amodalpl")
_LISTS = {"flags": str, "occluders": int}
_NUMBERS = ("uncertainty", "plausibility", "growth", "added_px")
WRITTEN_BY = "write it with `amodalpl pseudolabel`"
_LABEL_FILE, _ORDER_FILE = "a label file", "the order of labels"
_AT_ONCE = 2**10  # entries whose masks are checked together


def read_label_head(path: Path) -> tuple[list[ImageRecord], list[dict[str, Any]]]:
    """Read the photos and categories of a label file, passing over its labels.

    Raises:
        DataError: no such file, not JSON, or a list that is missing or damaged.
    """
    found: dict[str, Any] = {}
    for name, value in read_object(path, _LABEL_FILE, ("annotations",)):
        if name in ("images", "annotations", "categories"):
            found[name] = [] if isinstance(value, Iterator) else value
    for name in ("images", "annotations", "categories"):
        if not isinstance(found.get(name), list):
            raise DataError(f"{path}: {name}: expected a list, as label files have; {WRITTEN_BY}")
    return read_images(path, found["images"]), read_categories(path, found["categories"])


def read_labels(
    path: Path, images: Iterable[ImageRecord], categories: Iterable[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Read the labels of a label file; memory holds a thousand of them, and eight bytes of each.

    Args:
        path: of the file.
        images: its photos.
        categories: its categories.

    Yields:
        Entries as the file has them.

    Raises:
        DataError: an entry without its ids, its masks as compressed RLE of its photo's size, or the notes under
            `amodalpl`; an id that names nothing, or, once all were read, one that two entries have.
    """
    sizes = {image.id: image.size_hw for image in images}
    classes = {category["id"] for category in categories}
    ids = array("q")
    entries = enumerate(read_entries(path, _LABEL_FILE, "annotations"))
    while batch := list(islice(entries, _AT_ONCE)):
        masks: list[tuple[str, Any, tuple[int, int]]] = []
        for index, entry in batch:
            place = f"annotations[{index}]"
            missing = [key for key in _NEEDED if key not in entry] if isinstance(entry, dict) else _NEEDED
            if missing:
                raise DataError(
                    f"{path}: {place}: expected an entry of a label file, found no {', '.join(missing)}; {WRITTEN_BY}"
                )
            entry_id, image_id, class_id = (
                whole_id(path, place, key, entry) for key in ("id", "image_id", "category_id")
            )
            if image_id not in sizes or class_id not in classes:
                key, value = ("image_id", image_id) if image_id not in sizes else ("category_id", class_id)
                raise DataError(
                    f"{path}: {place}.{key}: expected the id of an entry of the file, got {value}; {WRITTEN_BY}"
                )
            ids.append(entry_id)
            put_aside = _check_notes(path, f"{place}.amodalpl", entry["amodalpl"])
            masks += [(f"{place}.{key}", entry[key], sizes[image_id]) for key in _MASKS]
            if put_aside:
                masks.append((f"{place}.amodalpl.completed", put_aside, sizes[image_id]))
        _check_masks(path, masks)
        yield from (entry for _, entry in batch)
    _require_own_ids(path, np.array(ids, dtype=np.int64))


def read_order(path: Path) -> Iterator[dict[str, Any]]:
    """Read the entries of an `order.json`, one in memory at a time.

    Raises:
        DataError: no such file, or it is not one.
    """
    for name, value in read_object(path, _ORDER_FILE, ("images",)):
        if name != "images":
            continue
        if not isinstance(value, Iterator):
            raise DataError(f"{path}: expected an object with a list of images, got {brief(value)}; {WRITTEN_BY}")
        for index, entry in enumerate(value):
            _check_order(path, f"images[{index}]", entry)
            yield entry


def _check_notes(path: Path, place: str, notes: Any) -> Any:
    """Return the mask that a decision put aside, if any."""
    if not isinstance(notes, dict):
        raise DataError(f"{path}: {place}: expected what is noted of a label, got {brief(notes)}; {WRITTEN_BY}")
    for key, kind in _LISTS.items():
        values = notes.get(key) or []
        if not isinstance(values, list) or not all(type(value) is kind for value in values):
            raise DataError(
                f"{path}: {place}.{key}: expected a list of {kind.__name__}, got {brief(values)}; {WRITTEN_BY}"
            )
    for key in _NUMBERS:
        value = notes.get(key)
        if not (value is None or type(value) is float or (type(value) is int and abs(value) < 2**53)):
            raise DataError(f"{path}: {place}.{key}: expected a number or null, got {brief(value)}; {WRITTEN_BY}")
    return notes.get("completed")


def _check_masks(path: Path, masks: list[tuple[str, Any, tuple[int, int]]]) -> None:
    for place, mask, _ in masks:
        if not isinstance(mask, dict) or not isinstance(mask.get("counts"), str):
            raise DataError(f"{path}: {place}: expected compressed RLE with counts as text, as label files have")
    found = read_masks([mask for _, mask, _ in masks], [size_hw for _, _, size_hw in masks])
    for (place, _, _), mask in zip(masks, found, strict=True):
        if isinstance(mask, str) and not mask.startswith("empty mask"):
            raise DataError(f"{path}: {place}: expected a mask of its photo, got {mask}; {WRITTEN_BY}")


def _require_own_ids(path: Path, ids: np.ndarray) -> None:
    by_id = np.argsort(ids, kind="stable")
    again = by_id[1:][ids[by_id[1:]] == ids[by_id[:-1]]]
    if again.size:
        index = int(again.min())
        raise DataError(
            f"{path}: annotations[{index}].id: expected an id of its own, got {ids[index]} again; {WRITTEN_BY}"
        )


def _check_order(path: Path, place: str, entry: Any) -> None:
    if not isinstance(entry, dict):
        raise DataError(f"{path}: {place}: expected the order of a photo, got {brief(entry)}; {WRITTEN_BY}")
    pairs = entry.get("pairs", [])
    if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
        raise DataError(f"{path}: {place}.pairs: expected objects with front and back as ids; {WRITTEN_BY}")
    for key in ("mutual", "cycles"):
        value = entry.get(key, [])
        if not isinstance(value, list) or not all(_are_ids(group) for group in value):
            raise DataError(f"{path}: {place}.{key}: expected lists of ids, got {brief(value)}; {WRITTEN_BY}")
    whole_id(path, place, "image_id", entry)


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, Mapping) and _are_ids([pair.get("front"), pair.get("back")])


def _are_ids(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int for value in values)
