"""`amodalpl pseudolabel`: annotations and a completer in; the label file, the order, uncertainty maps and a report out.

Work goes part by part, a few photos each. Parts are files, one line per photo; any number of processes can make them,
and any of these may be killed. The first one then puts them together in the order of the photos: the result is the same
whoever made them. Beside the annotations as they were read, memory holds one photo of a part, and a few numbers per
label.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..builtin import is_builtin
from ..calibration.likeness import promise_among
from ..completion.checkpoint import CARD, CompleterBundle
from ..data.doubtful import boxes_warning
from ..data.kept_labels import MADE_FROM, made_from, write_made_from
from ..data.label_folder import DOUBT, FITTED, LABELS, ORDER, REFIT, STATS
from ..data.read import read_annotations
from ..data.records import AnnotationSet, ImageRecord
from ..data.review_file import NO_LONGER_FIT, REVIEW_FILE, Review, carry_over, read_review, write_review
from ..detector import require_mmdetection
from ..errors import DataError, SettingsError
from ..io.files import hash_file, write_json
from ..io.json_stream import read_entries
from ..labelling.assemble import label_photos, left_out
from ..labelling.class_rules import ClassRules, class_rules
from ..labelling.gap_tolerance import measured, some_photos
from ..labelling.label_features import FEATURES
from ..labelling.plan import LabelPlan, plan_labels
from ..labelling.write_files import write_label_files
from ..masks.gaps import GapTolerance
from ..report import sanity_checks
from ..report.label_page import REPORT_FILE, SHEET_FILE, write_label_page
from ..runtime.distributed import Ranks, wait_for_files
from ..runtime.memory import require_memory
from ..runtime.next_command import argument, beside
from ..runtime.parts import PARTS, make_parts, read_parts
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import RUN_FILE, Renewal, StageRun, git_state, input_hashes
from ..runtime.summary import Summary
from ..runtime.usable_photos import usable_photos
from ..settings import LabelSettings, PipelineSettings
from ..version import __version__
from .add_photos import ANY_KEPT, Added, parts_folder, take_over
from .completer_in_use import CompleterInUse
from .helper_processes import fitting_number, helped_by
from .label_summary import summary_of_labels, training_on
from .stage_table import STAGES

ROW = STAGES["pseudolabel"]
_ANY_PARTS = ".parts*"
_MADE = (LABELS, ORDER, DOUBT, STATS, MADE_FROM, REPORT_FILE, SHEET_FILE, REVIEW_FILE, f"{FITTED}/{CARD}")
_MAY_GROW = ("annotations", "images", "review")  # inputs of a run that `--add` continues
_OFFER = "--add labels what is new or changed and keeps the rest; else choose another --out or delete it"


def pseudolabel(
    annotations: Path,
    images: Path,
    completer: Path | str,
    out: Path,
    settings: PipelineSettings,
    fmt: str = "auto",
    device: str = "auto",
    progress: Progress = SILENT,
    review: Path | None = None,
    backend: str = "torch",
    detector: Path | None = None,
    calibrate: Path | None = None,
    add: bool = False,
) -> Summary:
    """Label every instance; a run that was interrupted goes on after the last finished part.

    Under `torchrun` each process makes its share of the parts; the files come out byte for byte as one process makes
    them. An interrupted run can be continued by any number of processes.

    Args:
        annotations: any supported annotation file; its modal masks are completed.
        images: folder of the photos.
        completer: output folder of `amodalpl complete`, or `builtin`: the one that comes with the package, whose
            thresholds and calibration are fitted to the photos first.
        out: output folder: `pseudo_amodal.json`, `order.json`, `doubt.jsonl`, `stats.json`, `report.html`,
            `overlays.png`, `run.json`, `review.json` when a review is given, and `refit/` where a completer is fitted.
        settings: `seed` and `labels` are used.
        fmt: format of the annotations, or "auto".
        device: "auto", "cpu" or "cuda".
        progress: shown while it works.
        review: decisions made on an earlier run; those on labels that come out the same are kept.
        backend: what runs the network, "torch" or "onnx"; their labels differ by rounding.
        detector: label what is in boxes by this model instead, see `label_boxes`; nothing of a completer is used then.
        calibrate: belongs to `detector`, see there.
        add: `out` has labels of an earlier state of the annotations: label photos that are new or have changed, and
            keep the labels of the others, and decisions on them, as they are.

    Returns:
        Counts of labels and of what was left out, each with a reason.

    Raises:
        DataError: annotations, photos or the review cannot be read, no instance can be labelled, or a photo does not
            fit into memory.
        CheckpointError: the completer is missing or damaged.
        SettingsError: an unknown backend, a device that is not there, settings of a class that the file has not, or
            inputs that do not go together.
        MissingPackageError: onnxruntime is asked for and not installed.
        OutputError: the folder belongs to another run, or a process of this one has gone silent.
    """
    _require_inputs_that_go_together(completer, review, detector, calibrate, add)
    if detector is not None:
        require_mmdetection("pseudolabel --detector")
        from .label_boxes import label_boxes

        return label_boxes(annotations, images, detector, out, settings, fmt, device, progress, calibrate)
    ranks = Ranks.of_this_process()
    ranks.settle()
    progress = progress if ranks.is_first else SILENT
    if add and ranks.world > 1:
        raise SettingsError("--add: expected one process, got several; what is new is labelled by one")
    given = {"annotations": annotations, "images": images, "completer": completer, "fmt": fmt, "review": review}
    arguments = ROW.arguments(**given, backend=backend, detector=None, calibrate=None, add=add)
    decided = read_review(review) if review else None
    network = CompleterInUse.open(completer, backend, device)
    settings = network.fitting(settings)
    data, rules = _read(annotations, fmt, images, settings, progress)
    inputs = {**input_hashes(data, images), **network.hashes()}
    inputs |= {"review": hash_file(review)} if review else {}
    if not ranks.is_first:
        wait_for_files([out / RUN_FILE], lambda index: None)  # claiming the folder is done once
    marks = made_from(data, images)
    renewal = Renewal(_MAY_GROW, add, _OFFER, lambda before: take_over(out, before, marks, PARTS))
    run = StageRun.open(out, ROW.name, ROW.settings_of(settings), inputs, settings.seed, arguments, renewal=renewal)
    if not run.done:
        added, folder = Added.of_record(out, run.record), out / parts_folder(run.record, PARTS)
        if ranks.is_first:
            _remove_other_parts(out, folder, progress)
        run.record |= {"amodalpl": __version__, "git": git_state()}  # of who labels, whoever claimed it
        network = network.fitted_to(data, images, out / REFIT, settings, progress, keep=added is not None)
        if network.fitted:
            run.record["fitted completer"] = hash_file(network.folder / CARD)
        plan, tolerance = _plan(data, rules, network.bundle, settings.labels, added, progress)
        work = _Work(data, images, network, plan, tolerance, added)
        parts = _make_parts(work, folder, settings.labels, add, ranks, progress)
        if not ranks.is_first:
            return Summary("pseudolabel", out)
        decided = _together(added, decided) if added else decided
        counts = _put_together(work, parts, out, decided)
        write_made_from(out / MADE_FROM, marks)
        write_label_page(out, images, network.folder, progress)
        run.finish(counts, [name for name in _MADE if (out / name).exists()])
    if ranks.is_first:
        for old in (*out.glob(_ANY_PARTS), *out.glob(ANY_KEPT)):
            shutil.rmtree(old, ignore_errors=True)
    return _summary(out, images, run.counts, decided)


def _require_inputs_that_go_together(
    completer: Path | str, review: Path | None, detector: Path | None, calibrate: Path | None, add: bool
) -> None:
    if detector is None:
        if calibrate is not None:
            raise SettingsError(
                "--calibrate: expected --detector DIR beside it; a completer is calibrated on its hold-out"
            )
        return
    unwanted = {"--review": review is not None, "--completer": not is_builtin(completer), "--add": add}
    for what in (option for option, given in unwanted.items() if given):
        raise SettingsError(f"{what}: expected --detector without it, got both; labels are completed, or made of boxes")


def _summary(out: Path, images: Path, counts: dict[str, Any], decided: Review | None) -> Summary:
    decide = f"amodalpl apply-review {argument(out)} {argument(images)} {argument(out / REVIEW_FILE)} "
    decide += f"--out {beside(out, 'labels', 'corrected')}"
    then = decide if decided else training_on(out, images, "labels")
    return summary_of_labels(ROW.name, out, counts, then, order=ORDER, doubt=DOUBT, statistics=STATS)


def _read(
    annotations: Path, fmt: str, images: Path, settings: PipelineSettings, progress: Progress
) -> tuple[AnnotationSet, ClassRules]:
    """Read what is to be labelled, and refuse what cannot be."""
    data = read_annotations(annotations, fmt)
    rules = class_rules(settings.labels.per_class, data.category_names, str(annotations))
    data = usable_photos(data, images, progress, settings.left_out_photos)
    if not any(data.completable[record.id] for record in data.images):
        raise DataError(f"{data.path}: expected at least one instance to label, got none; run `amodalpl check`")
    require_memory(data)
    if warning := boxes_warning(data):
        progress.warn(warning)
    return data, rules


def _plan(
    data: AnnotationSet,
    rules: ClassRules,
    bundle: CompleterBundle,
    settings: LabelSettings,
    added: Added | None,
    progress: Progress,
) -> tuple[LabelPlan, GapTolerance | None]:
    """Settle how photos are labelled; gaps are measured where neither settings nor earlier labels say their width."""
    if added:
        settings = settings.measured(added.gap_px, added.contour_inset_px)
    settings, tolerance = measured(settings, some_photos(data, progress))
    return plan_labels(bundle, settings, rules), tolerance


def _together(added: Added, decided: Review | None) -> Review | None:
    """Return the decisions on labels that were kept, and those that are given now, which have the last word."""
    if not added.kept.review.exists():
        return decided
    earlier = read_review(added.kept.review)
    if decided is None:
        return earlier
    both = {decision.id: decision for decision in (*earlier.decisions, *decided.decisions)}
    return Review(decided.labels_sha256, tuple(both.values()))


def _remove_other_parts(out: Path, own: Path, progress: Progress) -> None:
    for folder in sorted(out.glob(_ANY_PARTS)):
        if folder != own:
            if not folder.name.startswith(PARTS):
                progress.warn(f"{folder}: begun by another version than {__version__}; labelling starts again")
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Work:
    """What is labelled, and how.

    Attributes:
        data: the annotations.
        images: folder of their photos.
        network: what completes them.
        plan: how.
        tolerance: what was measured of gaps, if anything.
        added: what is kept of an earlier run, if anything.
    """

    data: AnnotationSet
    images: Path
    network: CompleterInUse
    plan: LabelPlan
    tolerance: GapTolerance | None
    added: Added | None

    def is_kept(self, record: ImageRecord) -> bool:
        """Tell whether a photo has its labels from an earlier run."""
        return self.added is not None and record.id in self.added.kept


def _make_parts(
    work: _Work, folder: Path, settings: LabelSettings, add: bool, ranks: Ranks, progress: Progress
) -> list[Path]:
    """Label what is not kept, with as many further processes as settings say, or as fit."""

    def helped(parts: int) -> AbstractContextManager[int]:
        alone = add or ranks.world > 1  # what is new is little
        wanted = 1 if alone else settings.workers or fitting_number(work.network.where, parts)
        return helped_by(max(min(wanted, parts) - 1, 0), folder.parent, work.network.device, progress)

    records = [r for r in work.data.images if work.data.by_image[r.id] and not work.is_kept(r)]
    label = partial(label_photos, work.plan, work.data, work.images, work.network.name)
    return make_parts(folder, records, settings.images_per_part, label, "labelling photos", progress, ranks, helped)


def _in_order(work: _Work, parts: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Read the photos of all parts, each part once, and those that are kept, in the order of the annotations."""
    labelled = read_parts(parts)
    for record in work.data.images:
        if work.added and work.is_kept(record):
            yield {**work.added.kept.read(record.id), "left_out": left_out(work.data, record)}
        elif work.data.by_image[record.id]:
            yield next(labelled)


def _put_together(work: _Work, parts: Sequence[Path], out: Path, decided: Review | None) -> dict[str, Any]:
    """Write the label file, the order, the doubts, the statistics, and the decisions that still hold; return counts."""
    statistics = write_label_files(out, work.data, _in_order(work, parts), work.plan.order_rule)
    stats = statistics.to_json(work.data)
    counts, promise, tolerance = stats["counts"], work.network.bundle.promise, work.tolerance
    counts["gap px"] = work.plan.gap_px
    counts["tight px"] = work.plan.contour_inset_px
    among = promise_among(promise, work.network.bundle.judged, np.array(statistics.features).reshape(-1, len(FEATURES)))
    counts["promise"] = f"{among.promise}; {among.reason}" if among.promise else f"none: {among.reason}"
    stats["promise"] = among.promise.to_json() if among.promise else None
    stats["promise rests on"] = {"alike": among.alike, "reason": among.reason}
    if work.network.fitted is not None:
        counts["completer"] = work.network.name
    if work.added:
        counts["added"] = work.added.kept.counts.as_counts()
    warnings = [
        *(work.network.fitted.warnings if work.network.fitted else ()),
        *sanity_checks.of_labels(np.array(statistics.growth), statistics.ordered),
        *sanity_checks.of_order(statistics.order["pairs"], statistics.lower_in_front, statistics.larger_in_front),
    ]
    if tolerance is not None:
        stats["gaps"] = {"pairs by free pixels": tolerance.counts, "by chance": round(tolerance.by_chance, 3)}
        warnings = [*sanity_checks.of_gaps(sum(tolerance.counts), len(work.data.images)), *warnings]
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
