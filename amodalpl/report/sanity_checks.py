"""Warnings when what a stage made looks wrong, from its own statistics; none of them stops anything.

Each function returns lines for people: what was seen, and what to look at. An empty list means that nothing is odd.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..masks import rle

FEWEST = 100  # labels or pairs below which shares say too little
BARELY_GROWS = 1.005  # median of whole over visible area
CLEARLY_GROWN = 1.05
NEARLY_ALL = 0.95  # of objects in front of or behind others; where two meet, one of them is whole
ONE_WAY = 0.97
GROWS_UNHIDDEN = 0.10  # mean growth of objects that nothing hides, on the hold-out
FEWEST_POINTS = 8  # of a loss curve
FLAT = 0.98  # loss of the last quarter over that of the first
FINDS_LITTLE = 0.3  # AP50 of a model that labels are to be made with

Box = Sequence[float]


def of_gaps(pairs: int, photos: int) -> list[str]:
    """Look at how many neighbours there are.

    Args:
        pairs: of masks that are near each other, as `masks.gaps.pair_gaps` finds them.
        photos: how many were looked at.
    """
    if pairs or not photos:
        return []
    return [
        f"no two masks are near each other in any of {photos} photos: nothing can hide anything, labels will be the "
        "modal masks; check that the file has all instances of each photo"
    ]


def of_overlaps(labels: Mapping[str, Any]) -> list[str]:
    """Look at whether whole boxes overlap, from which BLADE learns how visible masks grow.

    Args:
        labels: COCO to learn from, with whole boxes in `bbox`.
    """
    boxes: dict[int, list[Box]] = {}
    for entry in labels["annotations"]:
        boxes.setdefault(entry["image_id"], []).append(entry["bbox"])
    for of_photo in boxes.values():
        low = np.asarray(of_photo, dtype=float)[:, :2]
        high = low + np.asarray(of_photo, dtype=float)[:, 2:]
        shared = np.minimum(high[:, None], high) > np.maximum(low[:, None], low)
        if shared.all(axis=2).sum() > len(low):  # each overlaps with itself
            return []
    return [
        f"no two whole boxes overlap in any of {len(boxes)} photos: the connectivity loss never fires, whole masks are "
        "learnt as visible ones are; check that the file has all instances of each photo, or use detector.model=boxinst"
    ]


def of_training(losses: Sequence[float]) -> list[str]:
    """Look at a loss curve.

    Args:
        losses: means of equal intervals, from the first step to the last.
    """
    if len(losses) < FEWEST_POINTS:
        return []
    quarter = len(losses) // 4
    first, last = (sum(part) / quarter for part in (losses[:quarter], losses[-quarter:]))
    if last <= FLAT * first:
        return []
    return [f"the loss did not fall: {first:.4g} at first, {last:.4g} at the end; try another learning rate"]


def of_parts(choosing: Collection[int], reporting: Collection[int]) -> list[str]:
    """Look at what thresholds were chosen on, and whether scores come from something else.

    Args:
        choosing: ids of the hold-out scenes that thresholds and calibration were chosen on.
        reporting: ids of those that were scored.
    """
    if not set(choosing).isdisjoint(reporting):
        return [
            "thresholds were chosen on the very hold-out scenes that are scored, so the scores flatter: there are none "
            "for two halves; give `amodalpl synth` more photos, or a larger synthesis.holdout_fraction"
        ]
    return []


def of_holdout(unoccluded_growth: float | None, invisible_iou: float | None) -> list[str]:
    """Look at a completer's scores on its hold-out.

    Args:
        unoccluded_growth: mean growth of objects that nothing hides; None where there are none.
        invisible_iou: of the hidden parts, 0 to 1; None where there are none.
    """
    found = []
    if unoccluded_growth is not None and unoccluded_growth > GROWS_UNHIDDEN:
        found.append(
            f"everything grows: objects that nothing hides grow by {100 * unoccluded_growth:.0f} % on the hold-out; "
            "train longer, and look at preview.png of `amodalpl synth`"
        )
    if invisible_iou is not None and invisible_iou <= 0.01:
        found.append("hidden parts are not found at all on the hold-out: labels will be the modal masks; train longer")
    return found


def of_ready_made(hidden: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Look at whether a completer that was not trained on these photos is worth more than what costs nothing.

    Args:
        hidden: `HiddenParts.scores` of labels and convex hull, on occlusions made of the photos' own masks.
    """
    lead = hidden.get("labels - convex hull", {})
    low, high, ours = lead.get("invisible_miou_low"), lead.get("invisible_miou_high"), hidden.get("labels", {})
    hull = hidden.get("convex hull", {}).get("invisible_miou")
    if low is None or high is None or low > 0 or hull is None:
        return []
    said = "is behind" if high < 0 else "is not surely ahead of"
    return [
        f"the completer {said} the convex hull, which needs no network, on occlusions made of your masks: invisible "
        f"mIoU {ours['invisible_miou']:.2f} against {hull:.2f}, difference between {low:+.2f} and {high:+.2f}; "
        "`amodalpl advise` measures what training would bring"
    ]


def of_labels(growth: np.ndarray, ordered: int) -> list[str]:
    """Look at how many of the objects that are in front of or behind others grew, and by how much.

    Args:
        growth: (N,) of labels with a possible occluder, whole over drawn area.
        ordered: objects that are in front of or behind another; those in front need not grow.
    """
    if len(growth) < FEWEST:
        return []
    clearly = int((growth > CLEARLY_GROWN).sum())
    if clearly > NEARLY_ALL * ordered:
        return [
            f"everything grows: {clearly} labels by more than {100 * (CLEARLY_GROWN - 1):.0f} %, of {ordered} objects "
            "in front of or behind others; look at report.html"
        ]
    if np.median(growth) < BARELY_GROWS:
        return [
            f"labels barely grow: half of {len(growth)} with a possible occluder by less than "
            f"{100 * (BARELY_GROWS - 1):.1f} %; look at report.html, and at the hold-out scores of the completer"
        ]
    return []


def of_order(pairs: int, lower: int, larger: int) -> list[str]:
    """Say whether the lower or the larger one of two objects is always in front.

    Args:
        pairs: how many are ordered.
        lower: pairs whose front object ends lower in the photo.
        larger: pairs whose front object has the larger box.
    """
    if pairs < FEWEST:
        return []
    shares = {"lower": lower, "upper": pairs - lower, "larger": larger, "smaller": pairs - larger}
    return [
        f"the order goes all one way: the {name} object is in front in {count} of {pairs} pairs; look at report.html"
        for name, count in shares.items()
        if count > ONE_WAY * pairs
    ]


def of_detector(average_precision: float, truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say why a detector has AP 0.

    Args:
        average_precision: 0 to 1, or below 0 where COCO has nothing to score.
        truth: a COCO data set with `images`, `annotations` and `categories`.
        found: COCO results, with RLE masks.
    """
    if average_precision > 0:
        return []
    return [f"AP is 0: {_why_nothing_is_right(truth, found)}"]


def of_box_model(ap50: float) -> list[str]:
    """Look at whether a model that learnt from boxes has learnt enough to make labels with.

    Args:
        ap50: on what was held back, 0 to 1.
    """
    if ap50 >= FINDS_LITTLE:
        return []
    return [
        f"AP50 is {max(ap50, 0):.2f} on what was held back: masks of this model are hardly labels yet; train longer "
        "(detector.steps), or from start weights (--init FILE)"
    ]


def _why_nothing_is_right(truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> str:
    wanted = [entry for entry in truth["annotations"] if not entry.get("iscrowd")]
    if not wanted:
        return "the truth has no instances"
    if not found:
        return "nothing was detected; lower detector.score_threshold or train longer"
    photos = {entry["image_id"] for entry in wanted}
    if photos.isdisjoint(entry["image_id"] for entry in found):
        return "no detection is in a photo that has a truth: the ids of photos differ"
    names = {entry["id"]: str(entry.get("name", entry["id"])) for entry in truth["categories"]}
    classes, detected = ({entry["category_id"] for entry in entries} for entries in (wanted, found))
    if classes.isdisjoint(detected):
        return (
            f"no detection is of a category that the truth has (detected: {_listed(detected, names)}; truth: "
            f"{_listed(classes, names)})"
        )
    if not any(rle.area_px(entry["segmentation"]) for entry in found):
        return f"all {len(found)} detected masks are empty"
    return f"none of {len(found)} detections covers a truth of its category by half; train longer"


def _listed(ids: set[int], names: Mapping[int, str]) -> str:
    return ", ".join(names.get(number, str(number)) for number in sorted(ids)[:5]) + (", ..." if len(ids) > 5 else "")
