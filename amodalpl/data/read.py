"""Annotation files in, records out: plain COCO, COCOA, KINS 2019 and 2020, D2SA / COCOA-cls and our own label files.

A file whose shape is wrong raises `DataError`. An entry that cannot become an instance is never lost silently: it
goes to `AnnotationSet.dropped` with a reason, "kind" or "kind: detail", where kinds are few and counted.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import DataError, SettingsError, nearest
from ..io.files import read_json, read_json_folder
from ..io.parallel import helpers, usable_cores
from . import coco, d2sa, kins
from .coco_parsing import converting, read_coco_like
from .cocoa import is_cocoa, read_cocoa
from .records import AnnotationSet

_FIELDS = {fields.format: fields for fields in (coco.FIELDS, kins.FIELDS_2019, kins.FIELDS_2020, d2sa.FIELDS)}
FORMATS = ("auto", "coco", "cocoa", "kins", "kins2020", "d2sa")
LARGE_BYTES = 2**25  # a file for which starting helpers pays
_OF_OTHER_TOOLS = {".xml", ".txt", ".yaml", ".yml"}
_MOST_HELPERS = 4  # which reading JSON, by one process, could keep busy


def read_annotations(path: Path, fmt: str = "auto", *, boxes: bool = False) -> AnnotationSet:
    """Read an annotation file of any supported format.

    Args:
        path: a JSON file, or a folder of COCOA records (one JSON file per photo).
        fmt: one of `FORMATS`; "auto" tells the format from the content. Naming one overrides that: "coco" reads the
            `segmentation` of any COCO-like file as the modal mask.
        boxes: read stated boxes and what labels note too; an entry that has a box but no mask is an instance then,
            without masks. COCOA has no boxes.

    Returns:
        Everything that can be used, and under `dropped` everything that cannot, with reasons.

    Raises:
        SettingsError: unknown `fmt`.
        DataError: no such file, not JSON, not of this format, no masks at all, or contradictory ids.
    """
    if fmt not in FORMATS:
        raise SettingsError(f"format: expected a known annotation format, got {fmt!r}{nearest(str(fmt), FORMATS)}")
    path = Path(path)
    folder, large = _is_folder(path), _is_large(path)
    if folder and fmt not in ("auto", "cocoa"):
        raise DataError(f"{path}: expected one {fmt} file, got a folder (only COCOA records come as a folder)")
    if path.suffix.lower() in _OF_OTHER_TOOLS and path.is_file():
        raise DataError(
            f"{path}: expected an annotation file in JSON, got {path.suffix}; if another tool wrote it: "
            f"`{converting(path)}`"
        )
    with _no_garbage_collection(), helpers(min(usable_cores(), _MOST_HELPERS) if large else 0):
        data = read_json_folder(path, "a COCOA record") if folder else read_json(path, "an annotation file")
        name = "cocoa" if folder else detect_format(data) if fmt == "auto" else fmt
        return read_cocoa(path, data) if name == "cocoa" else read_coco_like(path, data, _FIELDS[name], boxes=boxes)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError) as error:  # too long, or with characters that no name has
        raise DataError(f"{str(path)[:120]!r}: expected the name of an annotation file ({error})"[:300]) from None


def _is_large(path: Path) -> bool:
    try:
        return path.stat().st_size >= LARGE_BYTES
    except (OSError, ValueError):  # which reading it tells better
        return False


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Spare the search for cycles: millions of new lists make it run again and again, and JSON has no cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def detect_format(data: Any) -> str:
    """Tell the format of parsed JSON by the keys that only one format has; "coco" when there are none.

    >>> detect_format({"images": [], "annotations": [{"id": 1, "inmodal_seg": {}}]})
    'kins'
    """
    if is_cocoa(data):
        return "cocoa"
    annotations = data.get("annotations") if isinstance(data, Mapping) else None
    for annotation in annotations if isinstance(annotations, list) else ():
        if not isinstance(annotation, dict):
            continue
        if "inmodal_seg" in annotation:
            return "kins"
        if "i_segm" in annotation or "a_segm" in annotation:
            return "kins2020"
        if "visible_mask" in annotation:
            return "d2sa"
    return "coco"


__all__ = ["FORMATS", "detect_format", "read_annotations"]
