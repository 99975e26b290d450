"""Which detections to look at: the best ones, the surest mistakes, and the largest objects that were missed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

BEST, MISTAKES, MISSED = "Best", "Surest mistakes", "Largest missed"

_MATCH, _NOTHING_THERE = 0.5, 0.1  # IoU from which a detection matches, and below which it is of no object

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Example:
    """A detection beside the truth that it is to be compared with.

    Attributes:
        truth: entry of the COCO truth; None where the photo has no object.
        detection: entry of the COCO results; None where the photo has no detection.
        iou: of the two masks; None without either.
    """

    truth: Entry | None
    detection: Entry | None
    iou: float | None

    @property
    def image_id(self) -> int:
        """Of the photo."""
        return (self.truth or self.detection or {})["image_id"]

    @property
    def mistake(self) -> str:
        """What is wrong with a detection that matches no truth, in the kinds of Bolya et al. 2020 (TIDE)."""
        if self.truth is None or self.detection is None or self.iou is None or self.iou < _NOTHING_THERE:
            return "nothing there"
        same = self.truth["category_id"] == self.detection["category_id"]
        if self.iou < _MATCH:
            return "wrong outline" if same else "wrong class and outline"
        return "found twice" if same else "wrong class"


def choose_examples(
    evaluation: COCOeval, truth: Mapping[str, Any], detections: Sequence[Entry], count: int = 12
) -> dict[str, list[Example]]:
    """Choose examples by what pycocotools matched at its first IoU threshold, from as many photos as there are.

    Args:
        evaluation: of these very detections, with masks, as `metrics.detection.evaluate` returns it.
        truth: COCO annotations, with masks as RLE.
        detections: COCO results.
        count: of each kind.

    Returns:
        "Best": matched detections, by falling IoU. "Surest mistakes": detections that match no truth, by falling score,
        each beside the object that it overlaps most. "Largest missed": truths that no detection matches, by falling
        area, each beside the detection that overlaps it most. Kinds without examples are left out.
    """
    annotations = truth["annotations"]
    matched, mistakes, missed = _matches(evaluation)
    objects = _by_photo([a for a in annotations if not a.get("iscrowd")])
    found = _by_photo(detections)
    best = [Example(annotations[t], detections[d], _ious([detections[d]], annotations[t])[0]) for d, t in matched]
    wrong = _spread([detections[d] for d in mistakes], [detections[d]["score"] for d in mistakes], count)
    lost = _spread([annotations[t] for t in missed], [annotations[t]["area"] for t in missed], count)
    groups = {
        BEST: _spread(best, [example.iou or 0.0 for example in best], count),
        MISTAKES: [Example(other, d, iou) for d in wrong for other, iou in [_most_overlapping(objects, d)]],
        MISSED: [Example(a, other, iou) for a in lost for other, iou in [_most_overlapping(found, a)]],
    }
    return {title: group for title, group in groups.items() if group}


def _matches(evaluation: COCOeval) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Return pairs of matched detections and truths, detections without truth, truths without detection: indices."""
    matched: list[tuple[int, int]] = []
    mistakes: list[int] = []
    missed: list[int] = []
    for entry in evaluation.evalImgs:
        if entry is None or entry["aRng"] != evaluation.params.areaRng[0]:
            continue
        # truths and detections are numbered from 1 in their order; 0 stands for no match
        partners, ignored = (np.asarray(entry[key])[0].astype(int) for key in ("dtMatches", "dtIgnore"))  # (D,), (D,)
        for number, partner, ignore in zip(entry["dtIds"], partners, ignored, strict=True):
            if partner and not ignore:
                matched.append((int(number) - 1, int(partner) - 1))
            elif not ignore:
                mistakes.append(int(number) - 1)
        taken = np.asarray(entry["gtMatches"])[0] > 0  # (G,)
        missed += [
            int(number) - 1
            for number, found, ignore in zip(entry["gtIds"], taken, entry["gtIgnore"], strict=True)
            if not found and not ignore
        ]
    return matched, mistakes, missed


def _spread(items: Sequence[Any], values: Sequence[float], count: int) -> list[Any]:
    """Choose items of high value, at first one per photo, then a second one; in order of their values."""
    order = sorted(range(len(items)), key=lambda n: (-values[n], n))
    rank: dict[int, int] = {}
    times: Counter[int] = Counter()
    for n in order:
        image_id = items[n].image_id if isinstance(items[n], Example) else items[n]["image_id"]
        rank[n] = times[image_id]
        times[image_id] += 1
    chosen = set(sorted(order, key=lambda n: rank[n])[:count])
    return [items[n] for n in order if n in chosen]


def _by_photo(entries: Sequence[Entry]) -> dict[int, list[Entry]]:
    groups: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry["image_id"]].append(entry)
    return groups


def _most_overlapping(by_photo: Mapping[int, list[Entry]], entry: Entry) -> tuple[Entry | None, float | None]:
    others = by_photo.get(entry["image_id"], [])
    if not others:
        return None, None
    ious = _ious(others, entry)
    best = int(np.argmax(ious))
    return others[best], ious[best]


def _ious(entries: Sequence[Entry], entry: Entry) -> list[float]:
    return coco_mask.iou([e["segmentation"] for e in entries], [entry["segmentation"]], [0])[:, 0].tolist()
