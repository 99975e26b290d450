"""COCO JSON with instance masks, as CVAT, Roboflow and many others export it, and for training elsewhere.

`coco`: `segmentation` is the visible mask. `coco-modal` has whole masks beside it under `amodal_segmentation`.
`coco-amodal` has whole masks as `segmentation` and nothing else, so that any trainer of COCO learns them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..io.files import read_json
from ..masks import rle
from .coco_mend import with_whole_ids
from .coco_parsing import Fields, read_coco_like
from .coco_splits import is_coco, read_splits
from .coco_write import MaskPair, annotation, segmentation, write_frame, write_pairs
from .dataset_builder import DrawnOn, on_photos
from .format_losses import UnsupportedFields, unsupported_fields
from .records import AnnotationSet, Dropped, Instance, LeftOut
from .source import Source

_BESIDE = "amodal_segmentation"
FIELDS = Fields(format="coco", modal="segmentation", amodal=None, amodal_box="amodal_bbox")
FIELDS_BOTH = Fields(
    "coco-modal",
    "segmentation",
    _BESIDE,
    amodal_box="amodal_bbox",
    derived=frozenset({"bbox", "area", "amodal_bbox", "amodal_area"}),
)


def detect(source: Source) -> bool:
    """Tell by the two lists that every COCO file has, or any JSON file in a folder of splits."""
    return is_coco(source.data) or any(map(is_coco, source.some_data))


def detect_modal(source: Source) -> bool:
    """Tell by `amodal_segmentation`."""
    annotations = source.data.get("annotations") if isinstance(source.data, dict) else None
    return isinstance(annotations, list) and any(isinstance(a, dict) and _BESIDE in a for a in annotations)


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto", fields: Fields = FIELDS) -> AnnotationSet:
    """Read a file in COCO's frame, with masks as drawn and every other key.

    Args:
        path: the JSON file, or a folder with one per split.
        images: folder of the photos, whose sizes are compared when it is given.
        drawn_on: of `Builder`.
        fields: where the masks are.

    Raises:
        DataError: as `coco_parsing.read_coco_like` does, or none of the photos is there.
    """
    if path.is_dir() and fields is FIELDS:
        return read_splits(path, images, lambda file, own: read(file, own, drawn_on))
    data = read_json(path, f"a {fields.format} file")
    mended: list[Dropped] = []
    records = read_coco_like(path, with_whole_ids(data, images, mended), fields, as_drawn=True)
    records.mended[:0] = mended
    return on_photos(records, images, drawn_on)


def read_modal(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a file with both masks; see `read`."""
    return read(path, images, drawn_on, FIELDS_BOTH)


def write(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write a file whose `segmentation` is the visible mask; `bbox` and `area` stay as they were read, if they were."""
    losses = unsupported_fields(data, "whole masks (amodal)", "order in depth, pairs")
    losses["objects without a visible mask"] += sum(instance.modal_mask is None for instance in data.instances)
    sizes = {photo.id: photo.size_hw for photo in data.images}
    entries = [_visible(instance, sizes[instance.image_id]) for instance in data.instances if instance.modal_mask]
    write_frame(data, out, entries)
    return +losses


def _visible(instance: Instance, size_hw: tuple[int, int]) -> dict[str, Any]:
    assert instance.modal_mask
    entry: dict[str, Any] = {
        "id": instance.id,
        "image_id": instance.image_id,
        "category_id": instance.category_id,
        "segmentation": segmentation(instance.modal_mask),
        "iscrowd": int(instance.is_crowd),
    }
    if not {"bbox", "area"} <= instance.extra.keys():
        try:
            mask = instance.modal_mask.pixels(size_hw)
            entry |= {"bbox": list(rle.box_xywh(mask)), "area": rle.area_px(mask)}
        except LeftOut:  # a polygon beside the photo stays as drawn; `check` lists it
            entry |= {"bbox": [0, 0, 0, 0], "area": 0}
    if instance.score is not None:
        entry["score"] = instance.score
    if instance.group is not None:
        entry["group"] = instance.group
    if instance.is_stuff:
        entry["isStuff"] = 1
    return entry | instance.extra


def write_amodal(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write whole masks as `segmentation`; crowd regions stay.

    Raises:
        DataError: no object has a whole mask.
    """
    losses = unsupported_fields(data, "order in depth, pairs")
    losses["visible masks"] += sum(i.modal_mask is not None and not i.is_crowd for i in data.instances)
    return write_pairs(data, out, _whole, losses)


def write_modal(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write visible masks as `segmentation`, whole ones beside.

    Raises:
        DataError: no object has a whole mask.
    """
    return write_pairs(data, out, _both, unsupported_fields(data, "order in depth, pairs"))


def _whole(pair: MaskPair) -> dict[str, Any]:
    return annotation(pair.instance, segmentation(pair.amodal), pair.amodal_px)


def _both(pair: MaskPair) -> dict[str, Any]:
    entry = annotation(pair.instance, segmentation(pair.modal), pair.modal_px)
    if pair.instance.is_crowd:
        return entry
    return entry | {
        _BESIDE: segmentation(pair.amodal),
        "amodal_bbox": list(rle.box_xywh(pair.amodal_px)),
        "amodal_area": rle.area_px(pair.amodal_px),
    }
