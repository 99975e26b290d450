"""`amodalpl pseudolabel`: annotations and a completer in; the label file, the order, uncertainty maps and a report out.

Work goes part by part, a few photos each. Parts are files, one line per photo; any number of processes can make them,
and any of these may be killed. The first one then puts them together in the order of the photos: the result is the same
whoever made them. Beside the annotations as they were read, memory holds one photo of a part, and a few numbers per
label.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..completion.checkpoint import CARD, WEIGHTS, CompleterBundle, load_completer
from ..completion.onnx_backend import NETWORK
from ..completion.precision import in_precision
from ..data.label_file import doubt_entry, label_entry, order_entry, write_label_file
from ..data.label_folder import DOUBT, LABELS, ORDER, STATS
from ..data.read import read_annotations
from ..data.records import AnnotationSet, ImageRecord, Instance
from ..data.review_file import NO_LONGER_FIT, REVIEW_FILE, Review, carry_over, read_review, write_review
from ..errors import DataError
from ..io.files import hash_file, read_json, write_json
from ..io.images import image_path, read_image
from ..io.json_stream import open_lines, open_list, read_entries, read_lines, write_lines
from ..labelling.assemble import CompletedImage, DrawnPhoto, complete_photos
from ..labelling.class_rules import class_rules
from ..labelling.gap_tolerance import instances_to_label, measure_gaps
from ..labelling.label_statistics import LabelStatistics
from ..labelling.ordering import cycles, mutual
from ..labelling.plan import LabelPlan, plan_labels
from ..masks import ownership, rle
from ..masks.gaps import GapTolerance
from ..masks.rle import Rle
from ..report import sanity_checks
from ..report.page import REPORT_FILE, SHEET_FILE, write_label_page
from ..runtime.distributed import Ranks, pick_device, wait_for_files
from ..runtime.memory import require_memory
from ..runtime.next_command import argument, beside
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import RUN_FILE, StageRun, git_state, input_hashes
from ..runtime.summary import Summary
from ..runtime.usable_photos import usable_photos
from ..settings import LabelSettings, PipelineSettings
from ..version import __version__
from .stage_table import STAGES

ROW = STAGES["pseudolabel"]
_ANY_PARTS = ".parts*"
PARTS = f".parts-{__version__}"
"""Folder of what is stored while working; another version might label otherwise, so it starts again in its own."""
_PART = "a part of the labels"
PIXELS_AT_ONCE = 2**27  # of photos labelled together, counted once for each mask


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
        DataError: annotations, photos or the review cannot be read, no instance can be labelled, or a photo does not
            fit into memory.
        CheckpointError: the completer is missing or damaged.
        SettingsError: an unknown backend, a device that is not there, or settings of a class that the file has not.
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
    bundle = load_completer(completer, where, backend)
    if backend == "torch":
        bundle = replace(bundle, completer=in_precision(bundle.completer, settings.labels.precision, where))
    data = read_annotations(annotations, fmt)
    rules = class_rules(settings.labels.per_class, data.category_names, str(annotations))
    data = usable_photos(data, images, progress, settings.left_out_photos)
    if not any(i.modal is not None and not i.is_crowd for i in data.instances):
        raise DataError(f"{data.path}: expected at least one instance to label, got none; run `amodalpl check`")
    require_memory(data)
    inputs = {**input_hashes(data, images), **_completer_hashes(completer, backend)}
    if review:
        inputs["review"] = hash_file(review)
    if not ranks.is_first:
        wait_for_files([out / RUN_FILE], lambda index: None)  # claiming the folder is done once
    run = StageRun.open(out, ROW.name, ROW.settings_of(settings), inputs, settings.seed, arguments)
    if not run.done:
        if ranks.is_first:
            _remove_parts_of_other_versions(out, progress)
        run.record |= {"amodalpl": __version__, "git": git_state()}  # of who labels, whoever claimed it
        labels, tolerance = _measured(data, settings.labels, progress)
        method = str(read_json(completer / CARD, "the card of a completer")["method"])
        work = _Work(data, images, bundle.completer.uses_image, plan_labels(bundle, labels, rules), method)
        parts = _make_parts(work, out, labels.images_per_part, ranks, progress)
        if not ranks.is_first:
            return Summary("pseudolabel", out)
        collected = _put_together(work, parts, out)
        counts = _write_statistics(work, collected, out, bundle, tolerance, decided)
        write_label_page(out, images, completer, progress)
        made = [LABELS, ORDER, DOUBT, STATS, REPORT_FILE, SHEET_FILE]
        run.finish(counts, [*made, REVIEW_FILE] if decided else made)
    if ranks.is_first:
        shutil.rmtree(out / PARTS, ignore_errors=True)
    photos = argument(images)
    train = f"amodalpl train-detector {argument(out / LABELS)} {photos} --out {beside(out, 'labels', 'detector')}"
    decide = f"amodalpl apply-review {argument(out)} {photos} {argument(out / REVIEW_FILE)} "
    decide += f"--out {beside(out, 'labels', 'corrected')}"
    return Summary(
        "pseudolabel",
        out,
        counts=run.counts,
        files={
            "labels": out / LABELS,
            "report": out / REPORT_FILE,
            "overlays": out / SHEET_FILE,
            "order": out / ORDER,
            "doubt": out / DOUBT,
            "statistics": out / STATS,
        },
        next=f"open {argument(out / REPORT_FILE)}",
        then=decide if decided else train,
    )


def _completer_hashes(completer: Path, backend: str) -> dict[str, str]:
    card = {"completer": hash_file(completer / CARD)}
    if backend == "onnx":
        return {**card, "network in ONNX": hash_file(completer / NETWORK)}
    return {**card, "weights": hash_file(completer / WEIGHTS)}


def _measured(
    data: AnnotationSet, settings: LabelSettings, progress: Progress
) -> tuple[LabelSettings, GapTolerance | None]:
    """Measure what the settings leave open of the gaps; every process does, and finds the same."""
    if settings.gap_px is not None and settings.contour_inset_px is not None:
        return settings, None
    tolerance = measure_gaps(data, progress)
    return settings.measured(tolerance.gap_px, tolerance.contour_inset_px), tolerance


def _remove_parts_of_other_versions(out: Path, progress: Progress) -> None:
    for folder in sorted(out.glob(_ANY_PARTS)):
        if folder.name != PARTS:
            progress.warn(f"{folder}: begun by another version than {__version__}; labelling starts again")
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Work:
    """What is labelled, and how."""

    data: AnnotationSet
    images: Path
    uses_image: bool
    plan: LabelPlan
    method: str


def _make_parts(work: _Work, out: Path, photos_per_part: int, ranks: Ranks, progress: Progress) -> list[Path]:
    """Make this process's parts; the first process returns once those of all are there.

    Returns:
        The files of all parts, in the order of the photos.
    """
    records = [r for r in work.data.images if work.data.by_image[r.id]]
    parts = [records[k : k + photos_per_part] for k in range(0, len(records), photos_per_part)]
    folder = out / PARTS
    folder.mkdir(exist_ok=True)
    files = [folder / f"{number:06d}.jsonl" for number in range(len(parts))]
    missing = [k for k, file in enumerate(files) if not file.exists()]
    done = len(records) - sum(len(parts[k]) for k in missing)
    with progress.task("labelling photos", len(records), done=done) as advance:
        for k in missing:
            if k % ranks.world == ranks.rank:
                write_lines(files[k], _all_but_the_last_shown(_label_photos(work, parts[k]), advance))
                advance(1)
        if ranks.is_first:
            others = [k for k in missing if k % ranks.world]
            wait_for_files([files[k] for k in others], lambda index: advance(len(parts[others[index]])))
    return files


def _all_but_the_last_shown(
    photos: Iterator[dict[str, Any]], advance: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    """Show each photo of a part as done, the last one excepted: it is done when the part is there."""
    for number, photo in enumerate(photos):
        if number:
            advance(1)
        yield photo


def _label_photos(work: _Work, records: Sequence[ImageRecord]) -> Iterator[dict[str, Any]]:
    """Label photos; yields what is kept of each, a line of a part."""
    for group in _fitting_groups(work.data, records):
        photos = []
        for record in group:
            instances = instances_to_label(work.data, record)
            drawn = [i.modal for i in instances if i.modal is not None]
            image = None
            if work.uses_image:
                image = read_image(image_path(work.images, record.file_name), record.size_hw)
            owned = ownership.resolve(drawn, record.size_hw)
            photos.append(DrawnPhoto(drawn, owned, image, [i.category_id for i in instances]))
        completed = complete_photos(work.plan, photos)
        for record, photo, found in zip(group, photos, completed, strict=True):
            yield _photo_entries(work, record, photo, found)


def _fitting_groups(data: AnnotationSet, records: Sequence[ImageRecord]) -> Iterator[list[ImageRecord]]:
    """Divide photos into runs with up to `PIXELS_AT_ONCE` together; a single photo may be larger."""
    group: list[ImageRecord] = []
    held = 0
    for record in records:
        needed = record.size_hw[0] * record.size_hw[1] * len(instances_to_label(data, record))
        if group and held + needed > PIXELS_AT_ONCE:
            yield group
            group, held = [], 0
        group.append(record)
        held += needed
    if group:
        yield group


def _photo_entries(work: _Work, record: ImageRecord, photo: DrawnPhoto, found: CompletedImage) -> dict[str, Any]:
    """Return the entries of a photo in all files, and a row for each of its annotations that got no label."""
    instances = instances_to_label(work.data, record)
    ids = [instance.id for instance in instances]
    everything = work.data.by_image[record.id]
    return {
        "labels": [
            label_entry(
                instance,
                found.whole[k],
                found.seen[k],
                drawn_px=rle.area_px(photo.drawn[k]),
                completer=work.method,
                occluders=[ids[occluder] for occluder in found.occluders[k]],
                uncertainty=float(found.uncertainty[k]),
                plausibility=None if found.plausibility is None else float(found.plausibility[k]),
                flags=found.flags[k],
                drawn=_drawn_where_it_cannot_be_told(photo, found, k),
            )
            for k, instance in enumerate(instances)
        ],
        "order": order_entry(
            record.id,
            ids,
            [(pair.front, pair.back, pair.evidence_px, pair.score) for pair in found.order],
            mutual(found.order),
            cycles(found.order),
        ),
        "doubt": [
            doubt_entry(annotation_id, doubt.box_xywh, doubt.levels)
            for annotation_id, doubt in zip(ids, found.uncertainty_maps, strict=True)
            if doubt is not None
        ],
        "left_out": [
            *(_left_out(i, "crowd region") for i in everything if i.is_crowd),
            *(_left_out(i, "no modal mask") for i in everything if not i.is_crowd and i.modal is None),
        ],
    }


def _drawn_where_it_cannot_be_told(photo: DrawnPhoto, found: CompletedImage, index: int) -> Rle | None:
    """Return the mask as drawn of an object that gave pixels up and got others; else visible or whole mask say it."""
    drawn = photo.drawn[index]
    return drawn if found.shared_px[index] and found.whole[index].area_px > rle.area_px(drawn) else None


def _left_out(instance: Instance, reason: str) -> dict[str, Any]:
    return {
        "place": instance.place,
        "annotation_id": instance.id,
        "image_id": instance.image_id,
        "reason": reason,
    }


@dataclass
class _Collected:
    """What is added up while the parts are put together."""

    statistics: LabelStatistics = field(default_factory=LabelStatistics)
    one_way: sanity_checks.OneWay = field(default_factory=sanity_checks.OneWay)
    left_out: list[dict[str, Any]] = field(default_factory=list)


def _put_together(work: _Work, parts: Sequence[Path], out: Path) -> _Collected:
    """Write the label file, the order and the doubts from the parts, photo by photo; each part is read once."""
    collected = _Collected()
    with (
        open_list(out / ORDER, {"rule": work.plan.order_rule}, "images") as add_order,
        open_lines(out / DOUBT) as add_doubt,
    ):
        write_label_file(out / LABELS, work.data, _spread(parts, collected, add_order, add_doubt))
    return collected


def _spread(
    parts: Sequence[Path],
    collected: _Collected,
    add_order: Callable[[Any], object],
    add_doubt: Callable[[Any], object],
) -> Iterator[dict[str, Any]]:
    """Yield the labels, photo by photo, and hand everything else on."""
    for photo in (photo for part in parts for photo in read_lines(part, _PART)):
        boxes = {label["id"]: label["visible_bbox"] for label in photo["labels"]}
        for pair in photo["order"]["pairs"]:
            collected.one_way.add(boxes[pair["front"]], boxes[pair["back"]])
        collected.statistics.add_order(photo["order"])
        add_order(photo["order"])
        for doubt in photo["doubt"]:
            add_doubt(doubt)
        collected.left_out += photo["left_out"]
        for label in photo["labels"]:
            collected.statistics.add_label(label)
            yield label


def _write_statistics(
    work: _Work,
    collected: _Collected,
    out: Path,
    bundle: CompleterBundle,
    tolerance: GapTolerance | None,
    decided: Review | None,
) -> dict[str, Any]:
    """Write `stats.json`, and the decisions that still hold; return the counts."""
    data, statistics = work.data, collected.statistics
    left_out = [
        {"place": d.place, "annotation_id": d.annotation_id, "image_id": d.image_id, "reason": d.reason}
        for d in data.dropped
    ]
    stats = statistics.to_json(data, [*left_out, *collected.left_out])
    counts = stats["counts"]
    counts["gap px"] = work.plan.gap_px
    counts["tight px"] = work.plan.contour_inset_px
    counts["promise"] = str(bundle.promise or "none: see the completer's hold-out scores")
    stats["promise"] = bundle.promise.to_json() if bundle.promise else None
    warnings = [
        *sanity_checks.of_labels(np.array(statistics.growth), statistics.ordered),
        *collected.one_way.warnings(),
    ]
    if tolerance is not None:
        stats["gaps"] = {"pairs by free pixels": tolerance.counts, "by chance": round(tolerance.by_chance, 3)}
        warnings = [*sanity_checks.of_gaps(sum(tolerance.counts), len(data.images)), *warnings]
    if decided is not None:
        labels = read_entries(out / LABELS, "a label file", "annotations")
        kept, lost = carry_over(decided, labels, hash_file(out / LABELS))
        write_review(out / REVIEW_FILE, kept)
        counts["decisions kept"], counts[NO_LONGER_FIT] = len(kept.decisions), len(lost)
        stats[NO_LONGER_FIT] = [decision.to_json() for decision in lost]
    if warnings:
        counts["warnings"] = warnings
    write_json(out / STATS, stats)
    return counts
