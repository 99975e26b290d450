"""`amodalpl evaluate detector`: what a trained detector finds on its validation photos, scored once more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..data.exif import any_turned
from ..data.read import read_annotations
from ..detector import require_mmdetection
from ..detector.config import scored_photos
from ..detector.folder import STAGE, VAL, named_files, read_scores
from ..io.files import read_json
from ..masks import rle
from ..metrics.detection import (
    IOU_TYPES,
    LEFT_OUT,
    ONLY_VISIBLE,
    IouType,
    coco_scores,
    first_protocol,
    known_iou_type,
    protocol,
)
from ..report.detector_page import REPORT_FILE, write_detector_page
from ..runtime.distributed import pick_device
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import finished_run
from ..runtime.summary import Summary
from ..runtime.usable_photos import require_photos
from ..settings import DetectorSettings


def evaluate_detector(folder: Path, *, device: str = "auto", progress: Progress = SILENT) -> Summary:
    """Run a finished detector on its validation photos again and score what it finds.

    Args:
        folder: output of `train_detector`.
        device: auto, cpu or cuda.
        progress: where photos are reported.

    Raises:
        OutputError: the folder is of another stage, or unfinished.
        CheckpointError: the weights were changed since training.
        DataError: the photos are gone.
    """
    record = finished_run(folder, STAGE)
    require_mmdetection(STAGE)
    from ..detector.trained import open_detector

    stored, where = read_scores(folder), pick_device(device)
    opened = open_detector(folder, None, where)
    wanted = DetectorSettings.model_validate(record["settings"]["detector"])
    truth, labels = read_json(folder / VAL, "the validation annotations"), read_annotations(folder / VAL)
    images = Path(stored["val_images"])
    require_photos(labels, images, progress)
    photos = scored_photos(wanted, list(opened.class_names.values()), folder / VAL, images, any_turned(labels, images))
    found, scores = detect_and_score(opened.model, photos, truth, wanted, where, stored["held_back"], progress)
    counts = {
        "images": len(truth["images"]),
        "instances": len(truth["annotations"]),
        "detections": len(found),
        "device": where.type,
    }
    write_detector_page(
        folder, images, truth, as_compared(truth, found), scores, stored["curve"], record["counts"],
        held_back=stored["held_back"], progress=progress,
    )  # fmt: skip
    return Summary("evaluate detector", None, counts, scores, {**named_files(folder), "report": folder / REPORT_FILE})


def detect_and_score(
    model: Any,
    photos: Mapping[str, Any],
    truth: dict[str, Any],
    settings: DetectorSettings,
    device: torch.device,
    held_back: bool,
    progress: Progress,
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Run a detector on its validation photos and score what it finds.

    Args:
        model: the network.
        photos: of `detector.config.scored_photos`.
        truth: of the photos, as `score_detections` takes it.
        settings: of the detector.
        device: to run on.
        held_back: the truth is a part of the labels.
        progress: where photos are reported.

    Returns:
        COCO results, and the scores.
    """
    from ..detector import inference

    ids = [entry["id"] for entry in truth["categories"]]
    found = inference.detect(model, photos, ids, workers=settings.workers, device=device, progress=progress)
    return found, score_detections(truth, found, held_back=held_back)


def score_detections(
    truth: dict[str, Any], found: list[dict[str, Any]], *, held_back: bool
) -> dict[str, dict[str, Any]]:
    """Score masks and boxes, and visible masks where there are any; what is known where whole masks are not.

    Args:
        truth: COCO with whole masks, and `visible_mask` beside them where it is known; or `ONLY_BOXES`, or
            `ONLY_VISIBLE`.
        found: COCO results of whole masks, and `visible_mask` beside them where the model predicts it.
        held_back: the truth is a part of the labels.

    Returns:
        Protocol -> row -> metric -> value.
    """
    if truth.get(ONLY_VISIBLE):
        of_visible = coco_scores(truth, as_compared(truth, found), "segm")
        return {first_protocol(truth, held_back=held_back): {"detector": of_visible}}
    kinds: tuple[IouType, ...] = ("bbox",) if known_iou_type(truth) == "bbox" else IOU_TYPES
    scores = {protocol(kind, held_back=held_back): {"detector": coco_scores(truth, found, kind)} for kind in kinds}
    if "segm" in kinds and any("visible_mask" in detection for detection in found):
        seen = {**truth, "annotations": [_visible(entry) for entry in truth["annotations"]]}
        of_visible = coco_scores(seen, [_visible(detection) for detection in found], "segm")
        scores[protocol("segm", masks="visible", held_back=held_back)] = {"detector": of_visible}
    return scores


def as_compared(truth: Mapping[str, Any], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return detections with the masks that are compared with a truth: the visible ones, where it has no others.

    Those of a model with one mask are taken to be what its labels were.
    """
    if not truth.get(ONLY_VISIBLE):
        return found
    return [_visible(detection) if "visible_mask" in detection else detection for detection in found]


def _visible(entry: dict[str, Any]) -> dict[str, Any]:
    """Put the visible mask in the place of the whole one; a truth without it is a region in which anything may be."""
    if "visible_mask" not in entry:
        return {**entry, "iscrowd": 1}
    mask = entry["visible_mask"]
    of_mask = {"segmentation": mask, "area": rle.area_px(mask), "bbox": list(rle.box_xywh(mask))}
    return {**entry, **of_mask, LEFT_OUT: False}  # which says that no whole mask is known
