"""What a detector learns from and what it is scored against, read from files of any format and divided."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...data.doubtful import has_only_boxes
from ...data.exif import any_turned
from ...data.label_folder import DOUBT, STATS
from ...data.read import read_annotations
from ...data.records import AnnotationSet
from ...errors import DataError, SettingsError
from ...io.files import hash_file
from ...metrics.detection import ONLY_BOXES, ONLY_VISIBLE
from ...runtime.distributed import Ranks
from ...runtime.progress import Progress
from ...runtime.stage_run import input_hashes
from ...runtime.usable_photos import require_photos, usable_photos
from ...settings import DetectorSettings, PipelineSettings
from .. import model_table
from . import coco_export
from .filled_boxes import filled_boxes, with_whole_boxes
from .label_notes import LabelNotes, read_label_notes
from .seen_size import require_seen


@dataclass(frozen=True)
class TrainingData:
    """What is learnt from and what is scored against.

    Attributes:
        labels: file of the labels.
        train: COCO to learn from.
        val: COCO to be scored against.
        held_back: `val` is a part of the labels.
        images: photos of `train`.
        val_images: photos of `val`.
        turned: some photos fit their masks only when turned as EXIF says.
        inputs: hashes, by what they are of.
    """

    labels: Path
    train: coco_export.Truth
    val: coco_export.Truth
    held_back: bool
    images: Path
    val_images: Path
    turned: bool
    inputs: dict[str, str]


def read_training_data(
    labels: Path,
    images: Path,
    val: Path | None,
    val_images: Path | None,
    whole_boxes: Path | None,
    settings: PipelineSettings,
    progress: Progress,
) -> TrainingData:
    """Read and divide labels and validation, and refuse what cannot be used.

    Args:
        labels: file of the labels.
        images: folder of their photos.
        val: file to score against; None holds back a part of the labels.
        val_images: folder of its photos; None means `images`.
        whole_boxes: file of labels whose whole boxes are taken, for models that learn from boxes.
        settings: `seed`, `detector`, and how many photos may be left out.
        progress: where it is said what was left out, and whether classes are told apart.

    Raises:
        DataError: labels, photos or validation cannot be used, or lack what the model needs.
        SettingsError: settings that do not go with each other.
    """
    from_boxes, boxes_of = model_table.learns_from_boxes(settings.detector), settings.detector.boxes_of
    stated = from_boxes and boxes_of == "file"
    annotations = usable_photos(
        read_annotations(labels, boxes=stated),
        images,
        progress,
        settings.left_out_photos,
        with_empty=settings.detector.background_photos,
    )
    learnt = filled_boxes(annotations, boxes_of) if from_boxes else annotations
    if whole_boxes:
        learnt = _with_whole_boxes(learnt, whole_boxes, settings.detector)
    truth = read_annotations(val) if val else None
    if truth and not truth.instances:
        raise DataError(f"{val}: expected objects to score against, got none in {len(truth.images)} photos")
    folder = val_images or images
    wanted = model_table.needs(settings.detector)
    notes = read_label_notes(labels, uncertainty="uncertainty" in wanted, doubt="doubt" in wanted)
    model_table.require_needs(settings.detector, learnt, notes)
    train_set, val_set, held_back = _divide(
        annotations,
        learnt,
        truth,
        settings,
        notes,
        same_folder=folder.resolve() == images.resolve(),
        agnostic=_agnostic(annotations, settings.detector, progress),
    )
    for photos, where in ((annotations, images), (truth, folder)):
        for record in photos.images if photos else ():
            require_seen(where / record.file_name, record.size_hw, settings.detector.image_scale)
    if truth:
        require_photos(truth, folder, progress)
        if ONLY_VISIBLE in val_set.coco:
            progress.warn(f"{val}: no whole masks: AP of visible ones is scored, AP of whole masks and boxes is not")
    inputs = input_hashes(annotations, images)
    if whole_boxes:
        inputs["whole boxes"] = hash_file(whole_boxes)
    if notes.doubt:
        inputs["doubt"] = hash_file(labels.parent / DOUBT)
    if settings.detector.background_photos and (stats := labels.with_name(STATS)).is_file():
        inputs["statistics"] = hash_file(stats)
    if truth:
        inputs |= {f"validation {name}": value for name, value in input_hashes(truth, folder).items()}
    turned = any_turned(annotations, images) or bool(truth and any_turned(truth, folder))
    return TrainingData(labels, train_set, val_set, held_back, images, folder, turned, inputs)


def _with_whole_boxes(learnt: AnnotationSet, whole_boxes: Path, settings: DetectorSettings) -> AnnotationSet:
    if not model_table.learns_from_boxes(settings):
        raise SettingsError(
            f"--whole-boxes: expected a model that learns from boxes, got detector.model={settings.model}; --list has "
            "them"
        )
    return with_whole_boxes(learnt, read_annotations(whole_boxes))


def _only_visible_is_known(truth: AnnotationSet, learnt: AnnotationSet, settings: DetectorSettings) -> bool:
    """Tell whether the visible masks of a truth, which has no others, are all that can be scored.

    They can be where the model predicts visible masks, or learns from labels that have no whole ones.
    """
    predicts_visible = "visible" in model_table.row(settings).predicts
    learns_visible = not any(instance.amodal for instance in learnt.instances)
    return not any(i.amodal for i in truth.instances) and (predicts_visible or learns_visible)


def _agnostic(annotations: AnnotationSet, settings: DetectorSettings, progress: Progress) -> bool:
    if settings.class_agnostic != "auto":
        return settings.class_agnostic
    agnostic, why = coco_export.choose_agnostic(annotations)
    if Ranks.of_this_process().is_first:
        progress.note(why)
    return agnostic


def _divide(
    annotations: AnnotationSet,
    learnt: AnnotationSet,
    truth: AnnotationSet | None,
    settings: PipelineSettings,
    notes: LabelNotes,
    *,
    same_folder: bool,
    agnostic: bool,
) -> tuple[coco_export.Truth, coco_export.Truth, bool]:
    """Return what to train on, what to score against, and whether that is a part of the labels held back.

    `learnt` is the labels as the model looks at them.
    """
    wanted = coco_export.categories(annotations, agnostic)
    background = coco_export.background_photos(annotations) if settings.detector.background_photos else set()
    if truth is None:
        only_boxes = learnt is not annotations and has_only_boxes(annotations)
        known = learnt if only_boxes else annotations
        learn, hold = coco_export.split_images(known, settings.detector.validation_fraction, settings.seed, background)
        val_set = coco_export.to_coco(known, wanted, images=hold, background=background, with_visible=not only_boxes)
        if only_boxes:
            val_set.coco[ONLY_BOXES] = True
        elsewhere, reason = len(annotations.images) - len(learn) - len(hold), "image without instances"
    else:
        only_visible = _only_visible_is_known(truth, learnt, settings.detector)
        val_set = coco_export.to_coco(
            truth, wanted, amodal_only=not only_visible, keep_empty=True, with_visible=not only_visible
        )
        if only_visible:
            val_set.coco[ONLY_VISIBLE] = True
        scored = {i.file_name for i in truth.images} if same_folder else set()
        learn = {i.id for i in annotations.images if i.file_name not in scored}
        elsewhere, reason = len(annotations.images) - len(learn), "image is in the validation"
    visible = model_table.needs_visible(settings.detector)
    train_set = coco_export.to_coco(
        learnt,
        wanted,
        images=learn,
        background=background,
        with_visible=visible,
        needs_visible=visible,
        notes=notes,
    )
    if elsewhere:
        train_set.left_out[reason] = elsewhere
    for purpose, part, source in (
        ("train on", train_set, learnt),
        ("score against", val_set, truth or annotations),
    ):
        if not part.coco["annotations"]:
            names = ", ".join(category["name"] for category in wanted[:5])
            advice = f"; labels are of {names}: detector.class_agnostic=true takes all classes for one"
            raise DataError(
                f"{source.path}: expected instances to {purpose}, found none that can be used (left out: "
                f"{part.left_out or 'nothing'}){advice if coco_export.CLASS_UNKNOWN in part.left_out else ''}"
            )
    return train_set, val_set, truth is None
