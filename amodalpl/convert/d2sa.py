"""D2SA and COCOA-cls (Follmann et al. 2019), and the label files of this project.

`segmentation` is the whole mask, `visible_mask` the visible one, `invisible_mask` what is between them, if anything.
The order in depth of a label file is read from the `order.json` beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.d2sa import FIELDS
from ..data.hub import DataSet, Losses
from ..data.read import detect_format
from ..data.source import Source
from ..data.unsupported import unheld
from ..io.files import read_json
from ..masks import rle
from . import dialects
from .coco import segmentation

ORDER_FILE = "order.json"
_D2SA = dialects.Dialect(FIELDS, frozenset({"visible_bbox", "invisible_mask", "occlude_rate"}))


def detect(source: Source) -> bool:
    """Tell by `visible_mask`."""
    return detect_format(source.data) == "d2sa"


def read(path: Path, images: Path | None) -> DataSet:
    """Read a file; see `dialects.read`. Without a `visible_mask`, an object is fully visible."""
    data = dialects.read(path, images, _D2SA)
    if (path.parent / ORDER_FILE).is_file():
        _read_order(path.parent / ORDER_FILE, data)
    return data


def write(data: DataSet, out: Path) -> Losses:
    """Write a file; masks stay polygons or RLE as they were.

    Raises:
        DataError: no object has a whole mask.
    """
    return dialects.write_pairs(data, out, _entry, unheld(data, "order in depth, pairs"))


def _entry(pair: dialects.Pair) -> dict[str, Any]:
    entry = dialects.annotation(pair.thing, segmentation(pair.amodal), pair.amodal_px) | {
        "visible_mask": segmentation(pair.modal),
        "visible_bbox": list(rle.box_xywh(pair.modal_px)),
        "occlude_rate": pair.occlude_rate,
    }
    if pair.hidden_px:
        entry["invisible_mask"] = rle.to_json(pair.hidden)
    return entry


def _read_order(file: Path, data: DataSet) -> None:
    order = read_json(file, "the order beside a label file")
    ids = {thing.id for thing in data.things}
    photos = order.get("images") if isinstance(order, dict) else None
    for index, photo in enumerate(photos if isinstance(photos, list) else ()):
        stated = photo.get("pairs") if isinstance(photo, dict) else None
        for at, pair in enumerate(stated if isinstance(stated, list) else ()):
            front, back = (pair.get("front"), pair.get("back")) if isinstance(pair, dict) else (None, None)
            if type(front) is int and type(back) is int and front != back and ids.issuperset((front, back)):
                data.front_of.append((front, back))
            else:
                data.left_out.append(
                    (f"{file.name}: images[{index}].pairs[{at}]", "order of objects that are not here")
                )
