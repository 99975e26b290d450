"""KINS in its two releases: COCO's frame, other names for the masks.

The release of 2019 (`instances_train.json`) has `inmodal_seg` (RLE) and `segmentation` (amodal polygons, possibly
several). That of 2020 (`update_train_2020.json`) has `i_segm` and `a_segm`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .coco_family import Fields, read_coco_like
from .records import AnnotationSet

FIELDS_2019 = Fields(format="kins", modal="inmodal_seg", amodal="segmentation")
FIELDS_2020 = Fields(format="kins2020", modal="i_segm", amodal="a_segm")


def read_kins(path: Path, data: Any) -> AnnotationSet:
    """Turn a parsed KINS 2019 file into records; see `entries.read_coco_like`."""
    return read_coco_like(path, data, FIELDS_2019)


def read_kins2020(path: Path, data: Any) -> AnnotationSet:
    """Turn a parsed KINS 2020 file into records; see `entries.read_coco_like`."""
    return read_coco_like(path, data, FIELDS_2020)
