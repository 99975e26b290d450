"""YOLO segmentation (Ultralytics): `data.yaml`, and per photo a text file of normalised polygons, one object per line.

A line is a class number and x y pairs as fractions of the photo's width and height; the photo is the one that is shown,
because Ultralytics follows EXIF notes. One polygon per object: parts of an object are joined by slits without width, as
Ultralytics' own converter joins them. Label files stand under `labels/` where photos stand under `images/`.

Of YOLO detection a line is a class number, the middle of a box and its size. Boxes become rectangles where no line is
an outline; beside outlines, a box is an object whose outline is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..data.dataset_builder import Builder, Canvas, DrawnOn
from ..data.format_losses import UnsupportedFields, as_one_ring, unsupported_fields, visible_part
from ..data.mask_parsing import as_number, brief
from ..data.outlines import DECIMALS, decimal
from ..data.records import AnnotationSet, ImageRecord, Instance, LeftOut, Mask
from ..data.source import Source, files_below
from ..errors import DataError
from ..io.files import write_whole
from ..io.yaml import load_yaml
from .shared.file_per_photo import files_to_write

CARDS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
CLASSES = ("classes.txt", "obj.names")
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_LOOKED_AT = 20  # label files, to tell whether they are any
_BOX_NUMBERS = 4  # of a box: x and y of its middle, width and height
_DIGITS = 10  # significant ones: enough to come back to the same pixel coordinates, rounded to DECIMALS


def detect(source: Source) -> bool:
    """Tell by a card or list of classes beside a folder `labels`."""
    folder = source.path if source.path.is_dir() else source.path.parent
    if not source.path.is_dir() and source.path.name not in CARDS:
        return False
    if next(_label_files(folder), None) is None:
        return False
    return any((folder / name).is_file() for name in (*CARDS, *CLASSES)) or _has_outlines(folder)


def _has_outlines(folder: Path) -> bool:
    """Tell a folder without names of classes by its first lines: a whole number, then pairs of fractions."""
    for file in islice(_label_files(folder), _LOOKED_AT):
        with suppress(LeftOut, ValueError):
            for line in _lines(file)[:1]:
                numbers = [float(word) for word in line.split()]
                return len(numbers) >= 7 and numbers[0].is_integer() and all(-1 <= n <= 2 for n in numbers[1:])
    return False


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a YOLO data set.

    Args:
        path: its folder, or the `data.yaml` in it. Paths inside `data.yaml` are not followed: every label file below
            the folder is read.
        images: folder of the photos; by default `images` in the folder, else the folder itself.
        drawn_on: of `Builder`.

    Raises:
        DataError: no label files, no names of classes, or nothing that can be read.
    """
    folder = path if path.is_dir() else path.parent
    files = list(_label_files(folder))
    if not files:
        raise DataError(f"{folder}: expected label files (.txt) in a folder `labels`, found none")
    names = _class_names(folder)
    has_names = bool(names)
    names = names or {number: str(number) for number in _numbers(files)}
    if images is None:
        images = folder / "images" if (folder / "images").is_dir() else folder
    builder = Builder(path, images, drawn_on=drawn_on, in_fractions=True)
    if not has_names:
        builder.mend(
            str(folder.name), f"classes without names: found no {CARDS[0]} nor {CLASSES[0]}, numbers are names"
        )
    boxes_only = not any(map(_has_outline, files))
    if boxes_only:
        builder.mend(str(folder.name), "boxes instead of outlines: no line is an outline, boxes became rectangles")
    for number in sorted(names):
        builder.data.categories.append({"id": number + 1, "name": names[number]})
    for file in files:
        place = str(file.relative_to(folder))
        with builder.entry(place):
            canvas = builder.photo(_photo_of(builder, file, folder, images), place)
            for line_number, line in enumerate(_lines(file), start=1):
                with builder.entry(f"{place}:{line_number}"):
                    _add(builder, canvas, line, names, boxes_only)
    return builder.finish()


def _label_files(folder: Path) -> Iterator[Path]:
    """Yield the label files: those below a folder `labels`, or beside the card when there is none."""
    below = [file for file in files_below(folder, ".txt") if file.name not in CLASSES]
    labelled = [file for file in below if "labels" in file.relative_to(folder).parts[:-1]]
    yield from labelled or (below if folder.name == "labels" else [])


def _has_outline(file: Path) -> bool:
    """Tell whether a line has more numbers than a class, a box and a confidence."""
    with suppress(LeftOut):
        return any(len(line.split()) > _BOX_NUMBERS + 2 for line in _lines(file))
    return False


def _numbers(files: Sequence[Path]) -> list[int]:
    """Return the class numbers that files of outlines use."""
    found = set()
    for file in files:
        with suppress(LeftOut):
            words = (line.split()[:1] for line in _lines(file))
            found |= {number for word in words if word and type(number := as_number(word[0])) is int and number >= 0}
    return sorted(found)


def _class_names(folder: Path) -> dict[int, str]:
    """Return the names of classes by number, as the card says, or a list; empty when there is neither."""
    others = sorted(file.name for file in folder.glob("*.y*ml") if file.name not in CARDS)
    for name in (*CARDS, *others):
        if (folder / name).is_file() and (name in CARDS or "names:" in _text(folder / name)):
            return _names_of_card(folder / name)
    for name in CLASSES:
        if (folder / name).is_file():
            lines = _text(folder / name).splitlines()
            return {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    return {}


def _names_of_card(file: Path) -> dict[int, str]:
    try:
        card = load_yaml(_text(file))
    except ValueError as error:
        raise DataError(f"{file}: expected YAML, got something else ({error})") from None
    names = card.get("names") if isinstance(card, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if isinstance(names, dict):
        names = {as_number(key): name for key, name in names.items()}
    if not isinstance(names, dict) or not names or not all(type(key) is int and key >= 0 for key in names):
        raise DataError(f"{file}: names: expected a list, or a mapping from class numbers, got {brief(names)}")
    return {number: str(name) for number, name in names.items()}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{file}: expected a text file, could not read it ({error.strerror})") from None
    except UnicodeDecodeError:
        raise DataError(f"{file}: expected text in UTF-8, got something else") from None


def _lines(file: Path) -> list[str]:
    try:
        return _text(file).splitlines()
    except DataError:
        raise LeftOut("not a label file: expected text in UTF-8") from None


def _photo_of(builder: Builder, file: Path, folder: Path, images: Path) -> str:
    """Return the name of the photo of a label file: below the photos, then where `images` stands for `labels`."""
    parts = file.relative_to(folder).with_suffix("").parts
    at = parts.index("labels") if "labels" in parts[:-1] else -1
    below = Path(*parts[at + 1 :])
    beside = Path(*(("images" if index == at else part) for index, part in enumerate(parts)))
    for name in dict.fromkeys((below, beside, Path(*parts))):
        for suffix in PHOTO_SUFFIXES:
            for spelled in (suffix, suffix.upper()):
                if (images / f"{name}{spelled}").is_file():
                    return f"{name}{spelled}"
    for name in dict.fromkeys((below, beside, Path(*parts))):
        if found := builder.other_name(f"{name}{PHOTO_SUFFIXES[0]}"):
            return found
    raise LeftOut(f"missing photo: found none for {file.relative_to(folder)}; its folder is --images")


def _add(builder: Builder, canvas: Canvas, line: str, names: Mapping[int, str], boxes_only: bool) -> None:
    words = line.split()
    if not words:
        return
    number = as_number(words[0])  # numpy.savetxt and others write whole numbers as decimals
    if type(number) is not int:
        raise LeftOut(f"malformed line: expected a class number first, got {brief(words[0])}")
    if number not in names:
        raise LeftOut(f"unknown class: expected a number of the names, got {number}")
    values = [decimal(word) for word in words[1:]]
    score = values.pop() if len(values) % 2 else None  # predictions end in their confidence
    if len(values) == _BOX_NUMBERS and boxes_only:
        values = _corners(*values)
    elif len(values) == _BOX_NUMBERS:
        raise LeftOut("box without a mask: expected a polygon as other lines have, got 4 numbers")
    if len(values) < 6:
        raise LeftOut(f"polygon with fewer than 3 points: got {len(values) // 2}")
    if score is not None and not 0 <= score <= 1:
        raise LeftOut(f"malformed line: expected pairs of x and y, got {len(values) + 1} numbers")
    if min(values) < -1 or max(values) > 2:
        raise LeftOut(f"coordinates that are no fractions: expected about 0 to 1, got {max(values, key=abs):.6g}")
    height, width = canvas.shown_hw
    points = np.reshape(values, (-1, 2)) * (width, height)
    builder.add(canvas, number + 1, Mask((tuple(points.ravel().round(DECIMALS).tolist()),)), score=score)


def _corners(x: float, y: float, width: float, height: float) -> list[float]:
    """Return the corners of a box, x and y in turn.

    Raises:
        LeftOut: it has no area.
    """
    if width <= 0 or height <= 0:
        raise LeftOut(f"empty box: expected a width and height above 0, got {width:g} and {height:g}")
    left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return [left, top, right, top, right, bottom, left, bottom]


def write(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write a folder with `data.yaml` and `labels/`; put the photos into `images/` beside them.

    Args:
        data: what to write; classes are numbered from 0 in order.
        out: the folder.

    Raises:
        DataError: two photos differ in nothing but their suffix.
    """
    losses = unsupported_fields(
        data,
        "whole masks (amodal)",
        "scores",
        "stuff marks",
        "groups",
        "order in depth, pairs",
        "other keys of objects",
        "other keys of photos",
        "other keys of classes",
        "other keys of the file",
    )
    numbers = {category["id"]: number for number, category in enumerate(data.categories)}
    instances = data.by_image
    for photo, file in files_to_write(data.images, out, "labels", ".txt"):
        lines = "".join(f"{line}\n" for line in _written_lines(photo, instances[photo.id], numbers, losses))
        _write_text(file, lines)
    card: dict[str, Any] = {"path": ".", "train": "images", "val": "images"}
    card["names"] = {number: category["name"] for number, category in enumerate(data.categories)}
    _write_text(out / CARDS[0], yaml.safe_dump(card, sort_keys=False, allow_unicode=True))
    return +losses


def _written_lines(
    photo: ImageRecord, instances: list[Instance], numbers: Mapping[int, int], losses: UnsupportedFields
) -> Iterator[str]:
    height, width = photo.size_hw
    for instance in instances:
        mask = visible_part(instance, losses)
        if mask is None:
            continue
        points = np.reshape(as_one_ring(mask, photo.size_hw, losses), (-1, 2)) / (width, height)
        inside = points.clip(0, 1)  # Ultralytics leaves out a whole photo over one point outside
        losses["polygons that leave their photo, cut to its edge"] += bool((inside != points).any())
        yield " ".join([str(numbers[instance.category_id]), *(f"{value:.{_DIGITS}g}" for value in inside.ravel())])


def _write_text(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, lambda part: part.write_text(text, encoding="utf-8"))
