"""`amodalpl pseudolabel`: annotations and a completer in; the label file, the order, doubts and a report out.

Work goes part by part, a few photos each. Parts are files; any number of processes can make them, and any of these may
be killed. The first one then puts them together in the order of the photos: the result is the same whoever made them.
Beside the annotations as they were read, memory holds one part, and a few numbers per label.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..completion.checkpoint import CARD, WEIGHTS, TrainedCompleter, load_completer
from ..completion.onnx_backend import NETWORK
from ..completion.precision import in_precision
from ..completion.predictor import Scene
from ..data.read import read_annotations
from ..data.records import AnnotationSet, ImageRecord, Instance
from ..data.review_file import NO_LONGER_FIT, REVIEW_FILE, Review, carry_over, read_review, write_review
from ..errors import DataError
from ..io.files import hash_file, read_json, write_json
from ..io.images import image_path, read_image
from ..io.json_stream import finite, write_lines, write_object
from ..labelling.flags import doubtful_above, flags_of
from ..labelling.gap_tolerance import _with_modal, measure_gaps
from ..labelling.label_scenes import Label, label_scenes
from ..labelling.label_statistics import LabelStatistics
from ..labelling.order_recovery import orders_from_pairs
from ..labelling.ordering import Pair, cycles, mutual
from ..masks import ownership, rle
from ..masks.gaps import GapTolerance
from ..report import sanity_checks
from ..report.page import write_label_page
from ..runtime.distributed import Ranks, pick_device, wait_for_files
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import RUN_FILE, StageRun, git_state, input_hashes
from ..runtime.summary import Summary
from ..runtime.usable_photos import usable_photos
from ..settings import LabelSettings, PipelineSettings
from ..shape_prior.plausibility import ShapePrior
from ..version import __version__
from .stage import STAGES

LABELS, ORDER, STATS, DOUBT, REPORT, OVERLAYS = (
    "pseudo_amodal.json",
    "order.json",
    "stats.json",
    "doubt.jsonl",
    "report.html",
    "overlays.png",
)
ROW = STAGES["pseudolabel"]
_ANY_PARTS = ".parts*"
PARTS = f".parts-{__version__}"
"""Folder of what is stored while working; another version might label otherwise, so it starts again in its own."""
MASK_BYTES = 2**27  # of photos labelled together; some five times as much is held meanwhile


def pseudolabel(
    annotations: Path,
    images: Path,
    completer: Path,
    out: Path,
    settings: PipelineSettings,
    fmt: str = "auto",
    device: str = "auto",
    progress: Progress = SILENT,
    review: Path | None = None,
    backend: str = "torch",
) -> Summary:
    """Label every instance; a run that was interrupted goes on after the last finished part.

    Under `torchrun` each process makes its share of the parts; the files come out byte for byte as one process makes
    them. An interrupted run can be continued by any number of processes.

    Args:
        annotations: any supported annotation file; its modal masks are completed.
        images: folder of the photos.
        completer: output folder of `amodalpl complete`.
        out: output folder: `pseudo_amodal.json`, `order.json`, `doubt.jsonl`, `stats.json`, `report.html`,
            `overlays.png`, `run.json`, and `review.json` when a review is given.
        settings: `seed` and `labels` are used.
        fmt: format of the annotations, or "auto".
        device: "auto", "cpu" or "cuda".
        progress: shown while it works.
        review: decisions made on an earlier run; those on labels that come out the same are kept.
        backend: what runs the network, "torch" or "onnx"; their labels differ by rounding.

    Returns:
        Counts of labels and of what was left out, each with a reason.

    Raises:
        DataError: annotations, photos or the review cannot be read, or no instance can be labelled.
        CheckpointError: the completer is missing or damaged.
        SettingsError: an unknown backend, or a device that is not there.
        MissingPackageError: onnxruntime is asked for and not installed.
        OutputError: the folder belongs to another run, or a process of this one has gone silent.
    """
    arguments = ROW.arguments(locals())
    ranks = Ranks.of_this_process()
    ranks.settle()
    if not ranks.is_first:
        progress = SILENT
    decided = read_review(review) if review else None
    where = pick_device(device)
    trained = load_completer(completer, where, backend)
    if backend == "torch":
        trained = replace(trained, completer=in_precision(trained.completer, settings.labels.precision, where))
    data = usable_photos(read_annotations(annotations, fmt), images, progress, settings.left_out_photos)
    if not any(i.modal is not None and not i.is_crowd for i in data.instances):
        raise DataError(f"{data.path}: expected at least one instance to label, got none; run `amodalpl check`")
    inputs = {"completer": hash_file(completer / CARD)}
    if backend == "onnx":
        inputs["network in ONNX"] = hash_file(completer / NETWORK)
    else:
        inputs["weights"] = hash_file(completer / WEIGHTS)
    if review:
        inputs["review"] = hash_file(review)
    if not ranks.is_first:
        wait_for_files([out / RUN_FILE], lambda index: None)  # claiming the folder is done once
    run = StageRun.open(
        out,
        ROW.name,
        ROW.settings_of(settings),
        {**input_hashes(data, images), **inputs},
        settings.seed,
        arguments,
    )
    if not run.done:
        if ranks.is_first:
            _remove_parts_of_other_versions(out, progress)
        run.record |= {
            "amodalpl": __version__,
            "git": git_state(),
        }  # of who labels, whoever claimed it
        chosen, tolerance = _resolve(data, trained, settings.labels, progress)
        name = str(read_json(completer / CARD, "the card of a completer")["method"])
        files = _make_parts(data, images, trained, name, out, chosen, ranks, progress)
        if not ranks.is_first:
            return Summary("pseudolabel", out)
        made = [LABELS, ORDER, DOUBT, STATS, REPORT, OVERLAYS]
        counts = _put_together(data, trained, files, out, chosen, tolerance, decided)
        write_label_page(out, images, completer, progress)
        run.finish(counts, [*made, REVIEW_FILE] if decided else made)
    if ranks.is_first:
        shutil.rmtree(out / PARTS, ignore_errors=True)
    train = f"amodalpl train-detector {out / LABELS} {images} --out detector"
    decide = f"amodalpl apply-review {out} {images} {out / REVIEW_FILE} --out corrected"
    return Summary(
        "pseudolabel",
        out,
        counts=run.counts,
        files={
            "labels": out / LABELS,
            "report": out / REPORT,
            "overlays": out / OVERLAYS,
            "order": out / ORDER,
            "doubt": out / DOUBT,
            "statistics": out / STATS,
        },
        next=decide if decided else train,
    )


def _resolve(
    data: AnnotationSet, trained: TrainedCompleter, settings: LabelSettings, progress: Progress
) -> tuple[LabelSettings, GapTolerance | None]:
    """Choose what the settings leave open; every process does, and finds the same."""
    tolerance: GapTolerance | None = None
    if settings.gap_px is None or settings.tight_px is None:
        tolerance = measure_gaps(data, progress)
        settings = settings.measured(tolerance.gap_px, tolerance.tight_px)
    bound = doubtful_above(settings.low_confidence, trained.promise)
    return settings.model_copy(update={"low_confidence": bound}), tolerance


def _remove_parts_of_other_versions(out: Path, progress: Progress) -> None:
    for folder in sorted(out.glob(_ANY_PARTS)):
        if folder.name != PARTS:
            progress.warn(f"{folder}: begun by another version than {__version__}; labelling starts again")
            shutil.rmtree(folder, ignore_errors=True)


def _make_parts(
    data: AnnotationSet,
    images: Path,
    trained: TrainedCompleter,
    name: str,
    out: Path,
    settings: LabelSettings,
    ranks: Ranks,
    progress: Progress,
) -> list[Path]:
    """Make this process's parts; the first process returns once those of all are there.

    Returns:
        The files of all parts, in the order of the photos.
    """
    records = [r for r in data.images if data.by_image[r.id]]
    size = settings.images_per_part
    parts = [records[k : k + size] for k in range(0, len(records), size)]
    folder = out / PARTS
    folder.mkdir(exist_ok=True)
    files = [folder / f"{number:06d}.labels.json" for number in range(len(parts))]
    missing = [k for k, file in enumerate(files) if not file.exists()]
    done = len(records) - sum(len(parts[k]) for k in missing)
    with progress.task("labelling photos", len(records), done=done) as advance:
        for k in missing:
            if k % ranks.world == ranks.rank:
                write_object(files[k], _label_part(data, images, parts[k], trained, name, settings))
                advance(len(parts[k]))
        if ranks.is_first:
            others = [k for k in missing if k % ranks.world]
            wait_for_files([files[k] for k in others], lambda index: advance(len(parts[others[index]])))
    return files


def _put_together(
    data: AnnotationSet,
    trained: TrainedCompleter,
    files: Sequence[Path],
    out: Path,
    settings: LabelSettings,
    tolerance: GapTolerance | None,
    decided: Review | None,
) -> dict[str, Any]:
    """Write everything but the report from the parts, entry by entry; return the counts."""
    statistics = LabelStatistics()
    write_object(
        out / LABELS,
        {
            **finite(data.raw),
            "images": (finite(_image_entry(record)) for record in data.images),
            "annotations": statistics.watch_labels(_entries_of(files, "labels")),
            "categories": finite(data.categories),
        },
    )
    pairs = orders_from_pairs(trained, settings)
    rule = "pairs" if pairs else settings.order_rule or trained.completer.method.order_rule
    order = statistics.watch_order(_entries_of(files, "order"))
    write_object(out / ORDER, {"rule": rule, "images": order})
    write_lines(out / DOUBT, _entries_of(files, "doubt"))
    left_out = [
        {"place": d.place, "annotation_id": d.annotation_id, "image_id": d.image_id, "reason": d.reason}
        for d in data.dropped
    ] + list(_entries_of(files, "left_out"))
    stats = statistics.to_json(data, left_out)
    counts = stats["counts"]
    counts["gap px"] = settings.gap_px
    counts["tight px"] = settings.loosened_px
    counts["promise"] = str(trained.promise or "none: see the completer's hold-out scores")
    stats["promise"] = trained.promise.to_json() if trained.promise else None
    if tolerance is not None:
        stats["gaps"] = {"pairs by free pixels": tolerance.counts, "by chance": round(tolerance.by_chance, 3)}
    if decided is not None:
        kept, lost = carry_over(decided, _entries_of(files, "labels"), hash_file(out / LABELS))
        write_review(out / REVIEW_FILE, kept)
        counts["decisions kept"], counts[NO_LONGER_FIT] = len(kept.decisions), len(lost)
        stats[NO_LONGER_FIT] = [decision.to_json() for decision in lost]
    warnings = [*sanity_checks.of_labels(np.array(statistics.growth), statistics.ordered), *_order_of(files).warnings()]
    if tolerance is not None:
        warnings = [*sanity_checks.of_gaps(sum(tolerance.counts), len(data.images)), *warnings]
    if warnings:
        counts["warnings"] = warnings
    write_json(out / STATS, stats)
    return counts


def _order_of(files: Sequence[Path]) -> sanity_checks.OneWay:
    """Count whether what is in front is always the lower, or the larger."""
    counts = sanity_checks.OneWay()
    for file in files:
        part = read_json(file, "a part of the labels")
        boxes = {label["id"]: label["visible_bbox"] for label in part["labels"]}
        for pair in (pair for photo in part["order"] for pair in photo["pairs"]):
            counts.add(boxes[pair["front"]], boxes[pair["back"]])
    return counts


def _entries_of(files: Sequence[Path], kind: str) -> Iterator[dict[str, Any]]:
    for file in files:
        yield from read_json(file, "a part of the labels")[kind]


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
) -> dict[str, list[dict[str, Any]]]:
    part: dict[str, list[dict[str, Any]]] = {"labels": [], "order": [], "doubt": [], "left_out": []}
    for record in records:
        everything = data.by_image[record.id]
        part["left_out"] += [_left_out(i, "crowd region") for i in everything if i.is_crowd]
        part["left_out"] += [_left_out(i, "no modal mask") for i in everything if not i.is_crowd and i.modal is None]
    for group in _fitting_groups(data, records):
        photos, scenes = [], []
        for record in group:
            instances = _with_modal(data, record)
            owned = ownership.resolve([i.modal for i in instances if i.modal is not None], record.size_hw)
            image = (
                read_image(image_path(images, record.file_name), record.size_hw)
                if trained.completer.uses_image
                else None
            )
            photos.append(_Photo(record, instances, owned))
            scenes.append(Scene(owned.masks, image))
        for photo, answer in zip(photos, label_scenes(trained, scenes, settings), strict=True):
            part["labels"] += _entries(photo, answer.labels, name, trained.shapes, settings)
            part["order"].append(_order_entry(photo, answer.order))  # also without pairs: scores count what has none
            part["doubt"] += [
                label.doubt.to_json(instance.id)
                for instance, label in zip(photo.instances, answer.labels, strict=True)
                if label is not None and label.doubt is not None
            ]
    return part


def _fitting_groups(data: AnnotationSet, records: Sequence[ImageRecord]) -> Iterator[list[ImageRecord]]:
    """Divide photos into runs whose masks fit into `MASK_BYTES` together; a single photo may be larger."""
    group: list[ImageRecord] = []
    held = 0
    for record in records:
        needed = record.size_hw[0] * record.size_hw[1] * len(_with_modal(data, record))
        if group and held + needed > MASK_BYTES:
            yield group
            group, held = [], 0
        group.append(record)
        held += needed
    if group:
        yield group


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
        drawn_px = int(np.count_nonzero(drawn[index]))
        bound = doubtful_above(settings.low_confidence, None)  # by now it is given
        flags = flags_of(label, visible, int(photo.owned.lost_px[index]), bound)
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
                "growth": round(amodal_px / drawn_px, 6),
                "added_px": amodal_px - drawn_px,
                "flags": flags,
            },
        }


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
