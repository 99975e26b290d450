"""COCOA (Zhu et al. 2017): whole objects drawn as polygons, the visible part where something is in front.

The full release groups `regions` per photo under `annotations`, matched to `images` by id (their order differs). A
single record, a list of records, or a folder of record files is read as well; ids of objects, which COCOA does not
have, run from 1 over the regions in file order. A region without a `visible_mask` is fully visible. Regions have a free
name and no class: everything is of the class "object", and what a class is called goes into `name` when written, an id
into `id`, which COCOA's tools pass over.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import DataError
from ..io.files import read_json, read_json_folder, write_json
from ..io.images import check_size, image_size_hw
from ..masks import rle
from ..masks.rle import Rle
from .coco_lists import MISSING, read_images, whole_id
from .coco_parsing import Entry, converting, is_stuff, make_instances
from .coco_write import MaskPair, pairs, photo_entry
from .dataset_builder import DrawnOn, on_photos
from .format_losses import UnsupportedFields, unsupported_fields
from .label_folder import LABELS
from .mask_parsing import NO_MASK, brief
from .mask_tracing import one_ring, rings
from .photo_names import SUFFIXES
from .records import AnnotationSet, Dropped, ImageRecord, Instance, Mask
from .source import Source

CATEGORIES = [{"id": 1, "name": "object"}]
_RECORD = "cocoa"  # key of a photo for what its record says
_OF_RECORD = {"image_id", "regions", "depth_constraint", "size"}
_OF_REGION = {
    *("segmentation", "visible_mask", "invisible_mask", "area", "occlude_rate"),
    *("isStuff", "score", "group"),
}
_CONSTRAINT = re.compile(r"\s*(\d{1,9})\s*-\s*(\d{1,9})\s*")


def is_cocoa(data: Any) -> bool:
    """Tell whether parsed JSON is COCOA: a full release, a record, or a list of records."""
    if isinstance(data, dict):
        if "regions" in data and "asset" not in data:  # VoTT has regions of an asset
            return True
        data = data.get("annotations")
    if not isinstance(data, list):
        return False
    first = next((record for record in data if isinstance(record, dict)), {})
    return "regions" in first


def read_cocoa(path: Path, data: Any, as_drawn: bool = False) -> AnnotationSet:
    """Turn a parsed COCOA file into records.

    Args:
        path: the file, or the folder of files; photos of lone records are looked for beside these.
        data: parsed JSON: a full release, one record, or a list of records; of a folder, that of each file.
        as_drawn: keep polygons as polygons, and every other key of the file, its records and its regions.

    Raises:
        DataError: not COCOA; bad or repeated image ids; a lone record whose photo has no known size; no masks at all;
            no record in a folder.
    """
    if path.is_dir():
        return _read_record_folder(path, data, as_drawn)
    if not is_cocoa(data):
        raise DataError(
            f"{path}: expected a COCOA file, whose annotations have `regions`, found none; "
            "leave the format to be detected, or name another"
        )
    if isinstance(data, dict) and "regions" not in data:
        records = [(f"annotations[{i}]", record) for i, record in enumerate(data["annotations"])]
        kept = data.keys() - {"images", "annotations"} if as_drawn else ("info", "licenses")
        raw = {key: data[key] for key in data if key in kept}
        mended: list[Dropped] = []
        images = read_images(path, data.get("images"), mended)
        return _read(path, images, records, [], raw, as_drawn, mended)
    lone = [("", data)] if isinstance(data, dict) else [(f"[{i}]", record) for i, record in enumerate(data)]
    dropped: list[Dropped] = []
    images, records = [], []
    for place, record in lone:
        if not isinstance(record, dict):
            dropped.append(Dropped(place, None, None, f"not a COCOA record: got {brief(record)}"))
            continue
        images.append(_image_of_record(path, place, record, path.stem if isinstance(data, dict) else None))
        records.append((place, record))
    return _read(path, _distinct(path, images), records, dropped, {}, as_drawn, [])


def _no_records(folder: Path) -> str:
    """Say what a folder is that has no record, and what to give instead."""
    if (folder / LABELS).is_file():
        return f"expected an annotation file, got a folder of labels; give {folder / LABELS}"
    expected = "expected an annotation file, or a folder of COCOA records (one JSON file with `regions` per photo)"
    if any(file.suffix.lower() in SUFFIXES for file in folder.iterdir()):
        return f"{expected}, found photos; the annotation file comes first, then the folder of its photos"
    return f"{expected}, found no record; name the annotation file itself, or make one with `amodalpl convert`"


def _read_record_folder(folder: Path, files: Mapping[Path, Any], as_drawn: bool) -> AnnotationSet:
    """Read COCOA records, one JSON file per photo; a file that is not a record is listed under `dropped`."""
    dropped: list[Dropped] = []
    images, records, of_labelme = [], [], 0
    for file, record in files.items():
        if not isinstance(record, dict) or "regions" not in record:
            of_labelme += isinstance(record, dict) and "shapes" in record
            dropped.append(Dropped(file.name, None, None, "not a COCOA record: it has no `regions` of one photo"))
            continue
        images.append(_image_of_record(file, "", record, file.stem))
        records.append((file.name, record))
    if of_labelme and not records:
        raise DataError(
            f"{folder}: expected an annotation file, found {of_labelme} labelme files; make one of them: "
            f"`{converting(folder)}`"
        )
    if not records:
        raise DataError(f"{folder}: {_no_records(folder)}")
    return _read(folder, _distinct(folder, images), records, dropped, {}, as_drawn, [])


def _distinct(path: Path, images: list[ImageRecord]) -> list[ImageRecord]:
    seen: set[int] = set()
    for image in images:
        if image.id in seen:
            raise DataError(f"{path}: image_id: expected one record per photo, got two of {image.id}; remove one")
        seen.add(image.id)
    return images


def _image_of_record(file: Path, place: str, record: dict[str, Any], stem: str | None) -> ImageRecord:
    """Make up the image entry that a lone record does not have.

    The name is the last part of its `url`, unless only `<stem of the JSON file>.jpg` lies beside the file. The size is
    that of its first RLE, or else is read from the photo.
    """
    dot = f"{place}." if place else ""
    image_id = whole_id(file, place, "image_id", record)
    url = record.get("url")
    name = _last_part(url) if isinstance(url, str) else ""
    if stem is not None and (not name or not _exists(file.parent, name)) and _exists(file.parent, f"{stem}.jpg"):
        name = f"{stem}.jpg"
    if not name:
        raise DataError(f"{file}: {dot}url: expected the photo's address, got {brief(url)}; add it")
    size_hw = _size_in_regions(record.get("regions"))
    if size_hw is None:
        if not _exists(file.parent, name):
            raise DataError(
                f"{file}: {dot}regions: expected an RLE that tells the photo's size, or the photo {name[:120]} beside "
                "the file, found neither; put the photo there"
            )
        size_hw = image_size_hw(file.parent / name)
    check_size(file, place or "regions", size_hw)
    raw = {"id": image_id, "file_name": name, "height": size_hw[0], "width": size_hw[1]}
    return ImageRecord(image_id, name, size_hw, raw)


def _last_part(url: str) -> str:
    try:
        return PurePosixPath(unquote(urlsplit(url).path)).name
    except ValueError:  # brackets that hold no address
        return ""


def _exists(folder: Path, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except (OSError, ValueError):  # a name too long, or with characters no file has
        return False


def _size_in_regions(regions: Any) -> tuple[int, int] | None:
    for region in regions if isinstance(regions, list) else ():
        for key in ("visible_mask", "invisible_mask", "segmentation"):
            mask = region.get(key) if isinstance(region, dict) else None
            size = mask.get("size") if isinstance(mask, dict) else None
            if isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size):
                return size[0], size[1]
    return None


@dataclass(frozen=True)
class _Regions:
    """The sound regions of a record, and what it says of their order.

    Attributes:
        place: of the record.
        image_id: of its photo.
        ids: of all its regions, by their numbers.
        entries: those that can be read.
        constraint: its `depth_constraint`; empty where there is none.
    """

    place: str
    image_id: int
    ids: range
    entries: list[Entry]
    constraint: Any

    def order(self, dropped: list[Dropped]) -> list[tuple[int, int]]:
        """Return front and back of its pairs; an order that is malformed is added to `dropped`."""
        if not self.constraint:
            return []
        stated = _stated(self.constraint, self.ids)
        if stated is not None:
            return stated
        found = brief(self.constraint)
        why = f"malformed order: expected pairs such as '1-2,1-3' of {len(self.ids)} regions, got {found}"
        dropped.append(Dropped(f"{self.place}depth_constraint", None, self.image_id, why))
        return []


def _sound_regions(
    path: Path, image_ids: set[int], records: Sequence[tuple[str, Any]], dropped: list[Dropped]
) -> Iterator[_Regions]:
    """Number the regions of all records from 1, and check them; what fails is added to `dropped`."""
    taken: set[int] = set()
    next_id = 1
    for place, record in records:
        dot = f"{place}." if place else ""
        if not isinstance(record, dict) or not isinstance(record.get("regions"), list):
            dropped.append(Dropped(place, None, None, "not a COCOA record: expected a list of `regions`"))
            continue
        image_id = whole_id(path, place, "image_id", record)
        ids = range(next_id, next_id + len(record["regions"]))
        next_id = ids.stop
        reason = ""
        if image_id not in image_ids:
            reason = f"unknown image: expected the id of one of the images, got {image_id}"
        elif image_id in taken:
            reason = f"second record of a photo: image {image_id} has one before"
        taken.add(image_id)
        entries = []
        for index, region in enumerate(record["regions"]):
            here = f"{dot}regions[{index}]"
            if reason or not isinstance(region, dict):
                why = reason or f"not a region: expected an object, got {brief(region)}"
                dropped.append(Dropped(here, ids[index], image_id, why))
            elif "segmentation" not in region:
                why = f"{NO_MASK}: expected polygons or RLE, found none"
                dropped.append(Dropped(f"{here}.segmentation", ids[index], image_id, why))
            else:
                entries.append(_entry(here, ids[index], image_id, region))
        yield _Regions(dot, image_id, ids, entries, "" if reason else record.get("depth_constraint"))


def _entry(place: str, region_id: int, image_id: int, region: Mapping[str, Any]) -> Entry:
    return Entry(
        place=place,
        id=region_id,
        image_id=image_id,
        category_id=1,
        modal_raw=region.get("visible_mask", MISSING),
        modal_key="visible_mask",
        amodal_raw=region["segmentation"],
        amodal_key="segmentation",
        is_stuff=is_stuff(region),
        raw=region,
    )


def _read(
    path: Path,
    images: list[ImageRecord],
    records: Sequence[tuple[str, Any]],
    dropped: list[Dropped],
    raw: dict[str, Any],
    as_drawn: bool,
    mended: list[Dropped],
) -> AnnotationSet:
    regions = list(_sound_regions(path, {image.id for image in images}, records, dropped))
    entries = [entry for of_record in regions for entry in of_record.entries]
    instances = make_instances(entries, images, dropped, mended, _OF_REGION if as_drawn else None)
    kept = {instance.id for instance in instances}
    front_of = [pair for of_record in regions for pair in of_record.order(dropped) if kept.issuperset(pair)]
    if not instances and entries and all(entry.reason.startswith(NO_MASK) for entry in dropped):
        raise DataError(f"{path}: {dropped[0].place}: {dropped[0].reason.partition(': ')[2]}; no region has a mask")
    if as_drawn:
        record_of = {record["image_id"]: record for _, record in reversed(records) if isinstance(record, dict)}
        images = [_with_record(image, record_of.get(image.id)) for image in images]
    return AnnotationSet(
        path=path,
        format="cocoa",
        images=images,
        instances=instances,
        categories=[dict(category) for category in CATEGORIES],
        dropped=dropped,
        mended=mended,
        front_of=front_of,
        raw=raw,
    )


def _stated(constraint: Any, ids: range) -> list[tuple[int, int]] | None:
    """Parse "i-j,k-l" (1-based regions, the first in front of the second) into ids; None if it is malformed."""
    if not isinstance(constraint, str):
        return None
    stated = []
    for part in constraint.split(","):
        match = _CONSTRAINT.fullmatch(part)
        if match is None:
            return None
        front, back = int(match[1]), int(match[2])
        if not (1 <= front <= len(ids) and 1 <= back <= len(ids)) or front == back:
            return None
        stated.append((ids[front - 1], ids[back - 1]))
    return stated


def _with_record(image: ImageRecord, record: Mapping[str, Any] | None) -> ImageRecord:
    """Keep what a record says of its photo beside the regions, under a key of its own."""
    own = {key: value for key, value in (record or {}).items() if key not in _OF_RECORD}
    return replace(image, raw={**image.raw, _RECORD: own}) if own else image


def detect(source: Source) -> bool:
    """Tell by `regions`, in a file or in any of the first files of a folder."""
    return is_cocoa(source.data) or any(isinstance(data, dict) and is_cocoa(data) for data in source.some_data)


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a full release, a record, a list of records, or a folder of records, with masks as drawn.

    Args:
        path: the JSON file or the folder.
        images: folder of the photos, whose sizes are compared when it is given.
        drawn_on: of `Builder`.

    Raises:
        DataError: not COCOA, bad or repeated image ids, no masks at all, or none of the photos there.
    """
    parsed = read_json_folder(path, "a COCOA record") if path.is_dir() else read_json(path, "a COCOA file")
    data = read_cocoa(path, parsed, as_drawn=True)
    ids = _own_ids(data.instances)
    data.instances = [
        replace(i, id=ids[i.id], extra={key: value for key, value in i.extra.items() if key != "id"})
        for i in data.instances
    ]
    data.front_of = [(ids[front], ids[back]) for front, back in data.front_of]
    return on_photos(data, images, drawn_on)


def _own_ids(instances: Sequence[Instance]) -> dict[int, int]:
    """Return the id of every region by its number: that under `id` where all have one of their own."""
    stated = {instance.id: instance.extra.get("id") for instance in instances}
    values = list(stated.values())
    if all(type(value) is int and 0 < value < 2**63 for value in values) and len(set(values)) == len(values):
        return stated  # type: ignore[return-value]
    return {number: number for number in stated}


def write(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write a full release.

    Raises:
        DataError: no object has a whole mask.
    """
    losses = unsupported_fields(data, "other keys of classes")
    names = {category["id"]: category["name"] for category in data.categories}
    losses["classes, now names of regions"] += sum(name != CATEGORIES[0]["name"] for name in names.values())
    regions: dict[int, list[dict[str, Any]]] = defaultdict(list)
    number: dict[int, int] = {}
    for pair in pairs(data, losses):
        if pair.instance.is_crowd:  # COCOA has none, and would take it for an object
            losses["crowd regions"] += 1
            continue
        here = regions[pair.instance.image_id]
        here.append(_region(pair, names, losses))
        number[pair.instance.id] = len(here)
    order: dict[int, list[str]] = defaultdict(list)
    photo_of = {instance.id: instance.image_id for instance in data.instances}
    for front, back in data.front_of:
        if front in number and back in number and photo_of[front] == photo_of[back]:
            order[photo_of[front]].append(f"{number[front]}-{number[back]}")
        else:
            losses["order in depth, pairs"] += 1
    photos = [replace(photo, raw={k: v for k, v in photo.raw.items() if k != _RECORD}) for photo in data.images]
    records = [
        {
            "id": index,
            **_record_extra(photo),
            "image_id": photo.id,
            "size": len(regions[photo.id]),
            "depth_constraint": ",".join(order[photo.id]),
            "regions": regions[photo.id],
        }
        for index, photo in enumerate(data.images, start=1)
    ]
    write_json(out, {**data.raw, "images": [photo_entry(photo) for photo in photos], "annotations": records})
    return +losses


def _record_extra(photo: ImageRecord) -> dict[str, Any]:
    kept = photo.extra.get(_RECORD)
    return kept if isinstance(kept, dict) else {}


def _region(pair: MaskPair, names: Mapping[int, str], losses: UnsupportedFields) -> dict[str, Any]:
    instance = pair.instance
    region: dict[str, Any] = {
        "name": names.get(instance.category_id, ""),
        **{key: value for key, value in instance.extra.items() if key != "bbox"},
        "id": instance.id,
        "segmentation": _one_polygon(pair.amodal, pair.amodal_px, losses),
        "area": rle.area_px(pair.amodal_px),
        "isStuff": int(instance.is_stuff),
        "occlude_rate": pair.occlude_rate,
        **({} if instance.score is None else {"score": instance.score}),
        **({} if instance.group is None else {"group": instance.group}),
    }
    if pair.modal != pair.amodal:
        region["visible_mask"] = rle.to_json(pair.modal_px)
        losses["visible masks drawn as polygons, now pixels"] += bool(pair.modal.polygons)
        if pair.hidden_px:
            region["invisible_mask"] = rle.to_json(pair.hidden)
    return region


def _one_polygon(outline: Mask, mask: Rle, losses: UnsupportedFields) -> Any:
    """Return the single flat polygon that COCOA holds, or pixels where none gives the same ones."""
    parts = rings(outline)
    if len(parts) == 1:
        return list(parts[0])
    size_hw = (mask["size"][0], mask["size"][1])
    joined = one_ring(outline, size_hw)
    if Mask((joined,)).pixels(size_hw)["counts"] == mask["counts"]:
        losses["polygons of one object, joined by slits"] += bool(outline.polygons)
        return list(joined)
    losses["polygons of one object, now pixels"] += bool(outline.polygons)
    return rle.to_json(mask)
