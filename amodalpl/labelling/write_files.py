"""The files of a label folder, written photo by photo: labels, order, maps of uncertainty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..data.label_file import open_label_file
from ..data.label_folder import DOUBT, LABELS, ORDER
from ..data.records import AnnotationSet
from ..io.json_stream import open_lines, open_list
from .label_statistics import LabelStatistics


def write_label_files(
    folder: Path, data: AnnotationSet, photos: Iterable[Mapping[str, Any]], order_rule: str
) -> LabelStatistics:
    """Write `pseudo_amodal.json`, `order.json` and `doubt.jsonl`; memory holds one photo, and a few numbers per label.

    Args:
        folder: that gets the files.
        data: what was labelled.
        photos: of each photo `labels`, `order` and `doubt`, as `assemble.entries_of` makes them, and `left_out`, a
            row for each of its annotations that got no label.
        order_rule: how the order was found.

    Returns:
        What was counted on the way.
    """
    statistics = LabelStatistics()
    with (
        open_label_file(folder / LABELS, data) as add_label,
        open_list(folder / ORDER, {"rule": order_rule}, "images") as add_order,
        open_lines(folder / DOUBT) as add_doubt,
    ):
        for photo in photos:
            statistics.add_photo(photo)
            for label in photo["labels"]:
                add_label(label)
            add_order(photo["order"])
            for doubt in photo["doubt"]:
                add_doubt(doubt)
    return statistics
