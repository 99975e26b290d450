"""Labels of photos that have not changed: a run on more photos takes them over, byte for byte.

A label folder notes what the labels of each photo were made from. Before a run on a new annotation file claims the
folder, the labels for which that still holds are copied aside. After that the run does not need the old files, and can
be killed and continued.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..io.files import write_json, write_whole
from ..io.json_stream import read_lines, write_lines
from .label_file import read_label_head, read_labels, read_order
from .label_folder import DOUBT, LABELS, ORDER
from .records import AnnotationSet, ImageRecord, Mask
from .review_file import REVIEW_FILE

MADE_FROM = "photos.jsonl"
"""Of a label folder: what the labels of each photo were made from, a line each."""
KEPT, _COUNTS = "kept.jsonl", "counts.json"
_WHAT = "a photo's labels"


def made_from(data: AnnotationSet, images: Path) -> dict[int, str]:
    """Return a mark per photo with instances. It changes when anything changes that the photo's labels are made from.

    These are the photo's entry, the size of its file, and its instances with the names of their classes.
    """
    return {r.id: _mark(data, r, images) for r in data.images if data.by_image[r.id]}


def _mark(data: AnnotationSet, record: ImageRecord, images: Path) -> str:
    path = images / record.file_name
    seen = [record.file_name, record.size_hw, record.raw, path.stat().st_size if path.exists() else None]
    for instance in data.by_image[record.id]:
        more = [instance.is_crowd, instance.score, instance.extra, _outline(instance.modal_mask)]
        seen += [instance.id, instance.category_id, data.category_names.get(instance.category_id), *more]
    return hashlib.sha256(json.dumps(seen, sort_keys=True, default=str).encode("utf-8", "replace")).hexdigest()[:16]


def _outline(mask: Mask | None) -> Any:
    if mask is None:
        return None
    return mask.polygons if mask.rle is None else [mask.rle["size"], str(mask.rle["counts"])]


def write_made_from(path: Path, marks: Mapping[int, str]) -> None:
    """Write the marks of a label folder."""
    write_lines(path, ({"image_id": image_id, "made_from": mark} for image_id, mark in marks.items()))


def read_made_from(path: Path) -> dict[int, str]:
    """Read what `write_made_from` wrote.

    Raises:
        DataError: no such file, or another one.
    """
    return {int(line["image_id"]): str(line["made_from"]) for line in read_lines(path, "what labels were made from")}


@dataclass(frozen=True)
class KeptCounts:
    """What became of the photos of an earlier run."""

    photos_kept: int = 0
    labels_kept: int = 0
    photos_changed: int = 0
    photos_new: int = 0
    photos_gone: int = 0

    def as_counts(self) -> dict[str, int]:
        """Return them under the names of `stats.json`."""
        return {name.replace("_", " "): number for name, number in asdict(self).items()}


def keep_labels(
    photos: Iterable[Mapping[str, Any]], before: Mapping[int, str], now: Mapping[int, str], review: Path, into: Path
) -> None:
    """Copy what still holds of an earlier run.

    Args:
        photos: of that run, as `photos_of_folder` yields them.
        before: its marks.
        now: marks of the photos as they are now.
        review: decisions on its labels; need not be there.
        into: folder, made here.
    """
    same = {image_id for image_id, mark in now.items() if before.get(image_id) == mark}
    kept = labels = 0

    def unchanged() -> Iterator[Mapping[str, Any]]:
        nonlocal kept, labels
        for photo in photos:
            if photo["order"]["image_id"] in same:
                kept, labels = kept + 1, labels + len(photo["labels"])
                yield photo

    into.mkdir(exist_ok=True)
    if review.exists():
        write_whole(into / REVIEW_FILE, partial(shutil.copyfile, review))
    write_lines(into / KEPT, unchanged())
    write_made_from(into / MADE_FROM, now)
    changed = sum(image_id in before for image_id in now) - kept
    gone, new = len(before.keys() - now.keys()), len(now.keys() - before.keys())
    write_json(into / _COUNTS, asdict(KeptCounts(kept, labels, changed, new, gone)))


def photos_of_folder(folder: Path) -> Iterator[dict[str, Any]]:
    """Read the labels, order and doubts of a finished label folder, photo by photo."""
    images, categories = read_label_head(folder / LABELS)
    labels = _Ahead(read_labels(folder / LABELS, images, categories))
    doubts = _Ahead(read_lines(folder / DOUBT, "a line of doubts"))
    for order in read_order(folder / ORDER):
        of_photo = list(labels.take_while("image_id", {order["image_id"]}))
        doubt = list(doubts.take_while("id", {label["id"] for label in of_photo}))
        yield {"labels": of_photo, "order": order, "doubt": doubt}


class _Ahead:
    """An iterator that can be read as long as its entries belong to something."""

    def __init__(self, values: Iterator[Any]) -> None:
        self._values = values
        self._next = next(values, None)

    def take_while(self, key: str, values: Collection[int]) -> Iterator[Any]:
        while self._next is not None and self._next[key] in values:
            yield self._next
            self._next = next(self._values, None)


class KeptLabels:
    """Labels that `keep_labels` copied; one photo is in memory at a time.

    Attributes:
        marks: of all photos that the run labels, kept or not.
        counts: what was kept.
    """

    def __init__(self, folder: Path) -> None:
        self.review = folder / REVIEW_FILE
        self.marks = read_made_from(folder / MADE_FROM)
        self.counts = KeptCounts(**json.loads((folder / _COUNTS).read_text(encoding="utf-8")))
        self._file = folder / KEPT
        self._starts: dict[int, int] = {}
        with self._file.open("rb") as lines:
            start = 0
            for line in lines:
                self._starts[json.loads(line)["order"]["image_id"]] = start
                start += len(line)

    def __contains__(self, image_id: int) -> bool:
        return image_id in self._starts

    def read(self, image_id: int) -> dict[str, Any]:
        """Return the labels, order and doubts of a photo."""
        with self._file.open("rb") as lines:
            lines.seek(self._starts[image_id])
            return json.loads(lines.readline())
