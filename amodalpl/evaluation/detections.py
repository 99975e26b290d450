"""`amodalpl evaluate detections`: any detector's COCO results against amodal truth, every AP of the literature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..data.records import AnnotationSet, Instance
from ..data.results_check import check_results
from ..detector.folder import DETECTIONS
from ..errors import DataError
from ..io.files import read_json
from ..masks import rle
from ..metrics import box_matched, detection, occluded_detection
from ..metrics.box_matched import box_matched_scores
from ..metrics.detection import LEFT_OUT, ONLY_VISIBLE, coco_scores
from ..metrics.levels import LevelSet, choose_levels
from ..metrics.occluded_detection import ap_by_level, ap_occluded, ap_occluded_overloaded, visible_as_segmentation
from ..runtime.progress import SILENT, Progress
from ..runtime.summary import Summary
from .scores_file import Digest, read_truth, write_evaluation

ROW = "detector"
NO_WHOLE_MASKS = "the truth has visible masks only"

Detections = list[dict[str, Any]]
Scores = detection.Scores


def evaluate_detections(
    truth: Path,
    detections: Path,
    *,
    class_agnostic: bool = False,
    levels: str | None = None,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> Summary:
    """Score detections that any detector made.

    Args:
        truth: any supported file with amodal masks. An instance without one is neither to be found nor wrong to be
            found, but in AP visible; crowds are crowds. Of a file with visible masks only, AP visible alone is scored.
        detections: COCO results, or a folder of `train-detector`: `image_id`, `category_id`, `score`, `segmentation`
            (the amodal mask as compressed RLE), and of a two-mask detector `visible_mask`.
        class_agnostic: compare detections and truths whatever their categories.
        levels: bins of occlusion, see `evaluate_completion`.
        out: folder for `evaluation_detections.json`; nothing is written when None.
        progress: shows the protocols done.

    Returns:
        `scores`: protocol -> "detector" -> metric -> value. AP visible, AP(Occluded) with overloaded area and mAP^r by
        visible boxes only where detections have visible masks.

    Raises:
        DataError: no masks in the truth to score by, no detections, or detections of other images or categories.
    """
    file = detections / DETECTIONS if detections.is_dir() else detections
    found = _read_detections(file)
    two_masks = any("visible_mask" in d for d in found)
    known = read_truth(truth, visible_will_do=two_masks)
    level_set = choose_levels(levels, known.format)
    check_results(file, found, {image.id: image.size_hw for image in known.images})
    expected, left_out, scored_on = to_coco(known)
    if not class_agnostic:
        _check_categories(found, expected, file, truth)
    jobs = protocols(expected, found, class_agnostic, level_set, two_masks)
    scores: dict[str, dict[str, Scores]] = {}
    with progress.task("scoring", len(jobs)) as advance:
        for name, compute in jobs.items():
            scores[name] = {ROW: _naming_the_file(compute, file)}
            advance(1)
    counts = {
        "photos": len(known.images),
        "instances": scored_on.objects,
        "left_out": dict(sorted(left_out.items())),
        "dropped_by_reader": len(known.dropped),
        "detections": len(found),
        "detections_have_visible_masks": two_masks,
    }
    if ONLY_VISIBLE in expected:
        counts["not_scored"] = f"AP of whole masks, boxes and occlusion: {NO_WHOLE_MASKS}"
    summary = Summary("evaluate detections", out, counts=counts, scores=scores)
    options = {"class_agnostic": class_agnostic, "levels": level_set.name}
    return write_evaluation(summary, "evaluation_detections.json", options, scored_on, truth=truth, detections=file)


def protocols(
    truth: dict[str, Any], found: Detections, agnostic: bool, level_set: LevelSet, two_masks: bool
) -> dict[str, Callable[[], Scores]]:
    """Return what to compute under which name.

    Args:
        truth: of `to_coco`.
        found: COCO results.
        agnostic: compare detections and truths whatever their categories.
        level_set: bins of occlusion.
        two_masks: detections have visible masks.

    Returns:
        Name -> what computes it; of a truth with visible masks only, no more than AP visible.
    """
    masks, boxes = (detection.protocol(kind, class_agnostic=agnostic) for kind in detection.IOU_TYPES)
    occluded = occluded_detection.occluded_protocol(class_agnostic=agnostic)
    by_level = occluded_detection.levels_protocol(level_set, class_agnostic=agnostic)
    matched = box_matched.box_matched_protocol("amodal", class_agnostic=agnostic)
    jobs: dict[str, Callable[[], Scores]] = {
        masks: lambda: coco_scores(truth, found, "segm", class_agnostic=agnostic),
        boxes: lambda: coco_scores(truth, _boxed(found), "bbox", class_agnostic=agnostic),
        occluded: lambda: ap_occluded(truth, found, class_agnostic=agnostic),
        by_level: lambda: ap_by_level(truth, found, level_set, class_agnostic=agnostic),
        matched: lambda: box_matched_scores(*_with_boxes(truth, found, "segmentation"), class_agnostic=agnostic),
    }
    if not two_masks:
        return {} if truth.get(ONLY_VISIBLE) else jobs
    visible = detection.protocol("segm", masks="visible", class_agnostic=agnostic)
    of_visible: dict[str, Callable[[], Scores]] = {
        visible: lambda: coco_scores(*_visible(truth, found), "segm", class_agnostic=agnostic)
    }
    if truth.get(ONLY_VISIBLE):
        return of_visible
    overloaded = occluded_detection.occluded_protocol(overloaded_area=True, class_agnostic=agnostic)
    visibly = box_matched.box_matched_protocol("visible", class_agnostic=agnostic)
    return {
        **jobs,
        overloaded: lambda: ap_occluded_overloaded(truth, found, class_agnostic=agnostic),
        **of_visible,
        visibly: lambda: box_matched_scores(*_with_boxes(truth, found, "visible_mask"), class_agnostic=agnostic),
    }


def _visible(truth: dict[str, Any], found: Detections) -> tuple[dict[str, Any], Detections]:
    """Return both with visible masks in the place of whole ones, which an object need not have to count here."""
    entries = [{**a, LEFT_OUT: False} if "visible_mask" in a else a for a in truth["annotations"]]
    return visible_as_segmentation({**truth, "annotations": entries}, found)


def _read_detections(file: Path) -> Detections:
    content = read_json(file, "COCO results")
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise DataError(
            f"{file}: expected COCO results, a list of detections, got {type(content).__name__}; "
            "a label file is scored by `amodalpl evaluate completion`"
        )
    if not content:
        raise DataError(
            f"{file}: expected at least one detection, got an empty list: every AP is 0; lower the score threshold"
        )
    return content


def _naming_the_file(compute: Callable[[], Scores], file: Path) -> Scores:
    try:
        return compute()
    except DataError as error:
        raise DataError(f"{file}: {error}") from None


def _check_categories(found: Detections, truth: dict[str, Any], file: Path, path: Path) -> None:
    known = {category["id"] for category in truth["categories"]}
    given = {d.get("category_id") for d in found}
    if not given & known:
        raise DataError(
            f"{file}: expected category ids of {path} ({sorted(known)[:10]}), found none of them "
            f"({sorted(map(str, given))[:10]}); every AP would be 0. Use --class-agnostic, or the truth's ids"
        )


def to_coco(known: AnnotationSet) -> tuple[dict[str, Any], Counter[str], Digest]:
    """Return the truth as COCO with `visible_mask`, what is left out and why, and what is scored.

    Of a truth without whole masks (`ONLY_VISIBLE`), that are the visible ones.
    """
    only_visible = not any(instance.amodal for instance in known.instances)
    left_out: Counter[str] = Counter()
    scored_on = Digest()
    annotations = []
    for instance in known.instances:
        mask = instance.amodal or instance.modal
        if mask is None or rle.area_px(mask) == 0:
            left_out["empty mask"] += 1
            continue
        if instance.is_crowd:
            left_out["crowd"] += 1
        elif instance.amodal is None and not only_visible:
            left_out["no amodal mask"] += 1
        else:
            scored_on.add(instance.image_id, instance.id)
        no_whole = instance.amodal is None and not instance.is_crowd
        annotations.append({**_annotation(instance, mask), LEFT_OUT: no_whole and not only_visible})
    coco = {
        "images": [{"id": i.id, "height": i.size_hw[0], "width": i.size_hw[1]} for i in known.images],
        "categories": [{"id": identity, "name": name} for identity, name in known.category_names.items()],
        "annotations": annotations,
    }
    return coco | ({ONLY_VISIBLE: True} if only_visible else {}), left_out, scored_on


def _annotation(instance: Instance, mask: Any) -> dict[str, Any]:
    entry = {
        "id": instance.id,
        "image_id": instance.image_id,
        "category_id": instance.category_id,
        "iscrowd": int(instance.is_crowd),
        "segmentation": rle.to_json(mask),
        "bbox": list(rle.box_xywh(mask)),
        "area": rle.area_px(mask),
    }
    if instance.modal is not None:
        entry["visible_mask"] = rle.to_json(instance.modal)
    return entry


def _boxed(found: Detections) -> Detections:
    """Return detections with a box each: their own, or that of their mask."""
    return [d if "bbox" in d or "segmentation" not in d else {**d, "bbox": _box(d["segmentation"])} for d in found]


def _with_boxes(truth: dict[str, Any], found: Detections, key: str) -> tuple[dict[str, Any], Detections]:
    """Return both with the box by which they are assigned: that of the mask under `key`, or a detection's own."""
    annotations = [{**a, box_matched.MATCH_BOX: _box(a.get(key) or a["segmentation"])} for a in truth["annotations"]]
    detection.check_detections(found, truth, ("score", "category_id", "segmentation", key))
    boxed = [
        {**d, box_matched.MATCH_BOX: d["bbox"] if key == "segmentation" and "bbox" in d else _box(d[key])}
        for d in found
    ]
    return {**truth, "annotations": annotations}, boxed


def _box(mask: Mapping[str, Any]) -> list[int]:
    return list(rle.box_xywh(mask))  # type: ignore[arg-type]  # pycocotools takes text and bytes
