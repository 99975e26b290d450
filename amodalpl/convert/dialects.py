"""JSON files in COCO's frame that hold two masks per object, under keys that differ from data set to data set.

Polygons and RLE stay as they are drawn. Boxes, areas and hidden shares are computed anew from the masks when written.
COCO puts the corners of pixels at whole numbers, as the hub does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..data.coco_family import Fields, read_coco_like
from ..data.dataset_builder import Builder, LeftOut, pixels
from ..data.exif import orientation, stored
from ..data.hub import DataSet, Losses, Outline, Photo, Thing
from ..data.records import AnnotationSet
from ..errors import DataError
from ..io.files import read_json, write_json
from ..masks import rle
from ..masks.rle import Rle
from .coco import read_classes, score_of

_OF_PHOTO = {"id", "file_name", "height", "width"}
_OF_THING = {"id", "image_id", "category_id", "iscrowd", "score", "group", "isStuff", "bbox", "area"}
_INDEX = re.compile(r"\D")
_LISTS = {"images", "annotations", "categories"}


@dataclass(frozen=True)
class Dialect:
    """How a data set spells its objects.

    Attributes:
        fields: the keys of its masks, shared with the pipeline's reader.
        derived: other keys that follow from the masks: passed over when read, computed when written.
    """

    fields: Fields
    derived: frozenset[str] = frozenset()


def read(path: Path, images: Path | None, dialect: Dialect, raw: Any = None) -> DataSet:
    """Read a file.

    Args:
        path: the JSON file.
        images: folder of the photos, whose sizes are compared when it is given.
        dialect: of the file.
        raw: the parsed JSON, when it had to be prepared.

    Raises:
        DataError: as `formats.entries.read_coco_like` does, or none of the photos is there.
    """
    fields = dialect.fields
    raw = read_json(path, f"a {fields.format} file") if raw is None else raw
    records = read_coco_like(path, raw, fields)
    builder = Builder(path, images)
    builder.data.extra = _rest(raw, _LISTS)
    read_classes(builder, records.categories)
    read_photos(builder, records)
    known = _OF_THING | dialect.derived | {fields.modal, fields.amodal or fields.modal}
    read_things(builder, records, lambda place: raw["annotations"][int(_INDEX.sub("", place))], fields, known)
    return builder.finish()


def read_photos(builder: Builder, records: AnnotationSet, more: Mapping[int, Mapping[str, Any]] | None = None) -> None:
    """Add the photos of a file.

    Args:
        builder: to add to.
        records: the file as the pipeline reads it.
        more: what else is known of photos, by id, to be kept.
    """
    for index, image in enumerate(records.images):
        place = f"images[{index}]"
        with builder.entry(place):
            extra = {**_rest(image.raw, _OF_PHOTO), **(more or {}).get(image.id, {})}
            builder.photo(image.file_name, place, image.size_hw, as_shown=False, extra=extra, id=image.id)


def read_things(
    builder: Builder,
    records: AnnotationSet,
    entry_at: Callable[[str], Mapping[str, Any]],
    fields: Fields,
    known: set[str] | frozenset[str],
    ids: Mapping[int, int] | None = None,
) -> None:
    """Add the objects of a file, whose masks the pipeline's reader checked but holds in pixels only.

    Args:
        builder: to add to; has the photos.
        records: the file as the pipeline reads it.
        entry_at: from the place of an object to its raw entry, where polygons are as drawn.
        fields: the keys of the masks.
        known: keys that are not to be kept as they are.
        ids: other ids for the objects.
    """
    data = builder.data
    data.left_out += [(entry.place, entry.reason) for entry in records.dropped]
    photos = {photo.id: photo for photo in data.photos}
    stated = {image.id: image.size_hw for image in records.images}
    turns = {
        photo.id: orientation(builder.images / photo.file_name)
        for photo in data.photos
        if builder.images is not None and photo.size_hw != stated[photo.id]
    }
    for instance in records.instances:
        with builder.entry(instance.place):
            photo = photos.get(instance.image_id)
            if photo is None:
                raise LeftOut(f"photo not read: expected the id of one of the images, got {instance.image_id}")
            entry, turn = entry_at(instance.place), turns.get(photo.id, 1)
            amodal = instance.amodal and stored(
                _as_drawn(entry[fields.amodal or ""], instance.amodal), photo.size_hw, turn
            )
            modal = amodal
            if instance.modal and fields.modal in entry:
                modal = stored(_as_drawn(entry[fields.modal], instance.modal), photo.size_hw, turn)
            data.things.append(
                Thing(
                    ids[instance.id] if ids else instance.id,
                    photo.id,
                    instance.category_id,
                    modal,
                    None if instance.is_crowd else amodal,  # a region of many objects has no whole
                    is_crowd=instance.is_crowd,
                    is_stuff=instance.is_stuff,
                    score=score_of(entry),
                    group=entry["group"] if type(entry.get("group")) is int else None,
                    extra=_rest(entry, known),
                )
            )


def _as_drawn(value: Any, mask: Rle) -> Outline:
    if isinstance(value, dict):
        return Outline(rle=mask)
    parts = value if isinstance(value[0], list) else [value]
    return Outline(tuple(tuple(float(number) for number in part) for part in parts))


def write(data: DataSet, out: Path, annotations: list[dict[str, Any]]) -> None:
    """Write a file in COCO's frame; of the annotations, `annotation` is the common part."""
    write_json(
        out,
        {
            **data.extra,
            "images": [photo_entry(photo) for photo in data.photos],
            "categories": [{"id": entry.id, "name": entry.name, **entry.extra} for entry in data.categories],
            "annotations": annotations,
        },
    )


def photo_entry(photo: Photo) -> dict[str, Any]:
    """Return a photo as COCO has it."""
    height, width = photo.size_hw
    return {"id": photo.id, "file_name": photo.file_name, "height": height, "width": width, **photo.extra}


@dataclass(frozen=True)
class Pair:
    """The two masks of one object, as drawn and in pixels; of a crowd region both are the region."""

    thing: Thing
    modal: Outline
    amodal: Outline
    modal_px: Rle
    amodal_px: Rle

    @cached_property
    def hidden_px(self) -> int:
        """Pixels of the whole mask that are not visible."""
        return rle.area_px(self.amodal_px) - rle.intersection_px(self.modal_px, self.amodal_px)

    @property
    def occlude_rate(self) -> float:
        """Hidden share of the whole mask, 0 to 1, as COCOA and D2SA have it."""
        return self.hidden_px / rle.area_px(self.amodal_px)

    @property
    def hidden(self) -> Rle:
        """Whole minus visible."""
        return rle.encode(rle.decode(self.amodal_px) & ~rle.decode(self.modal_px))


def pairs(data: DataSet, losses: Losses) -> Iterator[Pair]:
    """Yield what has both masks; what has not is counted in `losses`.

    Raises:
        DataError: no object has a whole mask, so that there is nothing such a format is for.
    """
    if not any(thing.amodal for thing in data.things):
        raise DataError(
            f"nothing to write: expected objects with whole (amodal) masks, found none among {len(data.things)}; "
            "label them with `amodalpl pseudolabel` first, or write --to coco"
        )
    sizes = {photo.id: photo.size_hw for photo in data.photos}
    for thing in data.things:
        amodal = thing.modal if thing.is_crowd else thing.amodal
        if thing.modal is None or amodal is None:
            losses[f"objects without a {'visible' if thing.modal is None else 'whole'} mask"] += 1
            continue
        size_hw = sizes[thing.image_id]
        try:
            modal_px = pixels(thing.modal, size_hw)
            amodal_px = modal_px if amodal == thing.modal else pixels(amodal, size_hw)
        except LeftOut:
            losses["objects whose mask covers no pixel of the photo"] += 1
            continue
        yield Pair(thing, thing.modal, amodal, modal_px, amodal_px)


def annotation(thing: Thing, segmentation: Any, mask: Rle) -> dict[str, Any]:
    """Return the keys that all dialects share.

    Args:
        thing: the object.
        segmentation: as COCO spells masks.
        mask: the same in pixels, for `bbox` and `area`.
    """
    return {
        **_rest(thing.extra, {"bbox", "area"}),
        "id": thing.id,
        "image_id": thing.image_id,
        "category_id": thing.category_id,
        "segmentation": segmentation,
        "bbox": list(rle.box_xywh(mask)),
        "area": rle.area_px(mask),
        "iscrowd": int(thing.is_crowd),
        **({} if thing.score is None else {"score": thing.score}),
        **({} if thing.group is None else {"group": thing.group}),
        **({"isStuff": 1} if thing.is_stuff else {}),
    }


def write_pairs(data: DataSet, out: Path, entry: Callable[[Pair], dict[str, Any]], losses: Losses) -> Losses:
    """Write all objects that have both masks, each as `entry` spells it.

    Returns:
        `losses` with what was left out added.
    """
    write(data, out, [entry(pair) for pair in pairs(data, losses)])
    return +losses


def _rest(entry: Mapping[str, Any], known: set[str] | frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in known}
