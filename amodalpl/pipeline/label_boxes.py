"""`amodalpl pseudolabel --detector`: boxes and a model that can be asked about them in; a label folder out.

No mask is needed: what labels say of visible and whole objects, and of who hides whom, is the model's.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..calibration.fit import Calibration, fit_labels
from ..data.label_file import order_entry
from ..data.label_folder import DOUBT, LABELS, ORDER, STATS
from ..data.read import read_annotations
from ..data.records import AnnotationSet, Box, ImageRecord, Instance
from ..detector.box_prompt import BoxAnswer, BoxPrompt, knows, open_box_prompt
from ..detector.compositional.whole_objects import amodal_box, visible_box
from ..errors import DataError, SettingsError
from ..io.files import hash_file, read_json, write_json
from ..io.images import image_path, read_image
from ..labelling.assemble import entries_of
from ..labelling.detections import label_detections
from ..labelling.write_files import write_label_files
from ..masks import rle
from ..masks.geometry import count_px
from ..report.label_page import REPORT_FILE, SHEET_FILE, write_label_page
from ..runtime.distributed import Ranks, pick_device
from ..runtime.parts import PARTS, Parts
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import StageRun, finished_run, input_hashes
from ..runtime.summary import Summary
from ..runtime.usable_photos import usable_photos
from ..settings import PipelineSettings
from .label_summary import summary_of_labels, training_on
from .occluded_objects import IMAGES, RECIPE, TRUTH
from .stage_table import STAGES

ROW = STAGES["pseudolabel"]
UNCALIBRATED = "uncalibrated"
"""Flag of labels whose uncertainty was held against no truth."""
LEAST_KNOWN = 20  # objects of known shape that a calibration needs
CALIBRATION = "calibration.json"
PHOTOS_PER_PART = 16


@dataclass(frozen=True)
class _Work:
    """What is labelled, and by what.

    Attributes:
        data: the annotations, with boxes.
        images: folder of their photos.
        prompt: the model.
        whole: boxes are of whole objects.
        low_confidence: uncertainty above which labels are said to be doubtful.
        calibration: from what the model says of itself to the error that was seen; None: not known.
    """

    data: AnnotationSet
    images: Path
    prompt: BoxPrompt
    whole: bool
    low_confidence: float
    calibration: Calibration | None = None


def label_boxes(
    annotations: Path,
    images: Path,
    detector: Path,
    out: Path,
    settings: PipelineSettings,
    fmt: str = "auto",
    device: str = "auto",
    progress: Progress = SILENT,
    calibrate: Path | None = None,
) -> Summary:
    """Write masks of the visible and the whole object for every box; a run that was interrupted goes on.

    Args:
        annotations: any supported file with boxes or masks, of which only boxes and classes are used.
        images: folder of the photos.
        detector: output folder of `train-detector` or `train-compositional`; classes are matched by name, and a
            class-agnostic model takes any.
        out: output folder: the files of `amodalpl pseudolabel`.
        settings: `labels.boxes` says what the boxes are of; `labels.low_confidence`, `left_out_photos` and `seed` are
            used too.
        fmt: format of the annotations, or "auto".
        device: "auto", "cpu" or "cuda".
        progress: shown while it works.
        calibrate: output folder of `synth --recipe occluded-objects`, of photos that the model has not learnt from:
            what the model says of itself is held against the truth there. None: labels carry the flag `uncalibrated`.

    Returns:
        Counts of labels and of what was left out, by reason.

    Raises:
        DataError: annotations or photos cannot be read, no box can be labelled, or too few objects to calibrate on.
        CheckpointError: the model is missing or damaged.
        OutputError: the folder belongs to another run, or a folder that is read is of another stage, or unfinished.
        SettingsError: several processes are to share the work.
    """
    if Ranks.of_this_process().world > 1:
        raise SettingsError("--detector: expected one process, got several; boxes are labelled without `torchrun`")
    given: dict[str, Any] = {i.name: i.default for i in ROW.inputs}
    given |= {"annotations": annotations, "images": images, "fmt": fmt, "detector": detector, "calibrate": calibrate}
    arguments = ROW.arguments(**given)
    prompt = open_box_prompt(detector, pick_device(device))
    data = usable_photos(read_annotations(annotations, fmt, boxes=True), images, progress, settings.left_out_photos)
    low = settings.labels.low_confidence
    work = _Work(data, images, prompt, settings.labels.boxes == "whole", 1.0 if low is None else low)
    if not any(_why_not(work, i) is None for i in data.instances):
        raise DataError(_nothing_to_label(work, detector))
    inputs = {**input_hashes(data, images), **prompt.identity}
    if calibrate is not None:
        _require_known_objects(calibrate)
        inputs["calibrated on"] = hash_file(calibrate / TRUTH)
    run = StageRun.open(out, ROW.name, ROW.settings_of(settings), inputs, settings.seed, arguments)
    if not run.done:
        (out / PARTS).mkdir(exist_ok=True)
        with run.released_on_bad_input():
            known = _calibrated(work, calibrate, out / PARTS / CALIBRATION, progress) if calibrate else None
        work = replace(work, calibration=known[0] if known else None)
        records = [r for r in data.images if data.by_image[r.id]]
        parts = Parts(out / PARTS, records, PHOTOS_PER_PART)
        for part in parts.missing("labelling photos", progress):
            part.write(_label_photo(work, record) for record in part.photos)
        stats = write_label_files(out, data, parts.read(), "inside").to_json(data)
        stats["counts"]["uncertainty"] = f"calibrated on {known[1]} objects" if known else "not calibrated"
        write_json(out / STATS, stats)
        write_label_page(out, images, None, progress)
        run.finish(stats["counts"], [LABELS, ORDER, DOUBT, STATS, REPORT_FILE, SHEET_FILE])
    shutil.rmtree(out / PARTS, ignore_errors=True)
    then = training_on(out, images, "labels")
    return summary_of_labels(ROW.name, out, run.counts, then, order=ORDER, statistics=STATS)


def _nothing_to_label(work: _Work, detector: Path) -> str:
    what, other = ("whole", "visible") if work.whole else ("visible", "whole")
    boxes = sum(_box(work, i) is not None for i in work.data.instances)
    if not boxes:
        return f"{work.data.path}: expected {what} boxes to label, got none; labels.boxes={other} takes {other} ones"
    return (
        f"{work.data.path}: expected {what} boxes of classes that {detector} knows "
        f"({', '.join(work.prompt.class_names)}), got {boxes} of other classes"
    )


def _box(work: _Work, instance: Instance) -> Box | None:
    return amodal_box(instance) if work.whole else visible_box(instance)


def _why_not(work: _Work, instance: Instance) -> str | None:
    """Return why a box gets no label, before anybody looks at the photo."""
    if instance.is_crowd:
        return "crowd region"
    if _box(work, instance) is None:
        return "no box of the whole object" if work.whole else "no box"
    name = work.data.category_names.get(instance.category_id, "")
    return None if knows(work.prompt, name) else f"class not learnt: {name}"


def _label_photo(work: _Work, record: ImageRecord) -> dict[str, Any]:
    """Return the labels of a photo, and a row for each box that got none."""
    asked: list[Instance] = []
    left_out = []
    for instance in work.data.by_image[record.id]:
        reason = _why_not(work, instance)
        if reason is None:
            asked.append(instance)
        else:
            left_out.append(instance.left_out(reason))
    answers = _ask(work, record, asked) if asked else []
    kept = [k for k, answer in enumerate(answers) if answer.visible.any()]
    while kept:  # who is seen nowhere once shared pixels have one owner has no label, and hides nobody
        found = label_detections(
            np.stack([answers[k].amodal for k in kept]),
            np.stack([answers[k].visible for k in kept]),
            [1 - _uncertainty(work, answers[k]) for k in kept],
        )
        seen = [k for k, mask in zip(kept, found.seen, strict=True) if mask.any()]
        if len(seen) == len(kept):
            break
        kept = seen
    left_out += [
        instance.left_out("nothing of the object was found in its box, or others have it all")
        for k, instance in enumerate(asked)
        if k not in kept
    ]
    rows = [asdict(entry) for entry in left_out]
    if not kept:
        return {"labels": [], "order": order_entry(record.id, [], [], [], []), "doubt": [], "left_out": rows}
    unsure = [] if work.calibration else [UNCALIBRATED]
    flags = [
        [*given, *unsure, *(["low_confidence"] if doubt > work.low_confidence else [])]
        for given, doubt in zip(found.flags, found.uncertainty.tolist(), strict=True)
    ]
    instances = [asked[k] for k in kept]
    entries = entries_of(replace(found, flags=flags), record.id, instances, found.seen, work.prompt.name)
    return {**entries, "left_out": rows}


def _ask(work: _Work, record: ImageRecord, instances: Sequence[Instance]) -> list[BoxAnswer]:
    image = read_image(image_path(work.images, record.file_name), record.size_hw)
    boxes = [box for i in instances if (box := _box(work, i)) is not None]
    return work.prompt.segment(
        image, boxes, [work.data.category_names[i.category_id] for i in instances], whole=work.whole
    )


def _uncertainty(work: _Work, answer: BoxAnswer) -> float:
    return answer.uncertainty if work.calibration is None else work.calibration.error(answer.uncertainty)


def _require_known_objects(folder: Path) -> None:
    record = finished_run(folder, "synth")
    recipe = record["settings"]["synthesis"].get("recipe")
    if recipe != RECIPE:
        raise DataError(
            f"{folder}: expected objects of known shape to calibrate on (`amodalpl synth --recipe {RECIPE}`), got the "
            f"recipe {recipe}"
        )


def _calibrated(work: _Work, folder: Path, stored: Path, progress: Progress) -> tuple[Calibration, int]:
    """Hold what a model says of itself against the truth; return the map from one to the other, and on how many.

    Raises:
        DataError: too few objects of classes that the model knows.
    """
    if stored.exists():  # of a run that was interrupted
        pairs = read_json(stored, "what a calibration stands on")
        return fit_labels(pairs["said"], pairs["error"]), len(pairs["error"])
    known = replace(work, data=read_annotations(folder / TRUTH, boxes=True), images=folder / IMAGES)
    said, error = [], []
    with progress.task("calibrating", len(known.data.images)) as advance:
        for record in known.data.images:
            asked = [i for i in known.data.by_image[record.id] if _why_not(known, i) is None and i.amodal]
            for instance, answer in zip(asked, _ask(known, record, asked) if asked else [], strict=True):
                truth = rle.decode(instance.amodal) if instance.amodal else answer.amodal
                union = count_px(truth | answer.amodal)
                said.append(answer.uncertainty)
                error.append(1 - count_px(truth & answer.amodal) / max(union, 1))
            advance(1)
    if len(error) < LEAST_KNOWN:
        raise DataError(
            f"{folder}: expected {LEAST_KNOWN} objects to calibrate on, of classes that the model knows, got "
            f"{len(error)}"
        )
    write_json(stored, {"said": said, "error": error})
    return fit_labels(said, error), len(error)
