"""D2SA and COCOA-cls (Follmann et al. 2019), and the label files of this project.

`segmentation` is the whole mask, `visible_mask` the visible one, `invisible_mask` what is between them, if anything.
As in COCOA, an annotation without a `visible_mask` is of an object that nothing hides: its modal mask is the amodal
one. The order in depth of a label file stands in the `order.json` beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..io.files import read_json
from ..masks import rle
from . import coco
from .coco_parsing import Fields
from .coco_write import MaskPair, annotation, segmentation, write_pairs
from .dataset_builder import DrawnOn
from .format_losses import UnsupportedFields, unsupported_fields
from .label_folder import ORDER
from .records import AnnotationSet, Dropped

FIELDS = Fields(
    format="d2sa",
    modal="visible_mask",
    amodal="segmentation",
    modal_defaults_to_amodal=True,
    modal_box="visible_bbox",
    amodal_box="bbox",
    derived=frozenset({"bbox", "area", "visible_bbox", "invisible_mask", "occlude_rate"}),
)


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a file; see `coco.read`."""
    data = coco.read(path, images, drawn_on, FIELDS)
    if (path.parent / ORDER).is_file():
        _read_order(path.parent / ORDER, data)
    return data


def write(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write a file; masks stay polygons or RLE as they were.

    Raises:
        DataError: no object has a whole mask.
    """
    return write_pairs(data, out, _entry, unsupported_fields(data, "order in depth, pairs"))


def _entry(pair: MaskPair) -> dict[str, Any]:
    entry = annotation(pair.instance, segmentation(pair.amodal), pair.amodal_px) | {
        "visible_mask": segmentation(pair.modal),
        "visible_bbox": list(rle.box_xywh(pair.modal_px)),
        "occlude_rate": pair.occlude_rate,
    }
    if pair.hidden_px:
        entry["invisible_mask"] = rle.to_json(pair.hidden)
    return entry


def _read_order(file: Path, data: AnnotationSet) -> None:
    order = read_json(file, "the order beside a label file")
    ids = {instance.id for instance in data.instances}
    photos = order.get("images") if isinstance(order, dict) else None
    for index, photo in enumerate(photos if isinstance(photos, list) else ()):
        stated = photo.get("pairs") if isinstance(photo, dict) else None
        for at, pair in enumerate(stated if isinstance(stated, list) else ()):
            front, back = (pair.get("front"), pair.get("back")) if isinstance(pair, dict) else (None, None)
            if type(front) is int and type(back) is int and front != back and ids.issuperset((front, back)):
                data.front_of.append((front, back))
            else:
                place = f"{file.name}: images[{index}].pairs[{at}]"
                data.dropped.append(Dropped(place, None, None, "order of objects that are not here"))
