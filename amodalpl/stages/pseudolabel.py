"""`amodalpl pseudolabel`: annotations and a completer in; the label file, the order and a report out."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..completion import Scene
from ..devices import pick_device
from ..errors import DataError
from ..formats import read_annotations
from ..formats.entries import reason_kind
from ..images import image_path, read_image
from ..masks import ownership, rle
from ..masks.gaps import GapTolerance, derive_tolerance, pair_gaps
from ..ordering import Pair, cycles, mutual
from ..plausibility import ShapePrior
from ..progress import SILENT, Progress
from ..provenance import StageRun, hash_file, read_json, write_json
from ..pseudolabels import Label, label_scenes, orders_from_pairs
from ..records import AnnotationSet, ImageRecord, Instance
from ..report.page import write_label_page
from ..settings import LabelSettings, PipelineSettings
from ..trained import CARD, WEIGHTS, TrainedCompleter, load_completer
from .complete import METRICS
from .inputs import input_hashes, require_photos
from .summary import Summary

LABELS, ORDER, STATS, REPORT, OVERLAYS = (
    "pseudo_amodal.json",
    "order.json",
    "stats.json",
    "report.html",
    "overlays.png",
)
PARTS = ".parts"
PHOTOS_MEASURED = 300
UNPROMISED = 0.3  # uncertainty from which labels are doubtful when the hold-out was too small for a promise


def pseudolabel(
    annotations: Path,
    images: Path,
    completer: Path,
    out: Path,
    settings: PipelineSettings,
    fmt: str = "auto",
    device: str = "auto",
    progress: Progress = SILENT,
) -> Summary:
    """Label every instance; a run that was interrupted goes on after the last finished part.

    Args:
        annotations: any supported annotation file; its modal masks are completed.
        images: folder of the photos.
        completer: output folder of `amodalpl complete`.
        out: output folder: `pseudo_amodal.json`, `order.json`, `stats.json`, `report.html`, `overlays.png`, `run.json`.
        settings: `seed` and `labels` are used.
        fmt: format of the annotations, or "auto".
        device: "auto", "cpu" or "cuda".
        progress: shown while it works.

    Returns:
        Counts of labels and of what was left out, each with a reason.

    Raises:
        DataError: annotations or photos cannot be read, or no instance can be labelled.
        CheckpointError: the completer is missing or damaged.
        OutputError: the folder belongs to another run.
    """
    data = read_annotations(annotations, fmt)
    if not any(i.modal is not None and not i.is_crowd for i in data.instances):
        raise DataError(f"{data.path}: expected at least one instance to label, got none; run `amodalpl check`")
    trained = load_completer(completer, pick_device(device))
    require_photos(data, images, progress)
    card = {"completer": hash_file(completer / CARD), "weights": hash_file(completer / WEIGHTS)}
    run = StageRun.open(
        out,
        "pseudolabel",
        {"labels": settings.labels.model_dump(mode="json")},
        {**input_hashes(data, images), **card},
        settings.seed,
    )
    if not run.done:
        name = str(read_json(completer / CARD, "the card of a completer")["method"])
        stats = _label(data, images, trained, name, out, settings.labels, progress)
        metrics = completer / METRICS
        scores = read_json(metrics, "the scores of a completer")["scores"] if metrics.exists() else None
        labels = read_json(out / LABELS, "a label file")
        with progress.task("drawing the report", 1) as advance:
            write_label_page(out, labels, images, stats, scores)
            advance(1)
        run.finish(stats["counts"], [LABELS, ORDER, STATS, REPORT, OVERLAYS])
        shutil.rmtree(out / PARTS, ignore_errors=True)
    return Summary(
        "pseudolabel",
        out,
        counts=run.counts,
        files={
            "labels": out / LABELS,
            "report": out / REPORT,
            "overlays": out / OVERLAYS,
            "order": out / ORDER,
            "statistics": out / STATS,
        },
        next=f"amodalpl train-detector {out / LABELS} {images} --out detector",
    )


def _label(
    data: AnnotationSet,
    images: Path,
    trained: TrainedCompleter,
    name: str,
    out: Path,
    settings: LabelSettings,
    progress: Progress,
) -> dict[str, Any]:
    records = [r for r in data.images if data.by_image[r.id]]
    size = settings.images_per_part
    parts = [records[k : k + size] for k in range(0, len(records), size)]
    tolerance: GapTolerance | None = None
    if settings.gap_px is None:
        tolerance = measure_gaps(data, progress)
        settings = settings.model_copy(update={"gap_px": tolerance.gap_px})
    if settings.low_confidence is None:
        bound = trained.promise.uncertainty_at_most if trained.promise else UNPROMISED
        settings = settings.model_copy(update={"low_confidence": bound})
    folder = out / PARTS
    folder.mkdir(exist_ok=True)
    files = [folder / f"{number:06d}.json" for number in range(len(parts))]
    done = sum(len(part) for part, file in zip(parts, files, strict=True) if file.exists())
    with progress.task("labelling photos", len(records), done=done) as advance:
        for part, file in zip(parts, files, strict=True):
            if not file.exists():
                write_json(file, _label_part(data, images, part, trained, name, settings))
                advance(len(part))
    written = [read_json(file, "a part of the labels") for file in files]
    labels = [entry for part in written for entry in part["labels"]]
    left_out = [
        {"place": d.place, "annotation_id": d.annotation_id, "image_id": d.image_id, "reason": d.reason}
        for d in data.dropped
    ] + [row for part in written for row in part["left_out"]]
    stats = _statistics(data, labels, left_out, [entry for part in written for entry in part["order"]])
    stats["counts"]["gap px"] = settings.gap_px
    stats["counts"]["promise"] = str(trained.promise or "none: see the completer's hold-out scores")
    if tolerance is not None:
        stats["gaps"] = {"pairs by free pixels": tolerance.counts, "by chance": round(tolerance.by_chance, 3)}
    write_json(
        out / LABELS,
        {
            **data.raw,
            "images": [_image_entry(record) for record in data.images],
            "annotations": labels,
            "categories": data.categories,
        },
    )
    pairs = orders_from_pairs(trained, settings)
    rule = "pairs" if pairs else settings.order_rule or trained.completer.method.order_rule
    write_json(out / ORDER, {"rule": rule, "images": [entry for part in written for entry in part["order"]]})
    write_json(out / STATS, stats)
    return stats


def measure_gaps(data: AnnotationSet, progress: Progress) -> GapTolerance:
    """Measure the gaps between neighbours in up to `PHOTOS_MEASURED` photos, spread evenly over the file.

    Args:
        data: annotations; only photos with several modal masks say anything.
        progress: shown while it works.
    """
    several = [r for r in data.images if len(_with_modal(data, r)) > 1]
    chosen = several[:: max(1, -(-len(several) // PHOTOS_MEASURED))]
    gaps: list[int] = []
    with progress.task("measuring gaps", len(chosen)) as advance:
        for record in chosen:
            modal = [i.modal for i in _with_modal(data, record) if i.modal is not None]
            gaps += pair_gaps(ownership.resolve(modal, record.size_hw).masks)
            advance(1)
    return derive_tolerance(gaps)


def _with_modal(data: AnnotationSet, record: ImageRecord) -> list[Instance]:
    return [i for i in data.by_image[record.id] if not i.is_crowd and i.modal is not None]


@dataclass(frozen=True)
class _Photo:
    """One photo on its way through a part."""

    record: ImageRecord
    instances: list[Instance]
    owned: ownership.Owned


def _label_part(
    data: AnnotationSet,
    images: Path,
    records: Sequence[ImageRecord],
    trained: TrainedCompleter,
    name: str,
    settings: LabelSettings,
) -> dict[str, Any]:
    photos, scenes = [], []
    left_out: list[dict[str, Any]] = []
    for record in records:
        everything = data.by_image[record.id]
        left_out += [_left_out(i, "crowd region") for i in everything if i.is_crowd]
        left_out += [_left_out(i, "no modal mask") for i in everything if not i.is_crowd and i.modal is None]
        instances = _with_modal(data, record)
        owned = ownership.resolve([i.modal for i in instances if i.modal is not None], record.size_hw)
        image = read_image(image_path(images, record.file_name)) if trained.completer.uses_image else None
        photos.append(_Photo(record, instances, owned))
        scenes.append(Scene(owned.masks, image))
    answers = label_scenes(trained, scenes, settings)
    labels: list[dict[str, Any]] = []
    order: list[dict[str, Any]] = []
    for photo, answer in zip(photos, answers, strict=True):
        labels.extend(_entries(photo, answer.labels, name, trained.shapes, settings))
        order.append(_order_entry(photo, answer.order))  # also without pairs: that nothing was ordered counts in scores
    return {"labels": labels, "order": order, "left_out": left_out}


def _left_out(instance: Instance, reason: str) -> dict[str, Any]:
    return {
        "place": instance.place,
        "annotation_id": instance.id,
        "image_id": instance.image_id,
        "reason": reason,
    }


def _entries(
    photo: _Photo, labels: Sequence[Label | None], name: str, shapes: ShapePrior | None, settings: LabelSettings
) -> Iterator[dict[str, Any]]:
    drawn = [rle.decode(instance.modal) for instance in photo.instances if instance.modal is not None]
    # what the annotator drew is the object's in any case
    wholes = [mask if label is None else label.amodal | mask for mask, label in zip(drawn, labels, strict=True)]
    ordinary = shapes.score(wholes, [i.category_id for i in photo.instances]) if shapes is not None and wholes else None
    for index, (instance, label) in enumerate(zip(photo.instances, labels, strict=True)):
        visible, amodal = photo.owned.masks[index], wholes[index]
        whole, seen = rle.encode(amodal), rle.encode(visible)
        amodal_px, visible_px = rle.area_px(whole), rle.area_px(seen)
        flags = _flags(label, visible, int(photo.owned.lost_px[index]), settings)
        yield {
            "id": instance.id,
            "image_id": instance.image_id,
            "category_id": instance.category_id,
            "iscrowd": 0,
            "segmentation": rle.to_json(whole),
            "bbox": list(rle.box_xywh(whole)),
            "area": amodal_px,
            "visible_mask": rle.to_json(seen),
            "visible_bbox": list(rle.box_xywh(seen)),
            "occlude_rate": round(1 - visible_px / amodal_px, 6),
            "amodalpl": {
                "completer": name,
                "occluders": [photo.instances[k].id for k in label.occluders] if label else [],
                "uncertainty": round(label.uncertainty, 6) if label else 1.0,
                "plausibility": round(float(ordinary[index]), 6) if ordinary is not None else None,
                "growth": round(amodal_px / visible_px, 6) if visible_px else None,
                "flags": flags,
            },
        }


def _flags(label: Label | None, visible: np.ndarray, lost_px: int, settings: LabelSettings) -> list[str]:
    """Return what a reader of the label should know, in a fixed order; `docs/formats.md` explains each."""
    if label is None:
        return ["fully_shared", "low_confidence"]
    at_edge = visible[0].any() or visible[-1].any() or visible[:, 0].any() or visible[:, -1].any()
    stated = {
        "no_occluder": not label.asked,
        "truncated": bool(at_edge),
        "grew_to_border": label.grew_to_border,
        "runaway": label.runaway,
        "shared_pixels": lost_px > 0,
        "low_confidence": settings.low_confidence is not None and label.uncertainty > settings.low_confidence,
    }
    return [name for name, holds in stated.items() if holds]


def _order_entry(photo: _Photo, pairs: Sequence[Pair]) -> dict[str, Any]:
    ids = [instance.id for instance in photo.instances]
    return {
        "image_id": photo.record.id,
        "pairs": [
            {"front": ids[p.front], "back": ids[p.back], "evidence_px": p.evidence_px, "score": round(p.score, 6)}
            for p in pairs
        ],
        "mutual": [[ids[i], ids[j]] for i, j in mutual(pairs)],
        "cycles": [[ids[k] for k in group] for group in cycles(pairs)],
    }


def _image_entry(record: ImageRecord) -> dict[str, Any]:
    stated = {
        "id": record.id,
        "file_name": record.file_name,
        "height": record.size_hw[0],
        "width": record.size_hw[1],
    }
    return {**record.raw, **{key: value for key, value in stated.items() if key not in record.raw}}


def _statistics(
    data: AnnotationSet,
    labels: Sequence[dict[str, Any]],
    left_out: Sequence[dict[str, Any]],
    order: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    flags = Counter(flag for label in labels for flag in label["amodalpl"]["flags"])
    asked = [label for label in labels if "no_occluder" not in label["amodalpl"]["flags"]]
    growth = np.array([label["amodalpl"]["growth"] or 1.0 for label in asked] or [1.0])
    uncertainty = np.array([label["amodalpl"]["uncertainty"] for label in asked] or [0.0])
    per_category: dict[str, Any] = {}
    for category_id, name in data.category_names.items():
        members = [label for label in labels if label["category_id"] == category_id]
        if members:
            grown = sum((label["amodalpl"]["growth"] or 1.0) > 1 for label in members)
            per_category[f"{category_id} {name}"] = {"labels": len(members), "grown": grown}
    reasons = Counter(reason_kind(row["reason"]) for row in left_out)
    return {
        "counts": {
            "photos": len(data.images),
            "annotations": len(labels) + len(left_out),
            "labels": len(labels),
            "left out": dict(sorted(reasons.items())),
            "with a possible occluder": len(asked),
            "grown": int((growth > 1).sum()),
            "ordered pairs": sum(len(entry["pairs"]) for entry in order),
            "mutual pairs": sum(len(entry["mutual"]) for entry in order),
            "cycles": sum(len(entry["cycles"]) for entry in order),
            "flags": dict(sorted(flags.items())),
        },
        "growth of labels with a possible occluder": _quantiles(growth),
        "uncertainty of labels with a possible occluder": _quantiles(uncertainty),
        "categories": per_category,
        "left_out": list(left_out),
    }


def _quantiles(values: np.ndarray) -> dict[str, float]:
    levels = {"least": 0, "median": 0.5, "90 %": 0.9, "99 %": 0.99, "most": 1}
    return {"mean": round(float(values.mean()), 6)} | {
        name: round(float(np.quantile(values, level)), 6) for name, level in levels.items()
    }
