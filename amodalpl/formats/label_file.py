"""Label files and what stands beside them, checked before anything believes them: they may come from anywhere.

What `pseudolabel` and `apply-review` write passes; a file of another kind, or one changed by hand, gets one clear line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError
from .entries import read_categories, read_images, whole_id
from .segmentation import brief, read_masks

_MASKS = ("segmentation", "visible_mask")
_LISTS = {"flags": str, "occluders": int}
_NUMBERS = ("uncertainty", "plausibility", "growth", "added_px")
_PROMISE = ("uncertainty_at_most", "iou_above", "share")
_NEXT = "write it with `amodalpl pseudolabel`"


def check_label_file(path: Path, content: Any) -> None:
    """Refuse what is not the content of a label file.

    Args:
        path: for messages.
        content: parsed JSON.

    Raises:
        DataError: a list that is missing; an entry without its ids, its masks as compressed RLE of its photo's size, or
            the notes under `amodalpl`; an id that is taken or names nothing.
    """
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{path}: {key}: expected a list, as label files have; {_NEXT}")
    sizes = {image.id: image.size_hw for image in read_images(path, content["images"])}
    classes = {category["id"] for category in read_categories(path, content["categories"])}
    seen: set[int] = set()
    masks: list[tuple[str, Any, tuple[int, int]]] = []
    for index, entry in enumerate(content["annotations"]):
        place = f"annotations[{index}]"
        needed = ("id", "image_id", "category_id", *_MASKS, "amodalpl")
        missing = [key for key in needed if key not in entry] if isinstance(entry, dict) else needed
        if missing:
            raise DataError(
                f"{path}: {place}: expected an entry of a label file, found no {', '.join(missing)}; {_NEXT}"
            )
        entry_id, image_id, class_id = (whole_id(path, place, key, entry) for key in ("id", "image_id", "category_id"))
        if entry_id in seen:
            raise DataError(f"{path}: {place}.id: expected an id of its own, got {entry_id} again; {_NEXT}")
        seen.add(entry_id)
        if image_id not in sizes or class_id not in classes:
            key, value = ("image_id", image_id) if image_id not in sizes else ("category_id", class_id)
            raise DataError(f"{path}: {place}.{key}: expected the id of an entry of the file, got {value}; {_NEXT}")
        completed = _check_notes(path, f"{place}.amodalpl", entry["amodalpl"])
        named = [(key, entry[key]) for key in _MASKS] + ([("amodalpl.completed", completed)] if completed else [])
        masks += [(f"{place}.{key}", mask, sizes[image_id]) for key, mask in named]
    _check_masks(path, masks)


def _check_notes(path: Path, place: str, notes: Any) -> Any:
    """Return the mask that a decision put aside, if any."""
    if not isinstance(notes, dict):
        raise DataError(f"{path}: {place}: expected what is noted of a label, got {brief(notes)}; {_NEXT}")
    for key, kind in _LISTS.items():
        values = notes.get(key) or []
        if not isinstance(values, list) or not all(type(value) is kind for value in values):
            raise DataError(f"{path}: {place}.{key}: expected a list of {kind.__name__}, got {brief(values)}; {_NEXT}")
    for key in _NUMBERS:
        value = notes.get(key)
        if not (value is None or type(value) is float or (type(value) is int and abs(value) < 2**53)):
            raise DataError(f"{path}: {place}.{key}: expected a number or null, got {brief(value)}; {_NEXT}")
    return notes.get("completed")


def _check_masks(path: Path, masks: list[tuple[str, Any, tuple[int, int]]]) -> None:
    for place, mask, _ in masks:
        if not isinstance(mask, dict) or not isinstance(mask.get("counts"), str):
            raise DataError(f"{path}: {place}: expected compressed RLE with counts as text, as label files have")
    found = read_masks([mask for _, mask, _ in masks], [size_hw for _, _, size_hw in masks])
    for (place, _, _), mask in zip(masks, found, strict=True):
        if isinstance(mask, str) and not mask.startswith("empty mask"):
            raise DataError(f"{path}: {place}: expected a mask of its photo, got {mask}; {_NEXT}")


def check_order(path: Path, content: Any) -> dict[int, dict[str, Any]]:
    """Return the entries of an `order.json` by image id.

    Raises:
        DataError: it is not one.
    """
    images = content.get("images", []) if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise DataError(f"{path}: expected an object with a list of images, got {brief(content)}; {_NEXT}")
    found: dict[int, dict[str, Any]] = {}
    for index, entry in enumerate(images):
        place = f"images[{index}]"
        if not isinstance(entry, dict):
            raise DataError(f"{path}: {place}: expected the order of a photo, got {brief(entry)}; {_NEXT}")
        pairs = entry.get("pairs", [])
        groups = {key: entry.get(key, []) for key in ("mutual", "cycles")}
        if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
            raise DataError(f"{path}: {place}.pairs: expected objects with front and back as ids; {_NEXT}")
        for key, value in groups.items():
            if not isinstance(value, list) or not all(_are_ids(group) for group in value):
                raise DataError(f"{path}: {place}.{key}: expected lists of ids, got {brief(value)}; {_NEXT}")
        found[whole_id(path, place, "image_id", entry)] = entry
    return found


def check_stats(path: Path, content: Any) -> dict[str, Any]:
    """Return the content of a `stats.json`.

    Raises:
        DataError: it is not one.
    """
    counts = content.get("counts", {}) if isinstance(content, dict) else None
    left_out = counts.get("left out") if isinstance(counts, dict) else None
    if not isinstance(counts, dict) or not isinstance(left_out or {}, dict):
        raise DataError(f"{path}: expected an object with counts, got {brief(content)}; {_NEXT}")
    return content


def check_hold_out(path: Path, metrics: Any, card: Any) -> None:
    """Refuse what a report cannot show of a completer's hold-out.

    Args:
        path: folder of the completer, for messages.
        metrics: content of its `metrics.json`; whatever is missing is missing.
        card: content of its `completer.json`, likewise.

    Raises:
        DataError: scores that are no tables, curves that are no pairs of numbers, a promise that is none.
    """
    if not isinstance(metrics, dict) or not isinstance(card, dict):
        raise DataError(f"{path}: expected what `amodalpl complete` writes, got {brief(metrics)} and {brief(card)}")
    scores, diagrams = metrics.get("scores") or {}, metrics.get("reliability") or {}
    if not _are_mappings(scores) or not all(map(_are_mappings, scores.values())):
        raise DataError(f"{path}: metrics.json: scores: expected tables of numbers, got {brief(scores)}")
    calibration, promise = card.get("calibration") or {}, card.get("promise") or {}
    if not _are_mappings(diagrams) or not isinstance(calibration, dict):
        raise DataError(f"{path}: expected curves of what is said and what is so, got {brief(diagrams)}")
    for curve, x, y in [(c, "stated", "seen") for c in diagrams.values()] + [(calibration, "probability", "belongs")]:
        xs, ys = curve.get(x) or [], curve.get(y) or []
        both = isinstance(xs, list) and isinstance(ys, list) and len(xs) == len(ys)
        if not both or not all(type(value) in (int, float) and abs(value) <= 2 for value in [*xs, *ys]):
            raise DataError(f"{path}: expected a curve as two lists of shares, got {brief(xs)} and {brief(ys)}")
    told: list[Any] = [promise.get(key) for key in _PROMISE] if isinstance(promise, dict) else [None]
    if promise and not all(type(value) in (int, float) and abs(value) <= 2 for value in told):
        raise DataError(f"{path}: completer.json: promise: expected shares, got {brief(told)}")


def _are_mappings(table: Any) -> bool:
    return isinstance(table, dict) and all(isinstance(row, dict) for row in table.values())


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, Mapping) and _are_ids([pair.get("front"), pair.get("back")])


def _are_ids(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int for value in values)
