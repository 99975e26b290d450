"""Label files, the order and the doubts beside them: how each entry is spelled, and how files are checked.

All are written and read entry by entry, since they may be large. Files may come from anywhere: what `pseudolabel` and
`apply-review` write passes; a file of another kind, or one changed by hand, gets one clear line.
"""

from __future__ import annotations

import base64
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import DataError
from ..io.json_stream import finite, open_list, read_entries, read_object
from ..masks import rle
from ..masks.boxed import BoxedMask
from ..masks.rle import Rle
from .coco_lists import read_categories, read_images, whole_id
from .mask_parsing import brief, read_masks
from .records import AnnotationSet, ImageRecord, Instance
from .review_file import COMPLETED, Verdict, completed_mask

REFINED = "refined"
"""Key of `amodalpl` in a label of `refine`: where its mask is from, and what was last said of it."""
DECISION = "decision"
"""Key of `amodalpl` in a label that was decided on."""
NOTHING_IN_FRONT = frozenset({"no_occluder", "overlap_only", "kept_modal"})
"""Flags of labels that nothing is in front of by the order, or whose class is never completed."""
DOUBTFUL_FROM = 0.25
"""Uncertainty above which labels are doubtful: they expect an IoU below 0.75, the least that promises are about."""
UNASKED = NOTHING_IN_FRONT | {"fully_shared"}
"""Flags of labels that the network was not asked about."""
_MASKS = ("segmentation", "visible_mask")
_NOTED_MASKS = (COMPLETED, "drawn")
_NEEDED = ("id", "image_id", "category_id", *_MASKS, "amodalpl")
_LISTS = {"flags": str, "occluders": int}
_NUMBERS = ("uncertainty", "plausibility", "growth", "added_px")
WRITTEN_BY = "write it with `amodalpl pseudolabel`"
_LABEL_FILE, _ORDER_FILE = "a label file", "the order of labels"
ENTRIES_AT_ONCE = 2**10  # whose masks are checked together


@contextmanager
def open_label_file(path: Path, data: AnnotationSet) -> Iterator[Callable[[Mapping[str, Any]], object]]:
    """Open a label file that is written whole; yields the function that adds a label.

    Args:
        path: of the file.
        data: what was labelled; its photos, categories and everything else at the top of its file are carried over.
    """
    head = {**finite(data.raw), "images": [finite(_image_entry(record)) for record in data.images]}
    with open_list(path, head, "annotations", {"categories": finite(data.categories)}) as add:
        yield add


def write_label_file(path: Path, data: AnnotationSet, annotations: Iterable[Mapping[str, Any]]) -> None:
    """Write a label file whole, one label in memory at a time; see `open_label_file`."""
    with open_label_file(path, data) as add:
        for entry in annotations:
            add(entry)


def _image_entry(record: ImageRecord) -> dict[str, Any]:
    stated = {
        "id": record.id,
        "file_name": record.file_name,
        "height": record.size_hw[0],
        "width": record.size_hw[1],
    }
    return {**record.raw, **{key: value for key, value in stated.items() if key not in record.raw}}


@dataclass(frozen=True)
class UncertaintyMap:
    """How doubtful the pixels of a label are.

    Attributes:
        box_xywh: what the map covers: x, y, width, height in image pixels.
        levels: (h, w) uint8, at most 64 pixels on the longer side; 0 is sure, 255 as likely in as out.
    """

    box_xywh: tuple[int, int, int, int]
    levels: np.ndarray


def label_entry(
    instance: Instance,
    amodal: BoxedMask,
    visible: BoxedMask,
    *,
    completer: str,
    drawn_px: int,
    occluders: Sequence[int],
    uncertainty: float,
    plausibility: float | None,
    flags: Sequence[str],
    features: Mapping[str, float] | None = None,
    hidden_by: Mapping[int | None, int] | None = None,
    drawn: Rle | None = None,
) -> dict[str, Any]:
    """Return the annotation of an object in a label file, JSON values, see `docs/formats.md`.

    Args:
        instance: that was labelled; the score of a detection is kept.
        amodal: the whole object; contains what was drawn.
        visible: what is left of what was drawn after shared pixels got one owner.
        completer: name of the method.
        drawn_px: pixels of what was drawn.
        occluders: annotation ids of the objects taken to be in front.
        uncertainty: expected 1 - IoU, 0 to 1.
        plausibility: how ordinary the whole shape is, 0 to 1; None where nobody knows.
        flags: what else to know of it.
        features: what the object and its label look like, in named numbers; None to leave them out.
        hidden_by: occluder map: pixels of its hidden part under each other object that is seen there, by annotation id,
            and under nothing that has a mask, by None; None to leave it out.
        drawn: what was drawn, where neither the visible nor the whole mask says it.
    """
    area_px = amodal.area_px
    notes: dict[str, Any] = {
        "completer": completer,
        "occluders": list(occluders),
        "uncertainty": round(uncertainty, 6),
        "plausibility": None if plausibility is None else round(plausibility, 6),
        "growth": round(area_px / max(drawn_px, 1), 6),
        "added_px": area_px - drawn_px,
        "flags": list(flags),
    }
    if hidden_by is not None:
        notes["hidden_by"] = [{"occluder": occluder, "px": px} for occluder, px in hidden_by.items()]
    if features is not None:
        notes["features"] = {name: round(value, 4) for name, value in features.items()}
    if drawn is not None:
        notes["drawn"] = rle.to_json(drawn)
    return {
        "id": instance.id,
        "image_id": instance.image_id,
        "category_id": instance.category_id,
        "iscrowd": 0,
        **({} if instance.score is None else {"score": instance.score}),
        "segmentation": rle.to_json(amodal.encode()),
        "bbox": list(amodal.box_xywh),
        "area": area_px,
        "visible_mask": rle.to_json(visible.encode()),
        "visible_bbox": list(visible.box_xywh),
        "occlude_rate": round(1 - visible.area_px / area_px, 6),
        "amodalpl": notes,
    }


def decided_entry(annotation: Mapping[str, Any], verdict: Verdict | None) -> dict[str, Any]:
    """Return an annotation of a label file with a decision carried out, whatever was decided of it before.

    What stands under `amodalpl` (growth, uncertainty, plausibility, flags, occluders) goes on speaking of the mask of
    the completer. A label of which nothing is visible keeps its mask.

    Args:
        annotation: of a label file.
        verdict: None undoes what was decided before.
    """
    completed, visible = completed_mask(annotation), annotation["visible_mask"]
    falls_back = verdict in ("reject", "keep-modal") and _area_px(visible) > 0
    whole = visible if falls_back else completed
    ours = {key: value for key, value in annotation["amodalpl"].items() if key not in (DECISION, COMPLETED)}
    if verdict is not None:
        ours[DECISION] = verdict
    if whole != completed:
        ours[COMPLETED] = completed
    return {
        **annotation,
        "iscrowd": int(verdict == "reject"),
        **_whole_object(whole),
        "occlude_rate": _occlude_rate(visible, whole),
        "amodalpl": ours,
    }


def refined_entry(
    annotation: Mapping[str, Any],
    whole: Mapping[str, Any] | None,
    uncertainty: float,
    notes: Mapping[str, Any],
    *,
    dropped: bool = False,
) -> dict[str, Any]:
    """Return an annotation of a label file after a round of `refine`.

    Args:
        annotation: of a label file.
        whole: another whole mask, which holds the visible one; None keeps the label's.
        uncertainty: that it has now.
        notes: written under `refined`.
        dropped: it becomes a region of its visible mask that detectors ignore; its whole mask is put aside, as that of
            a label which a review rejects.
    """
    ours = {**annotation["amodalpl"], "uncertainty": round(uncertainty, 6), REFINED: dict(notes)}
    visible, before = annotation["visible_mask"], annotation["segmentation"]
    mask = whole or before
    if whole is not None:
        drawn_px = _area_px(before) - int(ours.get("added_px") or 0)
        ours |= {
            "added_px": _area_px(whole) - drawn_px,
            "growth": round(_area_px(whole) / max(drawn_px, 1), 6),
        }
    if dropped and _area_px(visible) > 0:
        ours[COMPLETED], mask = before, visible
    return {
        **annotation,
        "iscrowd": int(dropped or annotation["iscrowd"]),
        **_whole_object(mask),
        "occlude_rate": _occlude_rate(visible, mask),
        "amodalpl": ours,
    }


def _whole_object(whole: Mapping[str, Any]) -> dict[str, Any]:
    return {"segmentation": whole, "bbox": _box_xywh(whole), "area": _area_px(whole)}


def _occlude_rate(visible: Mapping[str, Any], whole: Mapping[str, Any]) -> float:
    return round(1 - _area_px(visible) / _area_px(whole), 6)


def _area_px(mask: Mapping[str, Any]) -> int:
    return rle.area_px(mask)  # type: ignore[arg-type]  # pycocotools takes text and bytes


def _box_xywh(mask: Mapping[str, Any]) -> list[int]:
    return list(rle.box_xywh(mask))  # type: ignore[arg-type]


def order_entry(
    image_id: int,
    ids: Sequence[int],
    pairs: Iterable[tuple[int, int, float, float, float | None]],
    mutual: Iterable[Sequence[int]],
    cycles: Iterable[Sequence[int]],
) -> dict[str, Any]:
    """Return the entry of a photo in `order.json`, see `docs/formats.md`; photos without pairs have one too.

    Args:
        image_id: of the photo.
        ids: of its annotations, which the indices below are replaced by.
        pairs: front, back, pixels of evidence, score, and the chance that it is so, None to leave it out.
        mutual: pairs of objects that hide each other.
        cycles: groups of objects that hide one another in a circle.
    """
    return {
        "image_id": image_id,
        "pairs": [
            {"front": ids[front], "back": ids[back], "evidence_px": evidence_px, "score": round(score, 6)}
            | ({} if chance is None else {"chance": round(chance, 4)})
            for front, back, evidence_px, score, chance in pairs
        ],
        "mutual": [[ids[k] for k in group] for group in mutual],
        "cycles": [[ids[k] for k in group] for group in cycles],
    }


def doubt_entry(annotation_id: int, doubt: UncertaintyMap) -> dict[str, Any]:
    """Return the line of a label in `doubt.jsonl`, see `docs/formats.md`."""
    png = cv2.imencode(".png", doubt.levels)[1]
    return {"id": annotation_id, "box": list(doubt.box_xywh), "png": base64.b64encode(png.tobytes()).decode("ascii")}


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
    while batch := list(islice(entries, ENTRIES_AT_ONCE)):
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
            notes = _check_notes(path, f"{place}.amodalpl", entry["amodalpl"])
            masks += [(f"{place}.{key}", entry[key], sizes[image_id]) for key in _MASKS]
            masks += [(f"{place}.amodalpl.{k}", notes[k], sizes[image_id]) for k in _NOTED_MASKS if notes.get(k)]
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


def _check_notes(path: Path, place: str, notes: Any) -> Mapping[str, Any]:
    """Return what is noted of a label, if it can be; its masks are looked at with the others."""
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
    return notes


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
