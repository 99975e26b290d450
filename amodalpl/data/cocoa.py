"""COCOA (Zhu et al. 2017): whole objects drawn as polygons, the visible part where something is in front.

The full release groups `regions` per photo under `annotations`, matched to `images` by id (their order differs). A
single record, a list of records, or a folder of record files is read as well; ids of objects, which COCOA does not
have, run from 1 over the regions in file order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import DataError
from ..io.files import read_json
from ..io.images import image_size_hw
from .coco_family import MISSING, Entry, check_size, is_stuff, make_instances, read_images, whole_id
from .mask_parsing import NO_MASK, brief
from .records import AnnotationSet, Dropped, ImageRecord

CATEGORIES = [{"id": 1, "name": "object"}]
_CONSTRAINT = re.compile(r"\s*(\d{1,9})\s*-\s*(\d{1,9})\s*")


def is_cocoa(data: Any) -> bool:
    """Tell whether parsed JSON is COCOA: a full release, a record, or a list of records."""
    if isinstance(data, dict):
        if "regions" in data:
            return True
        data = data.get("annotations")
    if not isinstance(data, list):
        return False
    first = next((record for record in data if isinstance(record, dict)), {})
    return "regions" in first


def read_cocoa(path: Path, data: Any) -> AnnotationSet:
    """Turn a parsed COCOA file into records.

    Args:
        path: the file; photos of lone records are looked for beside it.
        data: parsed JSON: a full release, one record, or a list of records.

    Raises:
        DataError: not COCOA; bad or repeated image ids; a lone record whose photo has no known size; no masks at all.
    """
    if not is_cocoa(data):
        raise DataError(
            f"{path}: expected a COCOA file, whose annotations have `regions`, found none; "
            "leave the format to be detected, or name another"
        )
    if isinstance(data, dict) and "regions" not in data:
        records = [(f"annotations[{i}]", record) for i, record in enumerate(data["annotations"])]
        raw = {key: data[key] for key in ("info", "licenses") if key in data}
        return _read(path, read_images(path, data.get("images")), records, [], raw)
    lone = [("", data)] if isinstance(data, dict) else [(f"[{i}]", record) for i, record in enumerate(data)]
    dropped: list[Dropped] = []
    images, records = [], []
    for place, record in lone:
        if not isinstance(record, dict):
            dropped.append(Dropped(place, None, None, f"not a COCOA record: got {brief(record)}"))
            continue
        images.append(_image_of_record(path, place, record, path.stem if isinstance(data, dict) else None))
        records.append((place, record))
    return _read(path, _distinct(path, images), records, dropped, {})


def read_record_folder(folder: Path) -> AnnotationSet:
    """Read a folder of COCOA records, one JSON file per photo, in order of file names.

    A JSON file that is not a record is listed under `dropped`.

    Raises:
        DataError: no record in the folder, a file that is not JSON, or as for `read_cocoa`.
    """
    dropped: list[Dropped] = []
    images, records = [], []
    for file in sorted(folder.glob("*.json")):
        record = read_json(file, "a COCOA record")
        if not isinstance(record, dict) or "regions" not in record:
            dropped.append(Dropped(file.name, None, None, "not a COCOA record: it has no `regions` of one photo"))
            continue
        images.append(_image_of_record(file, "", record, file.stem))
        records.append((file.name, record))
    if not records:
        raise DataError(
            f"{folder}: expected an annotation file, or a folder of COCOA records (one JSON file with `regions` per "
            "photo), found no record; name the annotation file itself"
        )
    return _read(folder, _distinct(folder, images), records, dropped, {})


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


def _read(
    path: Path,
    images: list[ImageRecord],
    records: Sequence[tuple[str, Any]],
    dropped: list[Dropped],
    raw: dict[str, Any],
) -> AnnotationSet:
    image_ids = {image.id for image in images}
    taken: set[int] = set()
    entries: list[Entry] = []
    orders: list[tuple[str, int, Any, range]] = []  # place, image id, depth_constraint, ids of the regions
    next_id = 1
    for place, record in records:
        dot = f"{place}." if place else ""
        if not isinstance(record, dict) or not isinstance(record.get("regions"), list):
            dropped.append(Dropped(place, None, None, "not a COCOA record: expected a list of `regions`"))
            continue
        image_id = whole_id(path, place, "image_id", record)
        regions = record["regions"]
        ids = range(next_id, next_id + len(regions))
        next_id = ids.stop
        reason = ""
        if image_id not in image_ids:
            reason = f"unknown image: expected the id of one of the images, got {image_id}"
        elif image_id in taken:
            reason = f"second record of a photo: image {image_id} has one before"
        taken.add(image_id)
        for index, region in enumerate(regions):
            here = f"{dot}regions[{index}]"
            if reason or not isinstance(region, dict):
                why = reason or f"not a region: expected an object, got {brief(region)}"
                dropped.append(Dropped(here, ids[index], image_id, why))
            elif "segmentation" not in region:
                why = f"{NO_MASK}: expected polygons or RLE, found none"
                dropped.append(Dropped(f"{here}.segmentation", ids[index], image_id, why))
            else:
                entries.append(
                    Entry(
                        place=here,
                        id=ids[index],
                        image_id=image_id,
                        category_id=1,
                        modal_raw=region.get("visible_mask", MISSING),
                        modal_key="visible_mask",
                        amodal_raw=region["segmentation"],
                        amodal_key="segmentation",
                        is_stuff=is_stuff(region),
                    )
                )
        if not reason and record.get("depth_constraint"):
            orders.append((f"{dot}depth_constraint", image_id, record["depth_constraint"], ids))
    instances = make_instances(entries, images, dropped)
    kept = {instance.id for instance in instances}
    front_of = []
    for place, image_id, constraint, ids in orders:
        pairs = _pairs(constraint, ids)
        if pairs is None:
            why = f"malformed order: expected pairs such as '1-2,1-3' of {len(ids)} regions, got {brief(constraint)}"
            dropped.append(Dropped(place, None, image_id, why))
        else:
            front_of += [pair for pair in pairs if kept.issuperset(pair)]
    if not instances and entries and all(entry.reason.startswith(NO_MASK) for entry in dropped):
        raise DataError(f"{path}: {dropped[0].place}: {dropped[0].reason.partition(': ')[2]}; no region has a mask")
    return AnnotationSet(
        path=path,
        format="cocoa",
        images=images,
        instances=instances,
        categories=[dict(category) for category in CATEGORIES],
        dropped=dropped,
        front_of=front_of,
        raw=raw,
    )


def _pairs(constraint: Any, ids: range) -> list[tuple[int, int]] | None:
    """Parse "i-j,k-l" (1-based regions, the first in front of the second) into ids; None if it is malformed."""
    if not isinstance(constraint, str):
        return None
    pairs = []
    for part in constraint.split(","):
        match = _CONSTRAINT.fullmatch(part)
        if match is None:
            return None
        front, back = int(match[1]), int(match[2])
        if not (1 <= front <= len(ids) and 1 <= back <= len(ids)) or front == back:
            return None
        pairs.append((ids[front - 1], ids[back - 1]))
    return pairs
