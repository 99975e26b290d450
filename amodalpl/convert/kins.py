"""KINS (Qi et al. 2019), in its releases of 2019 and 2020: COCO's frame, other names for the masks.

2019: `inmodal_seg` and `inmodal_bbox` visible (RLE), `segmentation` and `bbox` whole (polygons). 2020: `i_segm`,
`i_bbox` and `a_segm`, `a_bbox`. Its numbers of clusters and places in them (`ico_id`, `oco_id`) stay with their
objects as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.hub import DataSet, Losses
from ..data.kins import FIELDS_2019, FIELDS_2020
from ..data.mask_tracing import rings
from ..data.read import detect_format
from ..data.source import Source
from ..data.unsupported import unheld
from ..masks import rle
from . import dialects
from .coco import segmentation

_2019 = dialects.Dialect(FIELDS_2019, frozenset({"inmodal_bbox"}))
_2020 = dialects.Dialect(FIELDS_2020, frozenset({"i_bbox", "a_bbox", "i_area", "a_area", "segmentation"}))


def detect(source: Source) -> bool:
    """Tell by `inmodal_seg`."""
    return detect_format(source.data) == "kins"


def detect_2020(source: Source) -> bool:
    """Tell by `i_segm` or `a_segm`."""
    return detect_format(source.data) == "kins2020"


def read(path: Path, images: Path | None) -> DataSet:
    """Read a file of 2019; see `dialects.read`."""
    return dialects.read(path, images, _2019)


def read_2020(path: Path, images: Path | None) -> DataSet:
    """Read a file of 2020; see `dialects.read`."""
    return dialects.read(path, images, _2020)


def write(data: DataSet, out: Path) -> Losses:
    """Write a file of 2019: whole masks as polygons, visible ones as RLE, which is what its tools decode.

    Raises:
        DataError: no object has a whole mask.
    """
    losses = unheld(data, "order in depth, pairs")
    losses["visible masks drawn as polygons, now pixels"] += sum(
        bool(t.modal and t.modal.polygons) for t in data.things
    )
    return dialects.write_pairs(data, out, _entry_2019, losses)


def write_2020(data: DataSet, out: Path) -> Losses:
    """Write a file of 2020, whose masks are polygons or RLE as they were.

    Raises:
        DataError: no object has a whole mask.
    """
    return dialects.write_pairs(data, out, _entry_2020, unheld(data, "order in depth, pairs"))


def _entry_2019(pair: dialects.Pair) -> dict[str, Any]:
    whole = [list(ring) for ring in rings(pair.amodal)]
    return dialects.annotation(pair.thing, whole, pair.amodal_px) | {
        "inmodal_seg": rle.to_json(pair.modal_px),
        "inmodal_bbox": list(rle.box_xywh(pair.modal_px)),
    }


def _entry_2020(pair: dialects.Pair) -> dict[str, Any]:
    whole = segmentation(pair.amodal)
    return dialects.annotation(pair.thing, whole, pair.amodal_px) | {
        "a_segm": whole,
        "a_bbox": list(rle.box_xywh(pair.amodal_px)),
        "a_area": rle.area_px(pair.amodal_px),
        "i_segm": segmentation(pair.modal),
        "i_bbox": list(rle.box_xywh(pair.modal_px)),
        "i_area": rle.area_px(pair.modal_px),
    }
