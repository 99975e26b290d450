"""`amodalpl label-boxes`: boxes and a compositional model in; the label folder of `pseudolabel` out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..data.label_file import label_entry, order_entry
from ..data.label_folder import DOUBT, LABELS, ORDER, STATS
from ..data.read import read_annotations
from ..data.records import AnnotationSet, Box, ImageRecord, Instance
from ..detector.compositional.checkpoint import BACKBONE, CARD, WEIGHTS, BoxSegmenter, read_segmenter
from ..detector.compositional.inference import BoxPrediction, predict_boxes
from ..detector.compositional.whole_objects import amodal_box, visible_box
from ..errors import DataError
from ..io.files import hash_file, write_json
from ..io.images import image_path, read_image
from ..io.json_stream import read_lines, write_lines
from ..labelling.write_files import write_label_files
from ..masks.geometry import count_px
from ..report.page import REPORT_FILE, SHEET_FILE, write_label_page
from ..runtime.distributed import pick_device
from ..runtime.next_command import argument, beside
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import StageRun, finished_run, input_hashes
from ..runtime.summary import Summary
from ..runtime.usable_photos import usable_photos
from ..settings import PipelineSettings
from .stage_table import STAGES

ROW = STAGES["label-boxes"]
COMPLETER = "bayesian-amodal"
PARTS = ".parts"
PHOTOS_PER_PART = 16
_UNCALIBRATED = "uncalibrated"
_PART = "a part of the labels"


@dataclass(frozen=True)
class _Work:
    """What is labelled, and by what.

    Attributes:
        centred: boxes are of whole objects.
    """

    data: AnnotationSet
    images: Path
    segmenter: BoxSegmenter
    centred: bool


def label_boxes(
    annotations: Path,
    images: Path,
    model: Path,
    out: Path,
    settings: PipelineSettings,
    fmt: str = "auto",
    device: str = "auto",
    progress: Progress = SILENT,
) -> Summary:
    """Write masks of the visible and the whole object for every box; a run that was interrupted goes on.

    Who hides whom is not told: an occluder may be anything, and nothing is asked of the other boxes.

    Args:
        annotations: any supported file with boxes or masks, of which only boxes and classes are used.
        images: folder of the photos.
        model: output folder of `amodalpl train-compositional`; classes are matched by name.
        out: output folder: the files of `amodalpl pseudolabel`; the order has no pairs.
        settings: `compositional.centre` says what the boxes are of; `left_out_photos` and `seed` are used.
        fmt: format of the annotations, or "auto".
        device: auto, cpu or cuda.
        progress: shown while it works.

    Returns:
        Counts of labels and of what was left out, by reason.

    Raises:
        DataError: annotations or photos cannot be read, or no box can be labelled.
        CheckpointError: the model is missing or damaged.
        OutputError: the folder belongs to another run, or the model's stage is unfinished.
    """
    arguments = ROW.arguments(annotations=annotations, images=images, model=model, fmt=fmt)
    finished_run(model, "train-compositional")
    segmenter = read_segmenter(model, pick_device(device))
    data = usable_photos(read_annotations(annotations, fmt, boxes=True), images, progress, settings.left_out_photos)
    work = _Work(data, images, segmenter, settings.compositional.centre == "known")
    if not any(_why_not(work, i) is None for i in data.instances):
        raise DataError(
            f"{data.path}: expected a box of a class that {model} knows ({', '.join(segmenter.category_ids)}), got none"
        )
    inputs = {**input_hashes(data, images), **{n: hash_file(model / n) for n in (CARD, WEIGHTS, BACKBONE)}}
    run = StageRun.open(out, ROW.name, ROW.settings_of(settings), inputs, settings.seed, arguments)
    if not run.done:
        parts = _make_parts(work, out, progress)
        counts = _put_together(work, parts, out)
        write_label_page(out, images, None, progress)
        run.finish(counts, [LABELS, ORDER, DOUBT, STATS, REPORT_FILE, SHEET_FILE])
    shutil.rmtree(out / PARTS, ignore_errors=True)
    return Summary(
        ROW.name,
        out,
        run.counts,
        files={"labels": out / LABELS, "report": out / REPORT_FILE, "statistics": out / STATS},
        next=f"open {argument(out / REPORT_FILE)}",
        then=f"amodalpl train-detector {argument(out / LABELS)} {argument(images)} "
        f"--out {beside(out, 'labels', 'detector')}",
    )


def _box(work: _Work, instance: Instance) -> Box | None:
    return amodal_box(instance) if work.centred else visible_box(instance)


def _why_not(work: _Work, instance: Instance) -> str | None:
    """Return why a box gets no label, before anybody looks at the photo."""
    if instance.is_crowd:
        return "crowd region"
    if _box(work, instance) is None:
        return "no box of the whole object" if work.centred else "no box"
    name = work.data.category_names.get(instance.category_id, "")
    return None if name in work.segmenter.category_ids else f"class not learnt: {name}"


def _make_parts(work: _Work, out: Path, progress: Progress) -> list[Path]:
    records = [r for r in work.data.images if work.data.by_image[r.id]]
    folder = out / PARTS
    folder.mkdir(exist_ok=True)
    files = []
    with progress.task("labelling photos", len(records)) as advance:
        for start in range(0, len(records), PHOTOS_PER_PART):
            some = records[start : start + PHOTOS_PER_PART]
            files.append(folder / f"{start:06d}.jsonl")
            if not files[-1].exists():
                write_lines(files[-1], (_label_photo(work, record) for record in some))
            advance(len(some))
    return files


def _label_photo(work: _Work, record: ImageRecord) -> dict[str, Any]:
    """Return the labels of a photo, and a row for each box that got none."""
    asked: list[tuple[Instance, Box]] = []
    left_out = []
    for instance in work.data.by_image[record.id]:
        reason, box = _why_not(work, instance), _box(work, instance)
        if reason is None and box is not None:
            asked.append((instance, box))
        else:
            left_out.append(instance.left_out(reason or "no box"))
    labels = []
    if asked:
        image = read_image(image_path(work.images, record.file_name), record.size_hw)
        classes = [work.segmenter.category_ids[work.data.category_names[i.category_id]] for i, _ in asked]
        found = predict_boxes(
            work.segmenter.model,
            work.segmenter.extractor,
            image,
            [box for _, box in asked],
            classes,
            centred=work.centred,
        )
        for (instance, _), prediction in zip(asked, found, strict=True):
            if prediction.visible.any():
                labels.append(_entry(instance, prediction))
            else:
                left_out.append(instance.left_out("nothing of the object was found in its box"))
    return {
        "labels": labels,
        "order": order_entry(record.id, [label["id"] for label in labels], [], [], []),
        "doubt": [],
        "left_out": [asdict(entry) for entry in left_out],
    }


def _entry(instance: Instance, prediction: BoxPrediction) -> dict[str, Any]:
    x, y, width, height = prediction.amodal_box_xywh
    size_hw = prediction.amodal.shape
    cut = x < 0 or y < 0 or x + width > size_hw[1] or y + height > size_hw[0]
    return label_entry(
        instance,
        prediction.amodal,
        prediction.visible,
        drawn_px=count_px(prediction.visible),
        completer=COMPLETER,
        occluders=[],
        uncertainty=prediction.uncertainty,
        plausibility=None,
        flags=[_UNCALIBRATED, *(["truncated"] if cut else [])],
    )


def _put_together(work: _Work, parts: Sequence[Path], out: Path) -> dict[str, Any]:
    photos = (photo for part in parts for photo in read_lines(part, _PART))
    stats = write_label_files(out, work.data, photos, "none").to_json(work.data)
    stats["counts"]["uncertainty"] = "not calibrated"
    write_json(out / STATS, stats)
    return stats["counts"]
