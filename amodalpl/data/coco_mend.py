"""What `convert` puts right in a file of COCO's frame before it is read: odd ids, missing names and sizes.

The pipeline's own reader refuses such a file, because label files carry its ids; `convert` writes a new one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import DataError
from ..io.images import image_path, image_size_hw
from .mask_parsing import as_number, brief
from .photo_names import PhotoNames
from .records import Dropped


def with_whole_ids(data: Any, images: Path | None, mended: list[Dropped]) -> Any:
    """Return a parsed file with whole numbers as ids and with sizes of photos, as far as these can be found out.

    Args:
        data: parsed JSON; returned as it is when nothing is to be mended.
        images: folder of the photos, from which sizes are read. Without it, masks in pixels may tell sizes.
        mended: is extended by what was done.
    """
    lists = [data.get(key) for key in ("images", "categories", "annotations")] if isinstance(data, dict) else [None]
    if not all(isinstance(value, list) for value in lists):
        return data
    photos, classes, objects = (
        [dict(entry) if isinstance(entry, dict) else entry for entry in value or ()] for value in lists
    )
    photo_id = _renumbered(photos, "images", mended)
    class_id = _renumbered(classes, "categories", mended)
    _renumbered(objects, "annotations", mended)
    named = {c.get("name"): c["id"] for c in classes if isinstance(c, dict) and isinstance(c.get("name"), str)}
    for index, entry in enumerate(objects):
        if isinstance(entry, dict):
            for key, known in (("image_id", photo_id), ("category_id", class_id)):
                if key in entry:
                    entry[key] = known(entry[key])
            if isinstance(name := entry.get("category_id"), str) and name in named:
                entry["category_id"] = named[name]
                what = f"class by its name: {brief(name)} is {named[name]}"
                mended.append(Dropped(f"annotations[{index}].category_id", None, None, what))
    for photo in photos:
        if isinstance(photo, dict) and "file_name" not in photo:
            _add_name(photo, images)
    _add_sizes(photos, objects, images, mended)
    return {**data, "images": photos, "categories": classes, "annotations": objects}


def _renumbered(entries: list[Any], name: str, mended: list[Dropped]) -> Callable[[Any], Any]:
    """Give entries whole ids, and return the function from an id as the file has it to the new one."""
    whole: dict[str, int] = {}
    taken = {entry["id"] for entry in entries if isinstance(entry, dict) and type(entry.get("id")) is int}
    free = max(taken, default=0) + 1
    first: dict[int, dict[str, Any]] = {}
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            continue
        if type(value := entry.get("id")) is int:
            before = first.setdefault(value, entry)
            if name == "annotations" and before is not entry and before != entry:  # not the very same once more
                entry["id"], free = free, free + 1
                what = f"id of two annotations: {value}, the second is {entry['id']} now"
                mended.append(Dropped(f"{name}[{index}].id", None, None, what))
            continue
        number = as_number(value)
        key = str(value)
        if key in whole and name != "annotations":
            number = whole[key]
        elif type(number) is not int or not 0 <= number < 2**63 or (number in taken and name == "annotations"):
            number, free = free, free + 1
        whole[key] = entry["id"] = number
        taken.add(number)
        free = max(free, number + 1) if number < 2**62 else free
        place = f"{name}[{index}].id"
        mended.append(Dropped(place, None, None, f"id that is no whole number: {brief(value)} is {number} now"))
    return lambda value: value if type(value) is int else whole.get(str(value), as_number(value))


def _add_name(photo: dict[str, Any], images: Path | None) -> None:
    """Name a photo by its address, as LVIS has it: with the last folder where the photos have that, else without."""
    try:
        parts = PurePosixPath(unquote(urlsplit(photo["coco_url"]).path)).parts[-2:]
    except (KeyError, TypeError, ValueError, AttributeError):  # no address
        return
    if images is not None and parts and not images.joinpath(*parts[:-1]).is_dir():
        parts = parts[-1:]
    photo["file_name"] = "/".join(part for part in parts if part != "/")


def _add_sizes(photos: list[Any], objects: list[Any], images: Path | None, mended: list[Dropped]) -> None:
    sizes: dict[Any, Any] = {}
    for entry in objects:
        mask = entry.get("segmentation") if isinstance(entry, dict) else None
        size = mask.get("size") if isinstance(mask, dict) else None
        if isinstance(size, list) and len(size) == 2 and type(entry.get("image_id")) is int:
            sizes.setdefault(entry["image_id"], tuple(size))
    names = None if images is None else PhotoNames(images)
    for index, photo in enumerate(photos):
        if not isinstance(photo, dict):
            continue
        stated = photo.get("height"), photo.get("width")
        if all(type(side) is int and side > 0 for side in stated):
            continue
        found = tuple(map(as_number, stated))
        how = "spelled as text or with decimals"
        if not all(type(side) is int and side > 0 for side in found):
            size_hw = _size_of(photo.get("file_name"), names, images)
            found, how = size_hw or sizes.get(photo.get("id"), found), "of the photo" if size_hw else "of its masks"
        if all(type(side) is int and side > 0 for side in found):
            photo["height"], photo["width"] = found
            reason = f"photo without a size: {found[1]} x {found[0]}, {how}"
            mended.append(Dropped(f"images[{index}]", None, None, reason))


def _size_of(name: Any, names: PhotoNames | None, images: Path | None) -> tuple[int, int] | None:
    try:
        found = names.find_quietly(name) if names and isinstance(name, str) and name else None
        return image_size_hw(image_path(images, found)) if images and found else None
    except DataError:
        return None
