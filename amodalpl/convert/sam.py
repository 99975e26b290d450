"""Segment Anything's automatic masks, as JSON: without classes, scored by the IoU that SAM predicts of itself.

A file per photo: a list of masks, named after its photo (what its script `amg.py --convert-to-rle` writes), or SA-1B's
`{"image": ..., "annotations": [...]}`; or, without that option, a folder of PNG files per photo with a list of scores.
SAM proposes parts as well as wholes: where masks share pixels, the pipeline gives them to the smaller.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..data.coco_parsing import mask_of
from ..data.dataset_builder import Builder, Canvas, DrawnOn
from ..data.mask_parsing import brief
from ..data.records import AnnotationSet, LeftOut
from ..data.source import Source, files_below
from ..errors import DataError
from ..masks import rle
from . import png_instances
from .coco_results import mask_size
from .png_index import ANY_CLASS
from .shared.doubles import without_doubles
from .shared.file_per_photo import json_of
from .shared.photo_folder import PhotoFolder

_KNOWN = {"id", "segmentation", "area", "bbox", "predicted_iou"}
_SCORE = "predicted_iou"
_LIST = "metadata.csv"


def detect(source: Source) -> bool:
    """Tell by `predicted_iou`, in a file, in any of the first files of a folder, or in lists beside folders of PNG."""
    return any(_first(data) for data in (source.data, *source.some_data)) or any(map(_scores, source.some(".csv")))


def _scores(file: Path) -> dict[int, float]:
    """Return what the script's list beside PNG files says of them, by number; empty for other lists."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.DictReader(handle))
        return {int(row["id"]): min(float(row[_SCORE]), 1.0) for row in rows if float(row[_SCORE]) >= 0}
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return {}


def _first(data: Any) -> bool:
    masks = _masks(data)
    return bool(masks) and isinstance(masks[0], dict) and _SCORE in masks[0]


def _masks(data: Any) -> list[Any]:
    found = data.get("annotations") if isinstance(data, dict) and isinstance(data.get("image"), dict) else data
    return found if isinstance(found, list) else []


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a file or a folder of files.

    Args:
        path: the file, or the folder with a JSON file per photo.
        images: folder of the photos, which must be there.
        drawn_on: of `Builder`.

    Raises:
        DataError: no JSON files, no photos, or no masks in any.
    """
    folder = path if path.is_dir() else path.parent
    files = list(files_below(path, ".json")) if path.is_dir() else [path]
    lists = list(files_below(path, ".csv")) if not files else []
    if any(map(_scores, lists)):
        return _read_png(path, images, drawn_on)
    if not files:
        raise DataError(f"{path}: expected a JSON file of masks per photo, found none; check the path")
    photos = PhotoFolder(images, path)
    builder = Builder(path, images, drawn_on=drawn_on)
    places: dict[int, str] = {}
    for file in files:
        name = file.relative_to(folder).as_posix()
        with builder.entry(name):
            data = json_of(file)
            if not _first(data):
                raise LeftOut(f"not masks of SAM: expected a list of masks with {_SCORE}, got {brief(data)}")
            masks = [_in_runs(mask) if isinstance(mask, dict) else {} for mask in _masks(data)]
            size_hw = next((size for size in map(mask_size, masks) if size), None)
            canvas = builder.photo(_photo(data, name, photos), name, size_hw)
            for index, mask in enumerate(masks):
                place = f"{name}: [{index}]"
                with builder.entry(place):
                    places[_add(builder, canvas, mask, place)] = place
    data_set = builder.finish()
    without_doubles(data_set, places)
    return data_set


def _read_png(path: Path, images: Path | None, drawn_on: DrawnOn) -> AnnotationSet:
    """Read a folder of PNG files per photo, each with its list of scores."""
    data = png_instances.read(path, images, drawn_on)
    places = {i.id: PurePosixPath(i.place) for i in data.instances}
    scores = {folder: _scores(path / folder / _LIST) for folder in {place.parent for place in places.values()}}
    for at, instance in enumerate(data.instances):
        place = places[instance.id]
        score = scores[place.parent].get(int(place.stem)) if place.stem.isdecimal() else None
        data.instances[at] = replace(instance, score=score)
    without_doubles(data, {i.id: i.place for i in data.instances})
    return data


def _in_runs(mask: dict[str, Any]) -> dict[str, Any]:
    """Return a mask in runs whose pixels, SAM's default, were written as rows of true and false; others as they are."""
    rows = mask.get("segmentation")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) and row for row in rows):
        return mask
    if {len(row) for row in rows} != {len(rows[0])} or {type(value) for row in rows for value in row} != {bool}:
        return mask
    return {**mask, "segmentation": rle.to_json(rle.encode(np.array(rows)))}


def _photo(data: Any, name: str, photos: PhotoFolder) -> str:
    stated = data["image"].get("file_name") if isinstance(data, dict) else None
    if isinstance(stated, str) and stated in photos:
        return photos.named(stated)
    return photos.named(name.rpartition(".")[0])


def _add(builder: Builder, canvas: Canvas, mask: Mapping[str, Any], place: str) -> int:
    score = mask.get(_SCORE)
    if isinstance(score, bool) or not isinstance(score, int | float) or not score >= 0:
        raise LeftOut(f"score out of range: expected 0 to 1, got {brief(score)}")
    return builder.add(
        canvas,
        builder.category(ANY_CLASS),
        mask_of(mask.get("segmentation"), canvas.shown_hw, place, builder.data.mended),
        score=float(min(score, 1.0)),  # SAM's guess of its own IoU may be slightly above 1
        extra={key: value for key, value in mask.items() if key not in _KNOWN},
    )
