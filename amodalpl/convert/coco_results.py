"""COCO results: a bare list of detections with `image_id`, `category_id`, `segmentation` and `score`.

What photos are called stands elsewhere: in the COCO file that the detector ran over, or in the names of the photos
(`000000000042.jpg` and `COCO_val2014_000000000042.jpg` are 42; an `image_id` in text is the name itself). Masks are of
the photo as the detector loaded it; where their size is that of the turned photo (EXIF), they are turned back.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.coco_lists import read_categories, read_images
from ..data.coco_mend import with_whole_ids
from ..data.coco_parsing import mask_of, score_of
from ..data.dataset_builder import Builder, Canvas, DrawnOn
from ..data.mask_parsing import as_number, brief
from ..data.records import AnnotationSet, LeftOut
from ..data.source import Source
from ..errors import DataError
from ..io.files import read_json
from .shared.doubles import without_doubles
from .shared.photo_folder import PhotoFolder

_KNOWN = {"id", "image_id", "category_id", "segmentation", "score", "bbox", "area", "iscrowd"}


def detect(source: Source) -> bool:
    """Tell by a bare list whose first entry names a photo and has a score, or that is empty, for lack of detections."""
    return source.data == [] or _is_results(source.data)


def _is_results(data: Any) -> bool:
    return (
        isinstance(data, list) and bool(data) and isinstance(data[0], dict) and {"image_id", "score"} <= data[0].keys()
    )


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read detections.

    Args:
        path: the JSON file.
        images: the COCO file that names the photos and classes, or the folder of photos; classes then are numbers.
        drawn_on: of `Builder`.

    Raises:
        DataError: not a list of detections, boxes only, or neither file nor folder.
    """
    entries = read_json(path, "detections")
    if entries == []:
        raise DataError(
            f"{path}: expected detections, got an empty list: nothing was detected; lower the score threshold"
        )
    if not _is_results(entries):
        raise DataError(
            f"{path}: expected a list of detections with image_id, category_id, segmentation and score, got "
            f"{brief(entries) if isinstance(entries, list) else type(entries).__name__}; save COCO results"
        )
    if images is None:
        raise DataError(
            f"{path}: detections name photos by number; give the COCO file the detector ran over, or the folder of "
            "photos, with --images"
        )
    known = images.is_file()
    photos = _OfCoco(path, images, drawn_on) if known else _OfFolder(path, images, drawn_on)
    data = photos.builder.data
    places: dict[int, str] = {}
    masks = 0
    for index, entry in enumerate(entries):
        place = f"[{index}]"
        with photos.builder.entry(place):
            if not isinstance(entry, dict):
                raise LeftOut(f"not a detection: got {brief(entry)}")
            masks += "segmentation" in entry
            canvas = photos.canvas(entry, place)
            number = photos.builder.add(
                canvas,
                photos.category(entry.get("category_id")),
                mask_of(entry.get("segmentation"), canvas.shown_hw, place, data.mended),
                score=score_of(entry),
                extra={key: value for key, value in entry.items() if key not in _KNOWN},
            )
            places[number] = place
    if not masks:
        raise DataError(f"{path}: expected detections with masks, found boxes only; run a detector of instance masks")
    found = [entry.get("category_id") for entry in entries if isinstance(entry, dict)]
    numbers = {number for number in found if type(number) is int}
    data = photos.builder.finish()
    if known and (shift := _one_off(numbers, {category["id"] for category in data.categories})):
        data.doubts.append(shift)
    without_doubles(data, places)
    return data


def _one_off(found: set[int], known: set[int]) -> str:
    """Tell when detections seem to number the classes of a file from another start; "" when they do not."""
    for shift in (1, -1):
        if not found <= known and {number + shift for number in found} <= known:
            return (
                f"classes seem one off: detections number them {min(found)} to {max(found)}, the file {min(known)} to "
                f"{max(known)}; add {shift} to category_id"
            )
    return ""


class _OfCoco:
    """Photos and classes of a COCO file."""

    def __init__(self, path: Path, coco_file: Path, drawn_on: DrawnOn) -> None:
        self.builder = Builder(path, None, drawn_on=drawn_on)
        raw = read_json(coco_file, "the COCO file that names the photos")
        raw = with_whole_ids(raw, None, self.builder.data.mended) if isinstance(raw, dict) else {}
        self._canvases: dict[int, Canvas] = {}
        for index, image in enumerate(read_images(coco_file, raw.get("images"), self.builder.data.mended)):
            place = f"{coco_file.name}: images[{index}]"
            with self.builder.entry(place):
                self._canvases[image.id] = self.builder.photo(
                    image.file_name, place, image.size_hw, False, image.extra, image.id
                )
        self.builder.add_categories(read_categories(coco_file, raw.get("categories"), self.builder.data.mended))
        self._classes = {category["id"] for category in self.builder.data.categories}

    def canvas(self, entry: Mapping[str, Any], place: str) -> Canvas:
        """Return the photo of a detection."""
        image_id = as_number(entry.get("image_id"))
        canvas = self._canvases.get(image_id) if type(image_id) is int else None
        if canvas is None:
            raise LeftOut(f"unknown image: expected the id of one of the images, got {brief(image_id)}")
        return canvas

    def category(self, number: Any) -> int:
        """Return the class of a detection."""
        number = as_number(number)
        if type(number) is not int or number not in self._classes:
            raise LeftOut(f"unknown category: expected the id of a category, got {brief(number)}")
        return number


class _OfFolder:
    """Photos by their names; classes are called by their numbers."""

    def __init__(self, path: Path, folder: Path, drawn_on: DrawnOn) -> None:
        self.builder = Builder(path, folder, drawn_on=drawn_on)
        self._photos = PhotoFolder(folder, path)
        self._numbered = self._photos.ids()
        self._canvases: dict[str, Canvas] = {}

    def canvas(self, entry: Mapping[str, Any], place: str) -> Canvas:
        """Return the photo of a detection, which is added when it is new."""
        image_id = entry.get("image_id")
        if type(image_id) is int and image_id in self._numbered:
            name = self._numbered[image_id]
        elif isinstance(image_id, str | int):
            try:
                name = self._photos.named(str(image_id))
            except LeftOut as missing:
                raise LeftOut(f"{missing}; the COCO file that the detector ran over names it, as --images") from None
        else:
            raise LeftOut(f"unknown image: expected a number or a name, got {brief(image_id)}")
        if name not in self._canvases:
            self._canvases[name] = self.builder.photo(name, place, mask_size(entry))
        return self._canvases[name]

    def category(self, number: Any) -> int:
        """Return the class of a detection."""
        number = as_number(number)
        if type(number) is not int:
            raise LeftOut(f"unknown category: expected a number, got {brief(number)}")
        return self.builder.category(number)


def mask_size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return height and width as a detection's RLE states them; None when it states none."""
    mask = entry.get("segmentation")
    size = mask.get("size") if isinstance(mask, dict) else None
    if isinstance(size, list) and len(size) == 2 and type(size[0]) is int and type(size[1]) is int:
        return size[0], size[1]
    return None
