"""What a label file says of its labels beside their masks: how uncertain each is, and where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...data.label_folder import DOUBT
from ...data.mask_parsing import brief
from ...errors import DataError
from ...io.json_stream import read_entries


@dataclass(frozen=True)
class LabelNotes:
    """What is noted of labels, by annotation id.

    Attributes:
        uncertainty: how likely the label is wrong, 0 to 1.
        doubt: `box` and `png` of a map, as `doubt.jsonl` has them (`docs/formats.md`).
    """

    uncertainty: Mapping[int, float] = field(default_factory=dict)
    doubt: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


def read_label_notes(labels: Path, *, uncertainty: bool, doubt: bool) -> LabelNotes:
    """Read what is noted of the labels of a file.

    Args:
        labels: a label file; other annotation files have no notes.
        uncertainty: read the number of each label.
        doubt: read the maps in `doubt.jsonl` beside the file.

    Raises:
        DataError: a number out of range, or a line that is no map.
    """
    return LabelNotes(_uncertainty(labels) if uncertainty else {}, _doubt(labels) if doubt else {})


def _uncertainty(labels: Path) -> dict[int, float]:
    found: dict[int, float] = {}
    for index, entry in enumerate(read_entries(labels, "a label file", "annotations")):
        notes = entry.get("amodalpl") if isinstance(entry, dict) else None
        value = notes.get("uncertainty") if isinstance(notes, dict) else None
        if value is None:
            continue
        if not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise DataError(
                f"{labels}: annotations[{index}].amodalpl.uncertainty: expected a number in 0..1, got {brief(value)}"
            )
        found[entry["id"]] = float(value)
    return found


def _doubt(labels: Path) -> dict[int, dict[str, Any]]:
    path = labels.parent / DOUBT
    if not path.is_file():
        return {}
    found: dict[int, dict[str, Any]] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                box = [int(value) for value in entry["box"]]
                if len(box) != 4 or min(box) < 0 or min(box[2:]) < 1:
                    raise ValueError(f"box {box}")
                found[int(entry["id"])] = {"box": box, "png": str(entry["png"])}
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"{path}: line {number}: expected id, box and png of a map of doubt, got {brief(line.strip())} "
                    f"({error}); write it with `amodalpl pseudolabel`"
                ) from None
    return found
