"""COCO for training elsewhere: with the whole masks, or with both.

`coco-amodal` has whole masks as `segmentation` and nothing else, so that any trainer of COCO learns them.
`coco-modal` has visible masks there, as everybody expects of COCO, and whole ones under `amodal_segmentation`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.coco_family import Fields
from ..data.hub import DataSet, Losses
from ..data.source import Source
from ..data.unsupported import unheld
from ..masks import rle
from . import dialects
from .coco import segmentation

_BESIDE = "amodal_segmentation"
_MODAL = dialects.Dialect(
    Fields(format="coco-modal", modal="segmentation", amodal=_BESIDE), frozenset({"amodal_bbox", "amodal_area"})
)


def detect_modal(source: Source) -> bool:
    """Tell by `amodal_segmentation`."""
    annotations = source.data.get("annotations") if isinstance(source.data, dict) else None
    return isinstance(annotations, list) and any(isinstance(a, dict) and _BESIDE in a for a in annotations)


def read_modal(path: Path, images: Path | None) -> DataSet:
    """Read a file with both masks; see `dialects.read`."""
    return dialects.read(path, images, _MODAL)


def write_amodal(data: DataSet, out: Path) -> Losses:
    """Write whole masks as `segmentation`; crowd regions stay.

    Raises:
        DataError: no object has a whole mask.
    """
    losses = unheld(data, "order in depth, pairs")
    losses["visible masks"] += sum(thing.modal is not None and not thing.is_crowd for thing in data.things)
    return dialects.write_pairs(data, out, _whole, losses)


def write_modal(data: DataSet, out: Path) -> Losses:
    """Write visible masks as `segmentation`, whole ones beside.

    Raises:
        DataError: no object has a whole mask.
    """
    return dialects.write_pairs(data, out, _both, unheld(data, "order in depth, pairs"))


def _whole(pair: dialects.Pair) -> dict[str, Any]:
    return dialects.annotation(pair.thing, segmentation(pair.amodal), pair.amodal_px)


def _both(pair: dialects.Pair) -> dict[str, Any]:
    entry = dialects.annotation(pair.thing, segmentation(pair.modal), pair.modal_px)
    if pair.thing.is_crowd:
        return entry
    return entry | {
        _BESIDE: segmentation(pair.amodal),
        "amodal_bbox": list(rle.box_xywh(pair.amodal_px)),
        "amodal_area": rle.area_px(pair.amodal_px),
    }
