"""COCO results of any detector, checked before pycocotools believes them: it reads past the end of a wrong RLE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError
from .coco_lists import whole_id
from .mask_parsing import brief, read_masks

_MASKS = ("segmentation", "visible_mask")


def check_results(path: Path, detections: Sequence[Any], sizes_hw: Mapping[int, tuple[int, int]]) -> None:
    """Refuse values in detections that cannot be scored.

    Args:
        path: for messages.
        detections: parsed entries; whether their images and keys are there is for the caller to ask.
        sizes_hw: height and width of the photos, by image id.

    Raises:
        DataError: an id, a score, a box or a mask that is none; a mask that is not compressed RLE of its photo's size.
    """
    masks: list[tuple[str, Any, tuple[int, int]]] = []
    for index, entry in enumerate(detections):
        place = f"[{index}]"
        if not isinstance(entry, Mapping):
            raise DataError(f"{path}: {place}: expected a detection, got {brief(entry)}")
        for key in ("image_id", "category_id"):
            if key in entry:
                whole_id(path, place, key, entry)
        if "score" in entry and not _is_number(entry["score"]):
            raise DataError(f"{path}: {place}.score: expected a finite number, got {brief(entry['score'])}")
        box = entry.get("bbox", [0, 0, 0, 0])
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            raise DataError(f"{path}: {place}.bbox: expected x, y, width and height, got {brief(box)}")
        for key in _MASKS:
            if key in entry and entry.get("image_id") in sizes_hw:
                masks.append((f"{place}.{key}", entry[key], sizes_hw[entry["image_id"]]))
    for place, mask, _ in masks:
        if not isinstance(mask, dict) or not isinstance(mask.get("counts"), str):
            raise DataError(f"{path}: {place}: expected a compressed RLE with counts as text, got {brief(mask)}")
    found = read_masks([mask for _, mask, _ in masks], [size_hw for _, _, size_hw in masks])
    for (place, _, _), read in zip(masks, found, strict=True):
        if isinstance(read, str) and not read.startswith("empty mask"):
            raise DataError(f"{path}: {place}: expected a mask of its photo, got {read}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= 1e12
