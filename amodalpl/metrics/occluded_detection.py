"""AP where occlusion is the question: of visible masks, of occluded objects, level by level.

All take COCO annotations whose `segmentation` is the amodal mask and whose `visible_mask` is the visible part (as label
files, D2SA and COCOA-cls have them; an object without `visible_mask` is fully visible), and COCO results; a detection
of a two-mask model has its own `visible_mask`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

from ..errors import DataError
from .detection import (
    LEFT_OUT,
    Scores,
    agnostic_suffix,
    as_rle,
    as_score,
    check_detections,
    check_truth,
    coco_scores,
    evaluate,
)
from .levels import LevelSet

VISIBLE_FRACTION = "visible_fraction"
LEAST_OCCLUSION = (15, 25, 40)
"""Per cent hidden; 15 is the literature's AP(Occluded)."""


def occluded_protocol(*, overloaded_area: bool = False, class_agnostic: bool = False) -> str:
    """Return the name of AP(Occluded) in either form.

    >>> occluded_protocol()
    'AP(Occluded), less occluded truths ignored (segm)'
    """
    form = "area overloaded, as published (VRSP)" if overloaded_area else "less occluded truths ignored"
    return f"AP(Occluded), {form} (segm{agnostic_suffix(class_agnostic)})"


def levels_protocol(level_set: LevelSet, *, class_agnostic: bool = False) -> str:
    """Return the name of AP by level of occlusion."""
    return f"COCO AP amodal by occlusion level, {level_set.name} (segm{agnostic_suffix(class_agnostic)})"


def visible_as_segmentation(
    truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Put visible masks, their boxes and areas in the place of the amodal ones; then `coco_scores` gives AP visible.

    A truth of which nothing is visible is left out.

    Raises:
        DataError: a detection has no `visible_mask`.
    """
    _check(truth, detections)
    annotations = []
    for annotation, size_hw in _with_sizes(truth):
        visible = as_rle(annotation.get("visible_mask") or annotation["segmentation"], size_hw)
        area = int(coco_mask.area(visible))
        annotations.append(
            {
                **annotation,
                "segmentation": visible,
                "area": area,
                "bbox": coco_mask.toBbox(visible).tolist(),
                LEFT_OUT: bool(annotation.get(LEFT_OUT)) or area == 0,
            }
        )
    found = [
        {
            **{key: d[key] for key in ("image_id", "category_id", "score")},
            "segmentation": d["visible_mask"],
            "bbox": coco_mask.toBbox(d["visible_mask"]).tolist(),
        }
        for d in detections
    ]
    return {**truth, "annotations": annotations}, found


def visible_fractions(truth: Mapping[str, Any]) -> list[float]:
    """Return |V & A| / |A| of each annotation, in [0, 1]; 1 for an empty amodal mask.

    Raises:
        DataError: no annotation says what is visible.
    """
    content = check_truth(truth)
    if content["annotations"] and not any("visible_mask" in a for a in content["annotations"]):
        raise DataError("truth: expected `visible_mask` beside `segmentation` in some annotation, found it in none")
    fractions = []
    for annotation, size_hw in _with_sizes(content):
        visible = annotation.get("visible_mask")
        fractions.append(
            1.0 if not visible else _fraction(as_rle(visible, size_hw), as_rle(annotation["segmentation"], size_hw))
        )
    return fractions


def ap_by_level(
    truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    level_set: LevelSet,
    *,
    class_agnostic: bool = False,
) -> Scores:
    """Score each level of occlusion by itself: truths of other levels are ignored, so finding one is no mistake.

    Detections have no level: what lies on no truth is a false one in every level. So the levels' AP stay below the AP
    of all, and are compared between models, not between levels.

    Returns:
        `NAME` (AP over IoU 0.50:0.95), `NAME_50` and `NAME_instances` of each level; `mean`, the unweighted mean of the
        levels that have objects.

    Raises:
        DataError: see `coco_scores` and `visible_fractions`.
    """
    fractions = visible_fractions(truth)
    scores: Scores = {}
    of_levels = []
    for level in level_set.levels:
        inside = [level.holds(_rounded(1 - fraction)) for fraction in fractions]
        of_level = coco_scores(_only(truth, inside), detections, "segm", class_agnostic=class_agnostic)
        scores |= {
            level.name: of_level["AP"],
            f"{level.name}_50": of_level["AP50"],
            f"{level.name}_instances": _count(truth, inside),
        }
        of_levels.append(of_level["AP"])
    filled = [ap for ap in of_levels if ap is not None]
    return {"mean": sum(filled) / len(filled) if filled else None, **scores}


def ap_occluded(
    truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], *, class_agnostic: bool = False
) -> Scores:
    """Score occluded objects, well defined for any model: less occluded truths are ignored, detections never are.

    Returns:
        For 15, 25 and 40 per cent: `AP_15`, the AP over truths of which at least so much is hidden, `AR100_15`, and
        `instances_15`.

    Raises:
        DataError: see `coco_scores` and `visible_fractions`.
    """
    fractions = visible_fractions(truth)
    scores: Scores = {}
    for per_cent in LEAST_OCCLUSION:
        inside = [fraction <= (100 - per_cent) / 100 for fraction in fractions]
        of_group = coco_scores(_only(truth, inside), detections, "segm", class_agnostic=class_agnostic)
        scores |= {
            f"AP_{per_cent}": of_group["AP"],
            f"AR100_{per_cent}": of_group["AR100"],
            f"instances_{per_cent}": _count(truth, inside),
        }
    return scores


class OverloadedAreaEval(COCOeval):
    """COCOeval whose areas are visible fractions, in truths and in detections, after the code of Xiao et al. 2021."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ranges = [[0.0, 1.0], *([0.0, (100 - per_cent) / 100] for per_cent in LEAST_OCCLUSION)]
        self.params.areaRng = ranges  # in the places of all, small, medium and large

    def _prepare(self) -> None:
        super()._prepare()
        for group in (*self._gts.values(), *self._dts.values()):
            for entry in group:
                entry["area"] = entry[VISIBLE_FRACTION]
        for group in self._gts.values():
            for entry in group:
                entry["ignore"] = bool(entry["ignore"] or entry.get(LEFT_OUT))


def ap_occluded_overloaded(
    truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], *, class_agnostic: bool = False
) -> Scores:
    """Score occluded objects as the literature's AP(Occluded) does, for comparison with published numbers only.

    The visible fraction takes the place of COCO's area: of a truth 1 - `occlude_rate` if it has one, else visible
    pixels over its `area`; of a detection |A & V| / |A| of its own two masks. So false detections that claim to be
    visible are not counted, which rewards models that see too little occlusion, and a truth whose `area` is smaller
    than its visible part is ignored, even in `AP`.

    Returns:
        `AP` over all, `AP_15`, `AP_25` and `AP_40` (printed as APs, APm and APl by the papers' code), and the number
        of truths in each.

    Raises:
        DataError: a detection has no `visible_mask`, or see `coco_scores`.
    """
    content = check_truth(truth)
    _check(content, detections)
    stated = []
    for annotation, size_hw in _with_sizes(content):
        stated.append({**annotation, VISIBLE_FRACTION: _stated_fraction(annotation, size_hw)})
    found = [{**d, VISIBLE_FRACTION: _fraction(d["visible_mask"], d["segmentation"])} for d in detections]
    evaluation = evaluate(
        OverloadedAreaEval,
        {**content, "annotations": stated},
        found,
        "segm",
        class_agnostic=class_agnostic,
        carried=(VISIBLE_FRACTION,),
    )
    scores: Scores = {"AP": as_score(evaluation.stats[0]), "instances": _within(stated, 1.0)}
    for per_cent, value in zip(LEAST_OCCLUSION, evaluation.stats[3:6], strict=True):
        scores |= {f"AP_{per_cent}": as_score(value), f"instances_{per_cent}": _within(stated, (100 - per_cent) / 100)}
    return scores


def _stated_fraction(annotation: Mapping[str, Any], size_hw: tuple[int, int]) -> float:
    if "occlude_rate" in annotation:
        return 1 - float(annotation["occlude_rate"])
    visible = annotation.get("visible_mask")
    return float(coco_mask.area(as_rle(visible, size_hw))) / float(annotation["area"]) if visible else 1.0


def _within(annotations: Sequence[Mapping[str, Any]], most: float) -> int:
    return sum(0 <= a[VISIBLE_FRACTION] <= most and not a.get("iscrowd") and not a.get(LEFT_OUT) for a in annotations)


def _fraction(visible: Any, amodal: Any) -> float:
    whole = float(coco_mask.area(amodal))
    return float(coco_mask.area(coco_mask.merge([visible, amodal], intersect=True))) / whole if whole else 1.0


def _rounded(hidden_fraction: float) -> float:
    """Undo the rounding of 1 - x, so that 0.3 is within a level that ends at 0.3."""
    return float(np.round(hidden_fraction, 12))


def _only(truth: Mapping[str, Any], inside: Sequence[bool]) -> dict[str, Any]:
    annotations = [
        {**a, LEFT_OUT: bool(a.get(LEFT_OUT)) or not keep} for a, keep in zip(truth["annotations"], inside, strict=True)
    ]
    return {**truth, "annotations": annotations}


def _count(truth: Mapping[str, Any], inside: Sequence[bool]) -> int:
    return sum(
        keep and not a.get("iscrowd") and not a.get(LEFT_OUT)
        for a, keep in zip(truth["annotations"], inside, strict=True)
    )


def _with_sizes(truth: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], tuple[int, int]]]:
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    return [(a, sizes[a["image_id"]]) for a in truth["annotations"]]


def _check(truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> None:
    check_detections(detections, check_truth(truth), ("score", "category_id", "segmentation", "visible_mask"))
