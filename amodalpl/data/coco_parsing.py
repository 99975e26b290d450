"""From the annotations of a file in COCO's frame to instances: what all formats of the family share."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataError
from ..masks.rle import Rle
from .coco_lists import MISSING, got, read_categories, read_images, whole_id
from .mask_parsing import MAX_COORDINATE_PX, NO_MASK, as_number, brief, mend, read_batches, read_masks
from .records import AnnotationSet, Box, Dropped, ImageRecord, Instance, LeftOut, Mask, reason_kind

_CARRIED_OVER = ("info", "licenses")
_LISTS = {"images", "annotations", "categories"}
_OF_INSTANCE = {"id", "image_id", "category_id", "iscrowd", "score", "group", "isStuff"}
_WRITE_RLE_AS_CROWD = ("cvat", "datumaro", "supervision")
_CROWD_SHARE = 0.1  # of all objects; COCO marks one in a hundred
INSTEAD_OF_PANOPTIC = "use the file of instances, or convert its PNG files with --from png-index"
_CROWD_WORDS = {"": 0, "0": 0, "false": 0, "1": 1, "true": 1}
_NOTHING: dict[str, Any] = {}  # one for the millions of instances of which nothing else is kept
ENTRIES_AT_ONCE = 2**12


@dataclass(frozen=True)
class Fields:
    """Where a COCO-like format keeps its masks.

    Attributes:
        format: its name.
        modal: key of the visible mask.
        amodal: key of the whole mask; None for purely modal formats.
        modal_defaults_to_amodal: an entry without the modal key is fully visible.
        modal_box: key of the visible part's box.
        amodal_box: key of the whole object's box.
        derived: other keys that follow from the masks: not kept when read, computed when written.
    """

    format: str
    modal: str
    amodal: str | None
    modal_defaults_to_amodal: bool = False
    modal_box: str = "bbox"
    amodal_box: str = ""
    derived: frozenset[str] = frozenset()

    @property
    def known(self) -> set[str]:
        """The keys of an entry that are read, or computed anew."""
        return _OF_INSTANCE | self.derived | {self.modal, self.amodal or self.modal}


class Entry(NamedTuple):
    """One object whose ids are sound and whose masks are still as the file has them.

    `modal_raw` is MISSING where the object is fully visible, and both masks are where it has boxes only.
    """

    place: str
    id: int
    image_id: int
    category_id: int
    modal_raw: Any
    modal_key: str
    amodal_raw: Any
    amodal_key: str
    is_crowd: bool = False
    is_stuff: bool = False
    raw: Mapping[str, Any] = _NOTHING


def read_coco_like(path: Path, data: Any, fields: Fields, as_drawn: bool = False, boxes: bool = False) -> AnnotationSet:
    """Turn a parsed COCO-like file into records.

    Args:
        path: for messages.
        data: parsed JSON.
        fields: where the masks are.
        as_drawn: keep polygons as polygons, and every other key of the file and of its entries.
        boxes: read stated boxes and what labels note; an entry that has a box but no mask is an instance too.

    Raises:
        DataError: no images, annotations or categories; ids that are not whole numbers; two images or categories of
            one id; an annotation that names no image; no masks at all.
    """
    top = _top_level(path, data)
    mended: list[Dropped] = []
    images = read_images(path, top.get("images"), mended)
    categories = read_categories(path, top.get("categories"), mended)
    annotations = top.get("annotations")
    if is_panoptic(annotations):
        raise DataError(f"{path}: expected COCO instances, got COCO panoptic; {INSTEAD_OF_PANOPTIC}")
    if not isinstance(annotations, list):
        raise DataError(
            f"{path}: annotations: expected a list of annotations, {got(annotations)}; "
            "choose a file with instance masks"
        )
    dropped: list[Dropped] = []
    unreadable: list[Dropped] = []
    entries = _sound_entries(path, annotations, fields, images, categories, dropped, boxes)
    instances = make_instances(entries, images, unreadable, mended, fields.known if as_drawn else None)
    if boxes:
        instances = _with_boxes(instances, annotations, fields, images, unreadable)
    dropped += unreadable
    _require_masks(path, annotations, instances, dropped, boxes)
    return AnnotationSet(
        path=path,
        format=fields.format,
        images=images,
        instances=instances,
        categories=categories,
        dropped=dropped,
        mended=mended,
        odd_crowds=_odd_crowds(annotations, str(top.get("info", "")), fields.modal),
        raw=_rest(top, _LISTS) if as_drawn else {key: top[key] for key in _CARRIED_OVER if key in top},
    )


def _odd_crowds(annotations: Iterable[Any], info: str, key: str) -> str:
    """Tell why regions marked as crowds seem to be single objects; "" when they do not.

    CVAT, datumaro and supervision write `iscrowd` 1 for every mask in pixels, because COCO's own crowds are RLE.
    """
    if not any(raw.get("iscrowd") for raw in annotations if isinstance(raw, dict)):
        return ""
    marked = [(raw.get("iscrowd"), raw.get(key)) for raw in annotations if isinstance(raw, dict)]
    crowds = [isinstance(mask, dict) for flag, mask in marked if flag and crowd_flag(flag)]
    if not crowds:
        return ""
    if len(crowds) == len(marked):
        return f"all {len(crowds)} objects are marked as crowds"
    if not all(crowds) or len(crowds) != sum(isinstance(mask, dict) for _, mask in marked):
        return ""
    tool = next((name for name in _WRITE_RLE_AS_CROWD if name in info.lower()), "")
    if not tool and len(crowds) < _CROWD_SHARE * len(marked):
        return ""
    by = f", and {tool} wrote the file" if tool else ""
    return f"all {len(crowds)} masks in pixels and no polygon are marked as crowds{by}"


def converting(path: Path) -> str:
    """Return the command that makes a COCO file of a file or folder of another tool."""
    return f"amodalpl convert {shlex.quote(str(path))} --images PHOTOS --out instances.json"


def _top_level(path: Path, data: Any) -> Mapping[str, Any]:
    if isinstance(data, dict) and ("images" in data or "annotations" in data):
        return data
    if isinstance(data, list) and data and isinstance(data[0], dict) and "image_id" in data[0]:
        raise DataError(
            f"{path}: expected a COCO file with images, annotations and categories, got a bare list of results; "
            f"make one: `{converting(path)}`, where PHOTOS is the COCO file that the detector ran over, or the folder "
            "of photos"
        )
    found = f"keys {brief(sorted(data))}" if isinstance(data, dict) else type(data).__name__
    raise DataError(
        f"{path}: expected a COCO file with images, annotations and categories, got {found}; "
        f"if another tool wrote it: `{converting(path)}`"
    )


def crowd_flag(value: Any) -> int | None:
    """Read COCO's crowd flag in the spellings that tools write: 0 or 1, as text, true or false, null.

    >>> crowd_flag("1"), crowd_flag(None), crowd_flag(2)
    (1, 0, None)
    """
    if value is None:
        return 0
    if isinstance(value, str):
        return _CROWD_WORDS.get(value.strip().lower())
    return int(value) if isinstance(value, int | float) and value in (0, 1) else None


def is_stuff(raw: Mapping[str, Any]) -> bool:
    """Read COCOA's flag for sky, floor and the like, which its conversions to COCO carry along."""
    return raw.get("isStuff", 0) in (1, "1")


def _sound_entries(
    path: Path,
    annotations: list[Any],
    fields: Fields,
    images: Iterable[ImageRecord],
    categories: Iterable[Mapping[str, Any]],
    dropped: list[Dropped],
    boxes: bool,
) -> Iterator[Entry]:
    """Check the ids of every annotation; what fails is added to `dropped`."""
    image_ids = {image.id for image in images}
    category_ids = {category["id"] for category in categories}
    modal_key, amodal_key = fields.modal, fields.amodal or ""
    seen: set[int] = set()
    for index, raw in enumerate(annotations):
        place = f"annotations[{index}]"
        if not isinstance(raw, dict):
            dropped.append(Dropped(place, None, None, f"not an annotation: expected an object, got {brief(raw)}"))
            continue
        annotation_id = whole_id(path, place, "id", raw)
        image_id = whole_id(path, place, "image_id", raw)
        modal_raw = raw.get(modal_key, MISSING)
        amodal_raw = raw.get(amodal_key, MISSING) if amodal_key else MISSING
        category_id = raw.get("category_id")
        crowd = raw.get("iscrowd", 0)
        if type(crowd) is not int:
            crowd = crowd_flag(crowd)
        has_box = False
        if boxes:
            if not modal_raw and amodal_raw is MISSING:  # an empty list stands for no mask beside a box
                modal_raw = MISSING
            has_box = any(raw.get(key) for key in (fields.modal_box, fields.amodal_box))
        if annotation_id in seen:
            problem = ("id", f"duplicate annotation id: {annotation_id} is taken by an annotation before")
        elif image_id not in image_ids:
            problem = ("image_id", f"unknown image: expected the id of one of the images, got {image_id}")
        elif type(category_id) is not int or category_id not in category_ids:
            hint = "; `amodalpl convert` reads ids and names of classes in text" if isinstance(category_id, str) else ""
            problem = (
                "category_id",
                f"unknown category: expected the id of a category, got {brief(category_id)}{hint}",
            )
        elif crowd not in (0, 1):
            problem = ("iscrowd", f"unknown crowd flag: expected 0 or 1, got {brief(raw['iscrowd'])}")
        elif (
            modal_raw is MISSING and not has_box and not (fields.modal_defaults_to_amodal and amodal_raw is not MISSING)
        ):
            problem = (modal_key, f"{NO_MASK}: expected polygons or RLE, found none")
        else:
            seen.add(annotation_id)
            yield Entry(
                place, annotation_id, image_id, category_id, modal_raw, modal_key, amodal_raw, amodal_key,
                is_crowd=crowd == 1, is_stuff=is_stuff(raw), raw=raw,
            )  # fmt: skip
            continue
        seen.add(annotation_id)
        dropped.append(Dropped(f"{place}.{problem[0]}", annotation_id, image_id, problem[1]))


def make_instances(
    entries: Iterable[Entry],
    images: Iterable[ImageRecord],
    dropped: list[Dropped],
    mended: list[Dropped],
    drawn: set[str] | None = None,
) -> list[Instance]:
    """Read the masks of all entries; an entry with a mask that cannot be used is added to `dropped`.

    Args:
        entries: with ids that were checked.
        images: holds every image that an entry names.
        dropped: is extended.
        mended: is extended by masks of which something could be recovered.
        drawn: keep polygons as polygons, and what an entry has beside these keys; None: keep pixels only.

    Returns:
        Instances in the order of the entries.
    """
    size_of = {image.id: image.size_hw for image in images}
    same = {image_id: image_id for image_id in size_of}

    def raw_masks() -> Iterator[tuple[list[Entry], list[Any], list[tuple[int, int]]]]:
        remaining = iter(entries)
        while batch := list(islice(remaining, ENTRIES_AT_ONCE)):
            owners = [(raw, entry.image_id) for entry in batch for raw in (entry.modal_raw, entry.amodal_raw)]
            given = [(raw, size_of[image_id]) for raw, image_id in owners if raw is not MISSING]
            yield batch, [raw for raw, _ in given], [size_hw for _, size_hw in given]

    instances: list[Instance] = []
    for batch, masks in read_batches(raw_masks()):
        # A number kept from the parsed file holds on to the block of memory it is in, and so all together to the whole
        # file; equal new ones replace them.
        ids = np.array([entry.id for entry in batch], dtype=np.int64).tolist()
        remaining = iter(masks)
        for entry, entry_id in zip(batch, ids, strict=True):
            modal = None if entry.modal_raw is MISSING else next(remaining)
            amodal = None if entry.amodal_raw is MISSING else next(remaining)
            if isinstance(modal, str) or isinstance(amodal, str):
                entry, modal, amodal = _recovered(entry, modal, amodal, size_of[entry.image_id], mended)
            if isinstance(modal, str) or isinstance(amodal, str):
                problem = _why_not(entry, modal, amodal)
                dropped.append(Dropped(f"{entry.place}.{problem[0]}", entry.id, entry.image_id, problem[1]))
                continue
            group, extra = None, _NOTHING
            try:
                if drawn is None:
                    score = _score_if_any(entry.raw)
                else:
                    score, extra = score_of(entry.raw), _rest(entry.raw, drawn)
                    group = entry.raw["group"] if type(entry.raw.get("group")) is int else None
            except LeftOut as reason:
                dropped.append(Dropped(entry.place, entry.id, entry.image_id, str(reason)))
                continue
            size_hw = None if drawn is None else size_of[entry.image_id]
            whole = None if amodal is None else _mask(entry.amodal_raw, amodal, size_hw)
            instances.append(
                Instance(
                    entry_id,
                    same.setdefault(entry.image_id, entry.image_id),
                    same.setdefault(entry.category_id, entry.category_id),
                    whole if modal is None else _mask(entry.modal_raw, modal, size_hw),
                    whole,
                    entry.is_crowd,
                    entry.is_stuff,
                    score,
                    group,
                    extra,
                    entry.place,
                )
            )
    return instances


def _with_boxes(
    instances: Iterable[Instance],
    annotations: Sequence[Mapping[str, Any]],
    fields: Fields,
    images: Iterable[ImageRecord],
    dropped: list[Dropped],
) -> list[Instance]:
    """Add stated boxes, and what a label file notes of its labels; one with a bad box and no mask is dropped."""
    size_of = {image.id: image.size_hw for image in images}
    entry_of = {raw["id"]: raw for raw in reversed(annotations) if isinstance(raw, dict)}
    kept = []
    for instance in instances:
        raw = entry_of[instance.id]
        notes = raw["amodalpl"] if isinstance(raw.get("amodalpl"), dict) else {}
        doubt, occluders = notes.get("uncertainty"), notes.get("occluders")
        try:
            modal, amodal = (
                _box(raw.get(key), key, size_of[instance.image_id]) for key in (fields.modal_box, fields.amodal_box)
            )
            if modal and amodal and not _is_inside(modal, amodal):
                raise LeftOut(f"whole box smaller than the visible one: {fields.amodal_box} is {brief(amodal)}")
        except LeftOut as reason:
            if instance.modal_mask is None and instance.amodal_mask is None:
                dropped.append(Dropped(instance.place, instance.id, instance.image_id, str(reason)))
                continue
            modal = amodal = None  # its mask has a box of its own
        kept.append(
            replace(
                instance,
                modal_box_xywh=modal,
                amodal_box_xywh=amodal,
                uncertainty=float(doubt) if isinstance(doubt, int | float) and not isinstance(doubt, bool) else None,
                occluders=tuple(i for i in occluders if type(i) is int) if isinstance(occluders, list) else (),
            )
        )
    return kept


def _box(value: Any, key: str, size_hw: tuple[int, int]) -> Box | None:
    """Return a stated box; None when there is none.

    Raises:
        LeftOut: not four numbers, no area, no pixel of the photo, or fractions of it.
    """
    if value is None or value == []:
        return None
    numbers = [as_number(number) for number in value] if isinstance(value, list) and len(value) == 4 else []
    if not numbers or not all(type(n) in (int, float) and abs(n) <= MAX_COORDINATE_PX for n in numbers):
        raise LeftOut(f"malformed box: expected x, y, width and height in {key}, got {brief(value)}")
    x, y, width, height = map(float, numbers)
    if width <= 0 or height <= 0:
        swapped = " (corners swapped?)" if width < 0 and height < 0 else ""
        raise LeftOut(f"empty box: expected a width and height above 0 in {key}, got {brief(value)}{swapped}")
    if max(x + width, y + height) <= 1 and min(size_hw) > 2:
        raise LeftOut(f"box in fractions: expected pixels in {key}, got {brief(value)}")
    if x >= size_hw[1] or y >= size_hw[0] or x + width <= 0 or y + height <= 0:
        raise LeftOut(f"box outside the photo: got {brief(value)} in {key}")
    return x, y, width, height


def _is_inside(inner: Box, outer: Box) -> bool:
    """Tell whether a box is inside another one, give or take a pixel."""
    starts = all(outer[axis] <= inner[axis] + 1 for axis in (0, 1))
    return starts and all(outer[axis] + outer[axis + 2] >= inner[axis] + inner[axis + 2] - 1 for axis in (0, 1))


def _recovered(
    entry: Entry, modal: Any, amodal: Any, size_hw: tuple[int, int], mended: list[Dropped]
) -> tuple[Entry, Any, Any]:
    """Return an entry and its masks, with those that were refused mended where they can be."""
    masks = {"modal": modal, "amodal": amodal}
    for which, mask in masks.items():
        found = mend(getattr(entry, f"{which}_raw"), size_hw) if isinstance(mask, str) else None
        if found:
            value, done = found
            place = f"{entry.place}.{getattr(entry, f'{which}_key')}"
            mended.append(Dropped(place, entry.id, entry.image_id, done))
            masks[which] = read_masks([value], [size_hw])[0]
            entry = entry._replace(**{f"{which}_raw": value})
    return entry, masks["modal"], masks["amodal"]


def _why_not(entry: Entry, modal: Any, amodal: Any) -> tuple[str, str]:
    """Return the key of the mask that cannot be used and the reason; one of both is a reason."""
    if isinstance(amodal, str):
        return entry.amodal_key, amodal
    if amodal is not None and modal.startswith("empty mask"):
        modal = "fully hidden: the visible mask is empty, the whole one is not"
    return entry.modal_key, modal


def _mask(value: Any, mask: Rle, drawn_on_hw: tuple[int, int] | None) -> Mask:
    """Return a mask that was read, with its polygons if the photo's size is given."""
    if drawn_on_hw is None or not isinstance(value, list):
        return Mask(rle=mask)
    parts = value if isinstance(value[0], list) else [value]
    return Mask(tuple(tuple(map(float, part)) for part in parts), size_hw=drawn_on_hw)


def mask_of(value: Any, size_hw: tuple[int, int], place: str = "", mended: list[Dropped] | None = None) -> Mask:
    """Read one mask in any of COCO's spellings; polygons stay as drawn.

    Args:
        value: of the key `segmentation`.
        size_hw: of the photo.
        place: of the mask.
        mended: is extended where only a part of the mask could be read.

    Raises:
        LeftOut: the reason why there is none.
    """
    mask = read_masks([value], [size_hw])[0]  # polygons are rasterised to find the ones that hold nothing
    if isinstance(mask, str):
        found = mend(value, size_hw)
        if found is None:
            raise LeftOut(mask)
        if mended is not None:
            mended.append(Dropped(place, None, None, found[1]))
        return mask_of(found[0], size_hw)
    return _mask(value, mask, size_hw)


def score_of(entry: Mapping[str, Any]) -> float | None:
    """Return the score of a detection, None where there is none.

    Raises:
        LeftOut: not a number of 0 to 1.
    """
    score = as_number(entry.get("score"))
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise LeftOut(f"score out of range: expected 0 to 1, got {brief(score)}")
    return float(score)


def _score_if_any(entry: Mapping[str, Any]) -> float | None:
    """Return the score of a detection; None also where what stands there is none, which then hinders nobody."""
    try:
        return score_of(entry)
    except LeftOut:
        return None


def _rest(entry: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in known}


def is_panoptic(annotations: Any) -> bool:
    """Tell COCO panoptic, whose annotations are photos with segments in a PNG."""
    return isinstance(annotations, list) and any(isinstance(a, dict) and "segments_info" in a for a in annotations[:50])


def _require_masks(
    path: Path, annotations: list[Any], instances: list[Instance], dropped: list[Dropped], boxes: bool
) -> None:
    """Refuse a file in which nothing has a mask: it is of another kind, there is no entry to correct."""
    if instances or not dropped or not all(reason_kind(entry.reason) == NO_MASK for entry in dropped):
        return
    first = dropped[0]
    none, instead = (
        ("a mask or a box", "export one of them")
        if boxes
        else ("a mask (boxes only?)", "export instance masks; `amodalpl check` says what learns from boxes")
    )
    raise DataError(
        f"{path}: {first.place}: {first.reason.partition(': ')[2]}; none of the {len(annotations)} annotations has "
        f"{none}, {instead}"
    )
