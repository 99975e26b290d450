"""What the report reads from a folder of labels, and from the completer that made them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..formats.label_file import check_label_file, check_order, check_stats
from ..labelling.review import REVIEW_FILE, Review, carry_over, completed_mask, fingerprint, read_review
from ..masks import rle
from ..records import Rle
from ..running.provenance import hash_file, read_json

LABELS, ORDER, STATS, DOUBT = "pseudo_amodal.json", "order.json", "stats.json", "doubt.jsonl"
_UNASKED = {"no_occluder", "fully_shared"}  # flags of labels that the network was not asked about
_AS_DRAWN = {*_UNASKED, "runaway"}  # flags of labels that were left as they were drawn
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True)
class LabelEntry:
    """One label of a label file, with what the report says of it.

    Attributes:
        annotation: the entry as it stands in the file.
    """

    annotation: Mapping[str, Any]

    @property
    def id(self) -> int:
        """Of the annotation."""
        return self.annotation["id"]

    @property
    def image_id(self) -> int:
        """Of its photo."""
        return self.annotation["image_id"]

    @cached_property
    def amodal(self) -> Rle:
        """The whole object as the completer has it, whatever a review made of it."""
        return rle_of(completed_mask(self.annotation))

    @cached_property
    def modal(self) -> Rle:
        """The visible part."""
        return rle_of(self.annotation["visible_mask"])

    @cached_property
    def flags(self) -> list[str]:
        """What to look at; a region that detectors ignore is flagged too."""
        return [*map(str, self._note("flags") or ()), *(["iscrowd"] if self.annotation.get("iscrowd") else [])]

    @property
    def asked(self) -> bool:
        """Whether something may be in front of it, so that the network was asked."""
        return not _UNASKED & set(self.flags)

    @property
    def uncertainty(self) -> float:
        """Expected 1 - IoU, 0 to 1."""
        return self._number("uncertainty") or 0.0

    @property
    def plausibility(self) -> float | None:
        """How ordinary the whole shape is, 0 to 1; None where nobody knows."""
        return self._number("plausibility")

    @property
    def occluders(self) -> list[int]:
        """Annotation ids of what is taken to be in front."""
        return list(self._note("occluders") or ())

    @cached_property
    def area_px(self) -> int:
        """Of the whole object."""
        return rle.area_px(self.amodal)

    @cached_property
    def added_px(self) -> int:
        """Pixels that the completion added to what was drawn; none where the network was not asked.

        Label files that do not say it (`amodalpl.added_px`) leave the hidden part, which holds the pixels that
        overlapping masks own too.
        """
        stated = self._number("added_px")
        if stated is not None:
            return int(stated)
        return 0 if _AS_DRAWN & set(self.flags) else self.area_px - rle.area_px(self.modal)

    @property
    def growth(self) -> float:
        """Whole area over what was drawn, from 1."""
        return self.area_px / max(1, self.area_px - self.added_px)

    @property
    def occlusion_rate(self) -> float:
        """Hidden share of the whole object, 0 to 1."""
        return 1 - rle.area_px(self.modal) / max(1, self.area_px)

    @property
    def fingerprint(self) -> str:
        """What a decision on this label names."""
        return fingerprint(self.annotation)

    def _note(self, key: str) -> Any:
        return self.annotation["amodalpl"].get(key)

    def _number(self, key: str) -> float | None:
        value = self._note(key)
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


@dataclass(frozen=True)
class LabelFolder:
    """A folder that `pseudolabel` or `apply-review` wrote.

    Attributes:
        path: the folder.
        sha256: of the label file.
        images: its image entries, in file order.
        class_names: by category id.
        labels: in file order.
        order: entries of `order.json` by image id; empty without that file.
        stats: counts of the stage; empty without that file.
        review: decisions that hold for these labels.
        stale: how many decisions were there that hold no more.
    """

    path: Path
    sha256: str
    images: list[dict[str, Any]]
    class_names: dict[int, str]
    labels: list[LabelEntry]
    order: dict[int, dict[str, Any]]
    stats: dict[str, Any]
    review: Review
    stale: int


def read_label_folder(folder: Path) -> LabelFolder:
    """Read a folder of labels; only the label file has to be there.

    Raises:
        DataError: a file is missing, damaged, or of another kind.
    """
    path = folder / LABELS
    content = read_json(path, "a label file")
    check_label_file(path, content)
    labels = [LabelEntry(entry) for entry in content["annotations"]]
    sha256 = hash_file(path)
    review, stale = Review(sha256, ()), 0
    if (folder / REVIEW_FILE).exists():
        review, lost = carry_over(read_review(folder / REVIEW_FILE), (e.annotation for e in labels), sha256)
        stale = len(lost)
    order = read_json(folder / ORDER, "the order of labels") if (folder / ORDER).exists() else {}
    stats = read_json(folder / STATS, "counts of labels") if (folder / STATS).exists() else {}
    return LabelFolder(
        folder,
        sha256,
        content["images"],
        {c["id"]: str(c.get("name", c["id"])) for c in content["categories"]},
        labels,
        check_order(folder / ORDER, order),
        check_stats(folder / STATS, stats),
        review,
        stale,
    )


def read_doubts(folder: Path, ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Read the maps of doubt of some labels, line by line.

    Args:
        folder: of the labels; without `doubt.jsonl` there are none.
        ids: annotation ids.

    Returns:
        By annotation id: `box` x, y, width, height in pixels of the photo and `png`, base64 of a grey PNG over it.

    Raises:
        DataError: a line is not of such a file.
    """
    wanted = set(ids)
    return {entry.pop("id"): entry for entry in _doubt_lines(folder / DOUBT) if entry["id"] in wanted}


def _doubt_lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                box, png = entry["box"], entry["png"]
                if len(box) != 4 or not all(type(v) is int for v in (*box, entry["id"])) or not _BASE64.fullmatch(png):
                    raise ValueError
                yield {"id": entry["id"], "box": box, "png": png}
            except (ValueError, KeyError, TypeError, RecursionError):
                raise DataError(
                    f"{path}: line {number}: expected id, box (four whole numbers) and png (base64), got "
                    f"{line[:60]!r}; delete the file to do without it"
                ) from None


def rle_of(entry: Mapping[str, Any]) -> Rle:
    """Return a mask of a label file as the RLE that our functions take."""
    return Rle(size=list(entry["size"]), counts=entry["counts"].encode("ascii"))
