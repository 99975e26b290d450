"""A folder of labels as the report reads it: numbers of all labels, and masks of those that are shown."""

from __future__ import annotations

import json
import math
import re
from array import array
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..io.files import hash_file, read_json
from ..io.json_stream import read_entries
from ..masks import rle
from ..masks.rle import Rle
from .label_file import UNASKED, WRITTEN_BY, read_label_head, read_labels, read_order
from .mask_parsing import brief
from .review_file import REVIEW_FILE, Review, carry_over, completed_mask, fingerprint, read_review

REFIT, FITTED = "refit", "refit/completer"  # what a completer was fitted to these photos by, and what came of it
LABELS, ORDER, STATS, DOUBT = "pseudo_amodal.json", "order.json", "stats.json", "doubt.jsonl"
_AS_DRAWN = {*UNASKED, "runaway"}  # flags of labels that were left as they were drawn
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class LabelEntry:
    """One label of a label file, in the numbers that labels are chosen by.

    Attributes:
        id: of the annotation.
        image_id: of its photo.
        category_id: of its class.
        uncertainty: expected 1 - IoU, 0 to 1.
        growth: whole area over what was drawn, from 1.
        is_completed: whether anything was added to what was drawn.
    """

    id: int
    image_id: int
    category_id: int
    uncertainty: float
    growth: float
    is_completed: bool


@dataclass(frozen=True)
class ShownLabel:
    """One label of a label file, with its masks and what the report says of it.

    Attributes:
        annotation: the entry as it stands in the file.
    """

    annotation: Mapping[str, Any]

    @property
    def in_numbers(self) -> LabelEntry:
        """What can be kept of every label."""
        category_id = self.annotation["category_id"]
        return LabelEntry(self.id, self.image_id, category_id, self.uncertainty, self.growth, self.added_px > 0)

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
        """The whole object as the completer made it; a review does not change it."""
        return rle_of(completed_mask(self.annotation))

    @cached_property
    def modal(self) -> Rle:
        """The visible part."""
        return rle_of(self.annotation["visible_mask"])

    @cached_property
    def drawn(self) -> Rle | None:
        """What was drawn, where the file has a mask for it."""
        stated = self._note("drawn")
        return rle_of(stated) if stated else None

    @cached_property
    def flags(self) -> list[str]:
        """What to look at; a region that detectors ignore is flagged too."""
        return [*map(str, self._note("flags") or ()), *(["iscrowd"] if self.annotation.get("iscrowd") else [])]

    @property
    def asked(self) -> bool:
        """Whether something may be in front of it, so that the network was asked."""
        return not UNASKED & set(self.flags)

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


@dataclass
class Overview:
    """What the report says of all labels together, added up label by label; of each some 300 bytes are kept.

    Attributes:
        labels: in file order.
        flags: labels by flag.
        completers: names of what made them.
        uncertainty: of the labels that the network was asked about.
        growth: of the same.
        occlusion_rate: of the same.
    """

    labels: list[LabelEntry] = field(default_factory=list)
    flags: Counter[str] = field(default_factory=Counter)
    completers: set[str] = field(default_factory=set)
    uncertainty: array[float] = field(default_factory=lambda: array("d"))
    growth: array[float] = field(default_factory=lambda: array("d"))
    occlusion_rate: array[float] = field(default_factory=lambda: array("d"))

    def watch(self, annotations: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Pass the annotations of a label file on, and add them up."""
        for annotation in annotations:
            label = ShownLabel(annotation)
            self.labels.append(label.in_numbers)
            self.flags.update(label.flags)
            self.completers.add(str(annotation["amodalpl"].get("completer", "unknown")))
            if label.asked:
                self.uncertainty.append(label.uncertainty)
                self.growth.append(label.growth)
                self.occlusion_rate.append(label.occlusion_rate)
            yield annotation


@dataclass(frozen=True)
class LabelFolder:
    """A folder that `pseudolabel` or `apply-review` wrote.

    Attributes:
        path: the folder.
        sha256: of the label file.
        file_names: of its photos by image id, in file order.
        class_names: by category id.
        overview: of its labels.
        stats: counts of the stage; empty without that file.
        review: decisions that hold for these labels.
        stale: number of decisions that no longer fit a label.
    """

    path: Path
    sha256: str
    file_names: dict[int, str]
    class_names: dict[int, str]
    overview: Overview
    stats: dict[str, Any]
    review: Review
    stale: int

    @property
    def labels(self) -> Iterator[ShownLabel]:
        """Read the labels again, in file order, one in memory at a time."""
        return (ShownLabel(entry) for entry in read_entries(self.path / LABELS, "a label file", "annotations"))


def read_label_folder(folder: Path) -> LabelFolder:
    """Read a folder of labels, and check every one; only the label file has to be there.

    Raises:
        DataError: a file is missing, damaged, or of another kind.
    """
    path = folder / LABELS
    images, categories = read_label_head(path)
    sha256 = hash_file(path)
    overview = Overview()
    labels = overview.watch(read_labels(path, images, categories))
    review, stale = Review(sha256, ()), 0
    if (folder / REVIEW_FILE).exists():
        review, lost = carry_over(read_review(folder / REVIEW_FILE), labels, sha256)
        stale = len(lost)
    else:
        deque(labels, maxlen=0)
    stats = read_json(folder / STATS, "counts of labels") if (folder / STATS).exists() else {}
    return LabelFolder(
        folder,
        sha256,
        {image.id: image.file_name for image in images},
        {c["id"]: str(c.get("name", c["id"])) for c in categories},
        overview,
        check_stats(folder / STATS, stats),
        review,
        stale,
    )


def read_orders(folder: Path, image_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """Read who is in front of whom on some photos; all others are checked too.

    Args:
        folder: of the labels; without `order.json` there is nothing.
        image_ids: of the photos.

    Returns:
        Entries of `order.json` by image id.

    Raises:
        DataError: the file is damaged, or of another kind.
    """
    path = folder / ORDER
    if not path.exists():
        return {}
    return {entry["image_id"]: entry for entry in read_order(path) if entry["image_id"] in image_ids}


def read_doubts(folder: Path, ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Read the uncertainty maps of some labels, line by line.

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


_PROMISE = ("uncertainty_at_most", "iou_above", "share")


def check_stats(path: Path, content: Any) -> dict[str, Any]:
    """Return the content of a `stats.json`.

    Raises:
        DataError: it is not one.
    """
    counts = content.get("counts", {}) if isinstance(content, dict) else None
    left_out = counts.get("left out") if isinstance(counts, dict) else None
    if not isinstance(counts, dict) or not isinstance(left_out or {}, dict):
        raise DataError(f"{path}: expected an object with counts, got {brief(content)}; {WRITTEN_BY}")
    return content


def check_hold_out(path: Path, metrics: Any, card: Any) -> None:
    """Refuse what a report cannot show of a completer's hold-out.

    Args:
        path: folder of the completer, for messages.
        metrics: content of its `metrics.json`; whatever is missing is missing.
        card: content of its `completer.json`, likewise.

    Raises:
        DataError: scores that are no tables, curves that are no pairs of numbers, a promise that is none.
    """
    if not isinstance(metrics, dict) or not isinstance(card, dict):
        raise DataError(f"{path}: expected what `amodalpl complete` writes, got {brief(metrics)} and {brief(card)}")
    scores, diagrams = metrics.get("scores") or {}, metrics.get("reliability") or {}
    if not _are_mappings(scores) or not all(map(_are_mappings, scores.values())):
        raise DataError(f"{path}: metrics.json: scores: expected tables of numbers, got {brief(scores)}")
    calibration, promise = card.get("calibration") or {}, card.get("promise") or {}
    if not _are_mappings(diagrams) or not isinstance(calibration, dict):
        raise DataError(f"{path}: expected curves of stated and measured values, got {brief(diagrams)}")
    for curve, x, y in [(c, "stated", "seen") for c in diagrams.values()] + [(calibration, "probability", "belongs")]:
        xs, ys = curve.get(x) or [], curve.get(y) or []
        both = isinstance(xs, list) and isinstance(ys, list) and len(xs) == len(ys)
        if not both or not all(type(value) in (int, float) and abs(value) <= 2 for value in [*xs, *ys]):
            raise DataError(f"{path}: expected a curve as two lists of shares, got {brief(xs)} and {brief(ys)}")
    told: list[Any] = [promise.get(key) for key in _PROMISE] if isinstance(promise, dict) else [None]
    if promise and not all(type(value) in (int, float) and abs(value) <= 2 for value in told):
        raise DataError(f"{path}: completer.json: promise: expected shares, got {brief(told)}")


def _are_mappings(table: Any) -> bool:
    return isinstance(table, dict) and all(isinstance(row, dict) for row in table.values())
