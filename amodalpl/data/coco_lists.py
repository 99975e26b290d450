"""Photos, classes and ids as files in COCO's frame list them, each checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..io.images import check_size
from .mask_parsing import brief
from .records import Dropped, ImageRecord


class _Missing:
    """Stands for a key that an entry does not have, which is not the same as null."""


MISSING = _Missing()


def read_images(path: Path, raw_images: Any, mended: list[Dropped] | None = None) -> list[ImageRecord]:
    """Check the image list of a file.

    Args:
        path: of the file, for messages.
        raw_images: the list.
        mended: an entry that is listed again with the same name and size is passed over and added to it; None: it is
            refused.

    Raises:
        DataError: no list, an entry without a whole id, a file name or a sane size, or two photos of one id.
    """
    if not isinstance(raw_images, list) or not raw_images:
        raise DataError(
            f"{path}: images: expected a list of photos, {got(raw_images)}; export the file with its images"
        )
    images: list[ImageRecord] = []
    expected = "id, file_name, height and width"
    for place, image_id, raw, first, at in _with_ids(path, "images", raw_images, expected):
        if first is not None:
            again = all(raw.get(key) == first[key] for key in ("file_name", "height", "width"))
            if not again or mended is None:
                raise _taken(path, place, image_id, at, "photo")
            mended.append(Dropped(place, None, image_id, f"photo listed again: as {at}"))
            continue
        file_name = raw.get("file_name", MISSING)
        if not isinstance(file_name, str) or not file_name:
            advice = "; `amodalpl convert` takes it from coco_url" if "coco_url" in raw and file_name is MISSING else ""
            raise DataError(f"{path}: {place}.file_name: expected the name of a photo, {got(file_name)}{advice}")
        size_hw = (_side(path, place, "height", raw), _side(path, place, "width", raw))
        check_size(path, place, size_hw)
        images.append(ImageRecord(image_id, file_name, size_hw, raw))
    return images


def read_categories(path: Path, raw_categories: Any, mended: list[Dropped] | None = None) -> list[dict[str, Any]]:
    """Check the category list of a file; entries are returned untouched.

    Args:
        path: of the file, for messages.
        raw_categories: the list.
        mended: an entry that is listed again is passed over and added to it; None: it is refused.

    Raises:
        DataError: no list, an entry without a whole id, or two classes of one id.
    """
    if not isinstance(raw_categories, list) or not raw_categories:
        raise DataError(
            f"{path}: categories: expected a list of categories, {got(raw_categories)}; "
            'add one such as {"id": 1, "name": "object"}'
        )
    categories = []
    for place, category_id, raw, first, at in _with_ids(path, "categories", raw_categories, "id and name"):
        if first is None:
            categories.append(raw)
        elif raw != first or mended is None:
            raise _taken(path, place, category_id, at, "category")
        else:
            mended.append(Dropped(place, None, None, f"class listed again: as {at}"))
    return categories


def _with_ids(
    path: Path, name: str, entries: list[Any], expected: str
) -> Iterator[tuple[str, int, dict[str, Any], dict[str, Any] | None, str]]:
    """Yield place, id and value of each entry, and value and place of an earlier one of the same id."""
    seen: dict[int, int] = {}
    for index, raw in enumerate(entries):
        place = f"{name}[{index}]"
        if not isinstance(raw, dict):
            raise DataError(f"{path}: {place}: expected an object with {expected}, {got(raw)}")
        entry_id = whole_id(path, place, "id", raw)
        first = seen.setdefault(entry_id, index)
        yield place, entry_id, raw, None if first == index else entries[first], f"{name}[{first}]"


def _taken(path: Path, place: str, entry_id: int, at: str, what: str) -> DataError:
    return DataError(
        f"{path}: {place}.id: expected an id of its own, got {entry_id} as in {at}; give each {what} its own id"
    )


def whole_id(path: Path, place: str, key: str, raw: Mapping[str, Any]) -> int:
    """Return an entry's id, which must be a whole number of at most 64 bits (true and "7" are not).

    Args:
        path: for messages.
        place: of the entry, for messages; empty for the whole file.
        key: of the id.
        raw: the entry.

    Raises:
        DataError: it is not.
    """
    value = raw.get(key, MISSING)
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    where = f"{place}.{key}" if place else key
    raise DataError(
        f"{path}: {where}: expected a whole number as id, {got(value)}; correct the id, as `amodalpl convert` does"
    )


def _side(path: Path, place: str, key: str, raw: Mapping[str, Any]) -> int:
    value = raw.get(key, MISSING)
    if type(value) is not int:
        raise DataError(
            f"{path}: {place}.{key}: expected a whole number of pixels, {got(value)}; add the photo's size, "
            "as `amodalpl convert --images` does"
        )
    return value


def got(value: Any) -> str:
    """Return what was found in place of what was expected, for messages."""
    if value is MISSING or value is None:
        return "found none"
    if isinstance(value, (str, int, float)):
        return f"got {brief(value)}"
    return f"got an empty {type(value).__name__}" if not value else f"got {type(value).__name__}"
