"""`amodalpl pseudolabel`: annotations and a completer in, labels out.

Masks go one way: they are read (`_read`), the completer of the package is fitted to them (`refit.py`), labels of photos
that have not changed are put aside (`add_photos.py`), and the others are labelled (`pseudolabel.py`). From boxes, a
model makes the labels (`label_boxes.py`).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ..builtin import is_builtin
from ..completion.checkpoint import CARD
from ..data.doubtful import boxes_warning
from ..data.kept_labels import MADE_FROM, made_from, write_made_from
from ..data.label_folder import DOUBT, FITTED, LABELS, ORDER, REFIT, STATS
from ..data.read import read_annotations
from ..data.records import AnnotationSet
from ..data.review_file import REVIEW_FILE, Review, read_review
from ..detector import require_mmdetection
from ..errors import DataError, SettingsError
from ..io.files import hash_file
from ..labelling.class_rules import class_rules
from ..report.label_page import REPORT_FILE, SHEET_FILE
from ..runtime.distributed import Ranks, wait_for_files
from ..runtime.memory import require_memory
from ..runtime.next_command import argument, beside
from ..runtime.parts import PARTS
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import RUN_FILE, Renewal, StageRun, git_state, input_hashes
from ..runtime.summary import Summary
from ..runtime.usable_photos import usable_photos
from ..settings import PipelineSettings
from ..version import __version__
from .add_photos import ANY_KEPT, Added, parts_folder, take_over
from .completer_in_use import CompleterInUse
from .label_summary import summary_of_labels, training_on
from .pseudolabel import pseudolabel
from .refit import refit
from .stage_table import STAGES

ROW = STAGES["pseudolabel"]
_ANY_PARTS = ".parts*"
_MADE = (LABELS, ORDER, DOUBT, STATS, MADE_FROM, REPORT_FILE, SHEET_FILE, REVIEW_FILE, f"{FITTED}/{CARD}")
_MAY_GROW = ("annotations", "images", "review")  # inputs of a run that `--add` continues
_OFFER = "--add labels what is new or changed and keeps the rest; else choose another --out or delete it"


def make_labels(
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
        out: output folder: what `pseudolabel` writes, `run.json`, and `refit/` where a completer is fitted.
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
    opened = CompleterInUse.open(completer, backend, device)
    settings = opened.fitting(settings)
    data = _read(annotations, fmt, images, settings, progress)
    inputs = {**input_hashes(data, images), **opened.hashes()} | ({"review": hash_file(review)} if review else {})
    if not ranks.is_first:
        wait_for_files([out / RUN_FILE], lambda index: None)  # claiming the folder is done once
    marks = made_from(data, images)
    renewal = Renewal(_MAY_GROW, add, _OFFER, lambda before: take_over(out, before, marks, PARTS))
    run = StageRun.open(out, ROW.name, ROW.settings_of(settings), inputs, settings.seed, arguments, renewal=renewal)
    if not run.done:
        parts, added = out / parts_folder(run.record, PARTS), Added.of_record(out, run.record)
        if ranks.is_first:
            _remove_other_parts(out, parts, progress)
        run.record |= {"amodalpl": __version__, "git": git_state()}  # of who labels, whoever claimed it
        ready = opened
        if settings.labels.refit:
            ready = refit(opened, data, images, out / REFIT, settings, progress, keep=added is not None)
            run.record["fitted completer"] = hash_file(ready.folder / CARD)
        labels, kept = settings.labels, None
        if added:
            labels, decided, kept = added.with_gaps(labels), added.with_decisions(decided), added.kept
        if add:  # what is new is little: one process labels it
            labels = labels.model_copy(update={"workers": 1})
        ready = ready.in_precision(labels.precision)
        counts = pseudolabel(data, images, ready, out, labels, parts, kept, decided, ranks, progress)
        if not ranks.is_first:
            return Summary(ROW.name, out)
        write_made_from(out / MADE_FROM, marks)
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


def _read(annotations: Path, fmt: str, images: Path, settings: PipelineSettings, progress: Progress) -> AnnotationSet:
    """Read what is to be labelled, and refuse what cannot be."""
    data = read_annotations(annotations, fmt)
    class_rules(settings.labels.per_class, data.category_names, str(annotations))
    data = usable_photos(data, images, progress, settings.left_out_photos)
    if not any(data.completable[record.id] for record in data.images):
        raise DataError(f"{data.path}: expected at least one instance to label, got none; run `amodalpl check`")
    require_memory(data)
    if warning := boxes_warning(data):
        progress.warn(warning)
    return data


def _remove_other_parts(out: Path, own: Path, progress: Progress) -> None:
    for folder in sorted(out.glob(_ANY_PARTS)):
        if folder != own:
            if not folder.name.startswith(PARTS):
                progress.warn(f"{folder}: begun by another version than {__version__}; labelling starts again")
            shutil.rmtree(folder, ignore_errors=True)


def _summary(out: Path, images: Path, counts: dict[str, Any], decided: Review | None) -> Summary:
    decide = f"amodalpl apply-review {argument(out)} {argument(images)} {argument(out / REVIEW_FILE)} "
    decide += f"--out {beside(out, 'labels', 'corrected')}"
    then = decide if decided else training_on(out, images, "labels")
    return summary_of_labels(ROW.name, out, counts, then, order=ORDER, doubt=DOUBT, statistics=STATS)
