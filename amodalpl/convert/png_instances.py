"""One PNG per object, with two values: 0 elsewhere, anything else on the object.

Files lie in a folder of their photo's name (`a/1.png`, `a/2_car.png`, `a/masks/3.png`: also what SAM's script writes),
or are named after it (`a_1.png`, `a_2_car.png`). What follows the number is the class, "object" where nothing does.
Masks may overlap. Characters that file systems refuse are written as `%2F`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from ..data.dataset_builder import Builder, Canvas, DrawnOn
from ..data.format_losses import UnsupportedFields, unsupported_fields, visible_pixels
from ..data.records import AnnotationSet, LeftOut, Mask
from ..data.source import files_below
from ..errors import DataError
from ..io.files import write_whole
from ..masks import rle
from .png_index import ANY_CLASS
from .shared.numbers_png import read_numbers
from .shared.photo_folder import PhotoFolder, unique_stems

_NUMBERED = re.compile(r"(\d{1,9})(?:_(.+))?", re.DOTALL)
_REFUSED = re.compile(r'[\\/:*?"<>|%\x00-\x1f]')
_QUOTED = re.compile(r"%([0-9A-F]{2})")


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a folder of masks.

    Args:
        path: the folder.
        images: folder of the photos, which must be there.
        drawn_on: of `Builder`.

    Raises:
        DataError: no PNG files, or no photos.
    """
    if not path.is_dir():
        raise DataError(f"{path}: expected a folder with one PNG per object, got a file; name the folder")
    files = list(files_below(path, ".png"))
    if not files:
        raise DataError(f"{path}: expected a folder with one PNG per object, found no PNG; check the path")
    photos = PhotoFolder(images, path, files)
    builder = Builder(path, images, drawn_on=drawn_on)
    canvases: dict[str, Canvas] = {}
    parsed = []
    for file in files:
        name = file.relative_to(path).as_posix()
        with builder.entry(name):
            parsed.append((*_parse(PurePosixPath(name), photos), name))
    for photo, _, label, name in sorted(parsed):
        with builder.entry(name):
            numbers = read_numbers(path, name)
            values = np.unique(numbers)
            if len(values) > 2 or (len(values) == 2 and values[0] != 0):
                raise LeftOut(
                    f"not a mask of one object: expected 0 and one other value, got {len(values)} values; "
                    "PNG files of many numbered objects are --from png-index"
                )
            if values[-1] == 0:
                raise LeftOut("empty mask: every pixel is 0")
            size_hw = (numbers.shape[0], numbers.shape[1])
            if photo not in canvases:
                canvases[photo] = builder.photo(photo, name, size_hw)
            elif canvases[photo].shown_hw != size_hw:
                raise LeftOut(f"size differs from the photo: expected {canvases[photo].shown_hw}, got {size_hw}")
            builder.add(canvases[photo], builder.category(label), Mask(rle=rle.encode(numbers > 0)), place=name)
    return builder.finish()


def _parse(name: PurePosixPath, photos: PhotoFolder) -> tuple[str, int, str]:
    """Return photo, number and class of a mask by its file name."""
    for folder in name.parents:
        if str(folder) != "." and str(folder) in photos:
            number, label = _numbered(name.stem) or (0, ANY_CLASS)
            return photos.named(str(folder)), number, label
    stem = str(name.with_suffix(""))
    for cut in range(len(stem) - 1, 0, -1):  # the longest name of a photo
        if stem[cut] == "_" and (found := _numbered(stem[cut + 1 :])) and stem[:cut] in photos:
            return photos.named(stem[:cut]), *found
    raise LeftOut("missing photo: expected a mask in a folder of its photo's name, or <photo>_<number>[_<class>].png")


def _numbered(stem: str) -> tuple[int, str] | None:
    match = _NUMBERED.fullmatch(stem)
    return (int(match[1]), _QUOTED.sub(lambda m: chr(int(m[1], 16)), match[2] or ANY_CLASS)) if match else None


def write(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write `<photo>/<number>_<class>.png` for the visible part of every object, 0 and 255."""
    losses = unsupported_fields(
        data, "whole masks (amodal)", "stuff marks", "scores", "groups", "order in depth, pairs",
        "other keys of objects", "other keys of photos", "other keys of classes", "other keys of the file",
        "classes without objects", "photos without objects", "ids of objects", "ids of photos", "ids of classes",
    )  # fmt: skip
    names = data.category_names
    photos = {photo.id: photo for photo in data.images}
    stems = unique_stems(data.images)
    count: defaultdict[int, int] = defaultdict(int)
    out.mkdir(parents=True, exist_ok=True)
    for instance in data.instances:
        photo = photos[instance.image_id]
        mask = visible_pixels(instance, photo, losses)
        if mask is None:
            continue
        folder = out / stems[photo.id]
        folder.mkdir(parents=True, exist_ok=True)
        count[photo.id] += 1
        label = _REFUSED.sub(lambda m: f"%{ord(m[0]):02X}", names[instance.category_id])
        save = partial(Image.fromarray(rle.decode(mask).astype(np.uint8) * 255).save, format="PNG")
        write_whole(folder / f"{count[photo.id]}_{label}.png", save)
    return +losses
