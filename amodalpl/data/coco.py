"""Plain COCO instance files: `segmentation` is the modal mask, as polygons, compressed or uncompressed RLE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .coco_family import Fields, read_coco_like
from .records import AnnotationSet

FIELDS = Fields(format="coco", modal="segmentation", amodal=None)


def read_coco(path: Path, data: Any) -> AnnotationSet:
    """Turn a parsed COCO file into records; see `entries.read_coco_like` for what is raised and what is dropped."""
    return read_coco_like(path, data, FIELDS)
