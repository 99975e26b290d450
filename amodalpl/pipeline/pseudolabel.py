"""Annotations and a completer that is ready in; the label file, the order, uncertainty maps and a report out.

`make_labels.py` reads what the user gives, gets the completer ready, and calls this. Work goes part by part, a few
photos each. Parts are files, one line per photo; any number of processes can make them, and any of these may be killed.
The first one then puts them together in the order of the photos: the result is the same whoever made them. Beside the
annotations as they were read, memory holds one photo of a part, and a few numbers per label.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..calibration.likeness import promise_among
from ..data.kept_labels import KeptLabels
from ..data.label_folder import LABELS, STATS
from ..data.records import AnnotationSet
from ..data.review_file import NO_LONGER_FIT, REVIEW_FILE, Review, carry_over, write_review
from ..io.files import hash_file, write_json
from ..io.json_stream import read_entries
from ..labelling.assemble import label_photos
from ..labelling.class_rules import class_rules
from ..labelling.gap_tolerance import measured, some_photos
from ..labelling.label_features import FEATURES
from ..labelling.label_statistics import LabelStatistics
from ..labelling.plan import plan_labels
from ..labelling.write_files import write_label_files
from ..report import sanity_checks
from ..report.label_page import write_label_page
from ..runtime.distributed import Ranks
from ..runtime.parts import ALONE, Parts
from ..runtime.progress import SILENT, Progress
from ..settings import LabelSettings
from .completer_in_use import CompleterInUse
from .helper_processes import fitting_number, helped_by


def pseudolabel(
    annotations: AnnotationSet,
    images: Path,
    completer: CompleterInUse,
    out: Path,
    settings: LabelSettings,
    parts: Path,
    kept: KeptLabels | None = None,
    decided: Review | None = None,
    ranks: Ranks = ALONE,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Label every instance; what an earlier call has finished of the parts is kept.

    Args:
        annotations: of usable photos; their modal masks are completed.
        images: folder of the photos.
        completer: used as it is.
        out: gets `pseudo_amodal.json`, `order.json`, `doubt.jsonl`, `stats.json`, `report.html`, `overlays.png`, and
            `review.json` when there are decisions.
        settings: how; what they leave open is the completer's word, or measured.
        parts: folder for the parts while it works.
        kept: labels of photos that are not labelled again.
        decided: decisions on earlier labels; those on labels that come out the same are kept.
        ranks: the processes that share the work.
        progress: shown while it works.

    Returns:
        Counts of labels and of what was left out, each with a reason; nothing in processes other than the first.

    Raises:
        DataError: a photo cannot be read.
        OutputError: a process of this run has gone silent.
    """
    rules = class_rules(settings.per_class, annotations.category_names, str(annotations.path))
    settings, tolerance = measured(settings, some_photos(annotations, progress))
    plan = plan_labels(completer.bundle, settings, rules)

    def helped(missing: int) -> AbstractContextManager[int]:
        wanted = 1 if ranks.world > 1 else settings.workers or fitting_number(completer.where, missing)
        return helped_by(max(min(wanted, missing) - 1, 0), out, completer.device, progress)

    records = [r for r in annotations.images if annotations.by_image[r.id] and not (kept and r.id in kept)]
    work = Parts(parts, records, settings.images_per_part)
    for part in work.missing("labelling photos", progress, ranks, helped):
        part.write(label_photos(plan, annotations, images, completer.name, part.photos))
    if not ranks.is_first:
        return {}
    photos = _in_order(annotations, work.read(), kept)
    statistics = write_label_files(out, annotations, photos, plan.order_rule)
    stats = statistics.to_json(annotations)
    stats["counts"] |= {"gap px": plan.gap_px, "tight px": plan.contour_inset_px}
    _tell_promise(stats, statistics, completer)
    if completer.fitted_to is not None:
        stats["counts"]["completer"] = completer.name
    if kept:
        stats["counts"]["added"] = kept.counts.as_counts()
    warnings = _warnings(statistics, completer)
    if tolerance is not None:
        stats["gaps"] = {"pairs by free pixels": tolerance.counts, "by chance": round(tolerance.by_chance, 3)}
        warnings = [*sanity_checks.of_gaps(sum(tolerance.counts), len(annotations.images)), *warnings]
    if decided is not None:
        _keep_decisions(decided, out, stats)
    if warnings:
        stats["counts"]["warnings"] = warnings
    write_json(out / STATS, stats)
    write_label_page(out, images, completer.folder, progress)
    return stats["counts"]


def _in_order(
    annotations: AnnotationSet, labelled: Iterator[dict[str, Any]], kept: KeptLabels | None
) -> Iterator[dict[str, Any]]:
    """Yield what is to be written of each photo with instances: its labels, and why others have none."""
    for record in annotations.images:
        if annotations.by_image[record.id]:
            photo = kept.read(record.id) if kept and record.id in kept else next(labelled)
            yield {**photo, "left_out": [asdict(entry) for entry in annotations.not_completable(record.id)]}


def _tell_promise(stats: dict[str, Any], statistics: LabelStatistics, completer: CompleterInUse) -> None:
    """Say up to which uncertainty labels are good, and of how many like these that was judged."""
    features = np.array(statistics.features).reshape(-1, len(FEATURES))
    among = promise_among(completer.bundle.promise, completer.bundle.judged, features)
    stats["counts"]["promise"] = f"{among.promise}; {among.reason}" if among.promise else f"none: {among.reason}"
    stats["promise"] = among.promise.to_json() if among.promise else None
    stats["promise rests on"] = {"alike": among.alike, "reason": among.reason}


def _warnings(statistics: LabelStatistics, completer: CompleterInUse) -> list[str]:
    """Return what looks wrong in the completer's scores, the labels and their order."""
    return [
        *completer.warnings,
        *sanity_checks.of_labels(np.array(statistics.growth), statistics.ordered),
        *sanity_checks.of_order(statistics.order["pairs"], statistics.lower_in_front, statistics.larger_in_front),
    ]


def _keep_decisions(decided: Review, out: Path, stats: dict[str, Any]) -> None:
    """Write the decisions that still hold for the labels, and say which do not."""
    labels = read_entries(out / LABELS, "a label file", "annotations")
    kept, lost = carry_over(decided, labels, hash_file(out / LABELS))
    write_review(out / REVIEW_FILE, kept)
    stats["counts"] |= {"decisions kept": len(kept.decisions), NO_LONGER_FIT: len(lost)}
    stats[NO_LONGER_FIT] = [decision.to_json() for decision in lost]
