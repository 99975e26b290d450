"""KINS (Qi et al. 2019), in its releases of 2019 and 2020: COCO's frame, other names for the masks.

2019 (`instances_train.json`): `inmodal_seg` and `inmodal_bbox` visible (RLE), `segmentation` and `bbox` whole
(polygons). 2020 (`update_train_2020.json`): `i_segm`, `i_bbox` and `a_segm`, `a_bbox`. Its numbers of clusters and
places in them (`ico_id`, `oco_id`) stay with their objects as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..masks import rle
from . import coco
from .coco_parsing import Fields
from .coco_write import MaskPair, annotation, segmentation, write_pairs
from .dataset_builder import DrawnOn
from .format_losses import UnsupportedFields, unsupported_fields
from .mask_tracing import rings
from .records import AnnotationSet

FIELDS_2019 = Fields(
    "kins",
    "inmodal_seg",
    "segmentation",
    modal_box="inmodal_bbox",
    amodal_box="bbox",
    derived=frozenset({"bbox", "area", "inmodal_bbox"}),
)
FIELDS_2020 = Fields(
    "kins2020",
    "i_segm",
    "a_segm",
    modal_box="i_bbox",
    amodal_box="a_bbox",
    derived=frozenset({"bbox", "area", "i_bbox", "a_bbox", "i_area", "a_area", "segmentation"}),
)


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a file of 2019; see `coco.read`."""
    return coco.read(path, images, drawn_on, FIELDS_2019)


def read_2020(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a file of 2020; see `coco.read`."""
    return coco.read(path, images, drawn_on, FIELDS_2020)


def write(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write a file of 2019: whole masks as polygons, visible ones as RLE, which is what its tools decode.

    Raises:
        DataError: no object has a whole mask.
    """
    losses = unsupported_fields(data, "order in depth, pairs")
    losses["visible masks drawn as polygons, now pixels"] += sum(
        bool(i.modal_mask and i.modal_mask.polygons) for i in data.instances
    )
    return write_pairs(data, out, _entry_2019, losses)


def write_2020(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write a file of 2020, whose masks are polygons or RLE as they were.

    Raises:
        DataError: no object has a whole mask.
    """
    return write_pairs(data, out, _entry_2020, unsupported_fields(data, "order in depth, pairs"))


def _entry_2019(pair: MaskPair) -> dict[str, Any]:
    whole = [list(ring) for ring in rings(pair.amodal)]
    return annotation(pair.instance, whole, pair.amodal_px) | {
        "inmodal_seg": rle.to_json(pair.modal_px),
        "inmodal_bbox": list(rle.box_xywh(pair.modal_px)),
    }


def _entry_2020(pair: MaskPair) -> dict[str, Any]:
    whole = segmentation(pair.amodal)
    return annotation(pair.instance, whole, pair.amodal_px) | {
        "a_segm": whole,
        "a_bbox": list(rle.box_xywh(pair.amodal_px)),
        "a_area": rle.area_px(pair.amodal_px),
        "i_segm": segmentation(pair.modal),
        "i_bbox": list(rle.box_xywh(pair.modal_px)),
        "i_area": rle.area_px(pair.modal_px),
    }
