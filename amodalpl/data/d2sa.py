"""D2SA and COCOA-cls files, and the label files of this project.

`segmentation` is the amodal mask, `visible_mask` the modal one. As in COCOA, an annotation without a `visible_mask`
is of an object that nothing hides: its modal mask is the amodal one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .coco_family import Fields, read_coco_like
from .records import AnnotationSet

FIELDS = Fields(format="d2sa", modal="visible_mask", amodal="segmentation", modal_defaults_to_amodal=True)


def read_d2sa(path: Path, data: Any) -> AnnotationSet:
    """Turn a parsed D2SA-like file into records; see `entries.read_coco_like`."""
    return read_coco_like(path, data, FIELDS)
