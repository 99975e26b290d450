"""One PNG per photo, of the photo's name, whose pixels say what is there: 0 nothing, else a number.

`classes.json` in the folder says what numbers mean:

    {"values": "instances", "photos": {"a.png": {"1": "car", "2": "dog"}}}   each number is one object (the default)
    {"values": "classes", "names": {"1": "car", "2": "dog"}}                 each number is a class

and so does `classes.txt`, with a class per line, the first of number 1. Where numbers are classes, every connected
piece (corners connect) is an object: two cars that touch become one. Objects without a class are of the class "object".
8 and 16 bits, grey or palette; PASCAL VOC's `SegmentationObject` and DAVIS are this without a `classes.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..data.dataset_builder import Builder, DrawnOn
from ..data.format_losses import UnsupportedFields, unsupported_fields, visible_pixels
from ..data.mask_parsing import brief
from ..data.records import AnnotationSet, ImageRecord, Instance, LeftOut, Mask
from ..data.source import Source, files_below
from ..errors import DataError
from ..io.files import read_json, write_json
from ..masks import boxed, rle
from .shared.numbers_png import read_numbers, write_numbers
from .shared.photo_folder import PhotoFolder, unique_stems

CLASSES_FILE, NAMES_FILE = "classes.json", "classes.txt"
ANY_CLASS = "object"
MOST_OBJECTS = 4000  # in one photo; a photo or a depth map taken for an index has more


def detect(source: Source) -> bool:
    """Tell by a `classes.json` of this kind; folders of PNG files without one have to be named."""
    file = source.path / CLASSES_FILE
    if not source.path.is_dir() or not file.is_file():
        return False
    try:
        return _is_meaning(read_json(file, "the classes of PNG files"))
    except DataError:
        return False


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a folder of PNG files.

    Args:
        path: the folder, or one PNG.
        images: folder of the photos, which must be there.
        drawn_on: of `Builder`.

    Raises:
        DataError: no PNG files, no photos, or a `classes.json` of another kind.
    """
    folder = path if path.is_dir() else path.parent
    files = list(files_below(folder, ".png")) if path.is_dir() else [path]
    meaning = _meaning(folder)
    if not files or not all(file.exists() for file in files):
        raise DataError(f"{path}: expected a folder with one PNG per photo, found none; check the path")
    photos = PhotoFolder(images, path, files)
    builder = Builder(path, images, drawn_on=drawn_on)
    for file in files:
        name = file.relative_to(folder).as_posix()
        with builder.entry(name):
            numbers = read_numbers(folder, name)
            found = list(_objects(numbers, meaning))
            canvas = builder.photo(photos.named(name[: -len(".png")]), name, numbers.shape[:2])  # type: ignore[arg-type]
            for number, mask in found:
                with builder.entry(f"{name}: value {number}"):
                    category = builder.category(_class_of(number, name, meaning))
                    builder.add(canvas, category, Mask(rle=rle.encode(mask)))
    return builder.finish()


def _is_meaning(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if value.get("values") == "classes":
        return _are_names(value.get("names"))
    photos = value.get("photos", {})
    return value.get("values") == "instances" and isinstance(photos, dict) and all(map(_are_names, photos.values()))


def _are_names(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value.values())


def _meaning(folder: Path) -> Mapping[str, Any]:
    """Return what the numbers mean, as `classes.json` spells it."""
    file, lines = folder / CLASSES_FILE, folder / NAMES_FILE
    if file.is_file():
        meaning = read_json(file, "the classes of PNG files")
        if not _is_meaning(meaning):
            raise DataError(
                f'{file}: expected {{"values": "classes", "names": {{"1": "car"}}}} or {{"values": "instances", '
                f'"photos": {{"a.png": {{"1": "car"}}}}}}, got {brief(meaning)}; correct it or take it away'
            )
        return meaning
    if not lines.is_file():
        return {"values": "instances"}
    try:
        names = lines.read_bytes().decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{lines}: expected a class per line in UTF-8, could not read it ({error})") from None
    return {"values": "classes", "names": {str(i): name.strip() for i, name in enumerate(names, 1) if name.strip()}}


def _objects(numbers: np.ndarray, meaning: Mapping[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield number and (H, W) bool mask of every object."""
    values = [int(value) for value in np.unique(numbers) if value]
    if len(values) > MOST_OBJECTS:
        raise LeftOut(f"not numbers of objects: expected at most {MOST_OBJECTS} values, got {len(values)}")
    objects = 0
    for value in values:
        mask = numbers == value
        if meaning["values"] == "instances" or str(value) not in meaning["names"]:
            yield value, mask  # without a class, it is listed as one
            continue
        count, pieces = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        objects += count - 1
        if objects > MOST_OBJECTS:
            raise LeftOut(f"not numbers of classes: expected at most {MOST_OBJECTS} connected pieces, got {objects}")
        for piece in range(1, count):
            yield value, pieces == piece


def _class_of(number: int, name: str, meaning: Mapping[str, Any]) -> str:
    if meaning["values"] == "instances":
        of_photo = meaning.get("photos", {}).get(name)
        if of_photo is None:
            return ANY_CLASS
        names = of_photo
    else:
        names = meaning["names"]
    if str(number) not in names:
        raise LeftOut(f"value without a class: {number} is not in the list of classes")
    found: str = names[str(number)]
    return found


def write(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write a folder of PNG files that number the visible parts, and `classes.json`.

    A pixel holds one number: a shared one goes to the smallest of the masks, of equal ones to the last.
    """
    losses = unsupported_fields(
        data, "whole masks (amodal)", "stuff marks", "scores", "groups", "order in depth, pairs",
        "other keys of objects", "other keys of photos", "other keys of classes", "other keys of the file",
        "classes without objects", "ids of objects", "ids of photos", "ids of classes",
    )  # fmt: skip
    names = data.category_names
    instances, stems = data.by_image, unique_stems(data.images)
    classes: dict[str, dict[str, str]] = {}
    for photo in data.images:
        name = f"{stems[photo.id]}.png"
        numbers, numbered = _numbered(photo, instances[photo.id], losses)
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        write_numbers(out / name, numbers)
        classes[name] = {str(number): names[instance.category_id] for number, instance in numbered}
    write_json(out / CLASSES_FILE, {"values": "instances", "photos": classes})
    return +losses


def _numbered(
    photo: ImageRecord, instances: list[Instance], losses: UnsupportedFields
) -> tuple[np.ndarray, list[tuple[int, Instance]]]:
    """Return (H, W) uint16 numbers, and the object of each."""
    masks = [(instance, visible_pixels(instance, photo, losses)) for instance in instances]
    drawable = [(instance, mask) for instance, mask in masks if mask is not None]
    numbers = np.zeros(photo.size_hw, dtype=np.uint16)
    areas = rle.areas_px([mask for _, mask in drawable])
    for index in sorted(range(len(drawable)), key=lambda i: (-areas[i], i)):
        mask = boxed.decode(drawable[index][1])
        numbers[mask.window][mask.crop] = index + 1
    left = np.bincount(numbers.ravel(), minlength=len(drawable) + 1)[1:]
    losses["pixels of several objects, now of the smallest"] += int((areas - left).sum())
    losses["objects wholly under smaller ones"] += int((left == 0).sum())
    return numbers, [(index + 1, instance) for index, (instance, _) in enumerate(drawable) if left[index]]
