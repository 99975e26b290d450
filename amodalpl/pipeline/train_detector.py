"""`amodalpl train-detector`: labels -> a detector that outputs amodal masks, with its scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..data.doubtful import has_only_boxes
from ..data.exif import any_turned
from ..data.label_folder import STATS
from ..data.read import read_annotations
from ..data.records import AnnotationSet
from ..detector import config as configs
from ..detector import label_codebook, model_table, ops, pictures, require_mmdetection, weights
from ..detector.base_configs.backbones import Norm
from ..detector.data import coco_export
from ..detector.data.filled_boxes import filled_boxes, with_whole_boxes
from ..detector.data.label_notes import DOUBT_FILE, LabelNotes, read_label_notes
from ..errors import CheckpointError, DataError, OutputError, SettingsError
from ..io.files import hash_file, read_json, write_json, write_whole
from ..masks import rle
from ..metrics.detection import IOU_TYPES, ONLY_BOXES, IouType, coco_scores, known_iou_type, protocol
from ..report import sanity_checks
from ..report.detector_page import REPORT_FILE, write_detector_page
from ..runtime.distributed import Ranks, join_processes, pick_device
from ..runtime.next_command import argument, beside
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import StageRun, finished_run, input_hashes
from ..runtime.summary import Summary
from ..runtime.usable_photos import require_photos, usable_photos
from ..settings import DetectorSettings, PipelineSettings
from .stage_table import STAGES

if TYPE_CHECKING:
    from ..detector.stock_config import StockModel

ROW = STAGES["train-detector"]
WEIGHTS, CONFIG, METRICS, DETECTIONS = "weights.pth", "mmdet_config.py", "metrics.json", "detections.json"
TRAIN, VAL = "train.json", "val.json"
CURVES, SHEET = "curves.png", "detections.png"
_NEEDED = {"scores", "weights", "val_images", "held_back", "curve"}  # of the stored scores


@dataclass(frozen=True)
class _Data:
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


def train_detector(
    labels: Path,
    images: Path,
    out: Path,
    settings: PipelineSettings,
    *,
    val: Path | None = None,
    val_images: Path | None = None,
    init: str | None = None,
    mmdet_config: str | None = None,
    whole_boxes: Path | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Summary:
    """Train a detector on a label file and score it with COCO's twelve numbers on masks and boxes.

    Args:
        labels: `pseudo_amodal.json`, or any supported file; amodal masks are learnt where it has them, else modal ones.
        images: folder of its photos.
        out: output folder; an interrupted run in it is continued.
        settings: the sections `seed` and `detector` are used.
        val: annotations with amodal masks to score against; its photos are taken out of training. None holds back
            `detector.validation_fraction` of the label file.
        val_images: folder of their photos; None means `images`.
        init: start weights: a file (of a backbone or a whole detector), an earlier output folder, or "none" for random
            ones. None downloads ResNet-50's ImageNet weights.
        mmdet_config: train the model of this config of MMDetection, a file or a name within its package.
        whole_boxes: an earlier label file of the same annotation ids. For models that learn from boxes: objects whose
            visible box alone is known get the whole box of their label.
        device: auto, cpu or cuda.
        progress: where steps are reported.

    Raises:
        MissingPackageError: mmdet is not installed.
        DataError: labels, photos or validation cannot be used, or lack what the model needs; or the model of
            `mmdet_config` cannot be trained on them.
        CheckpointError: the start weights cannot be used.
        OutputError: the folder belongs to another run.
        SettingsError: settings that do not go with each other.
    """
    arguments = ROW.arguments(
        labels=labels,
        images=images,
        val=val,
        val_images=val_images,
        init=init,
        mmdet_config=mmdet_config,
        whole_boxes=whole_boxes,
    )
    require_detector()
    from ..detector import training

    where = pick_device(device)
    settings, stock = with_model_of(mmdet_config, settings)
    wanted = settings.detector
    _check_precision(wanted, where)
    data = _read(labels, images, val, val_images, whole_boxes, settings, progress)
    inputs = {**data.inputs, "init": start_identity(init, wanted)}
    if stock is not None:
        inputs["mmdet config"] = stock.identity
    join_processes(where)
    first = Ranks.of_this_process().is_first
    stage = training.first_then_others(
        partial(
            StageRun.open, out, ROW.name, ROW.settings_of(settings), inputs, settings.seed, arguments,
            ("detector.steps", training.CHECKPOINT),
        )
    )  # fmt: skip
    if stage.done:
        return _summary(out, labels, images, wanted, stage.counts, _stored(out)["scores"])
    with stage.released_on_bad_input():
        model, config, started = _prepare(data, out, settings, init, stock, first, progress if first else SILENT)
    curve = _learn(model, config, out, settings, where, progress if first else SILENT)
    counts = {
        "train": data.train.counts,
        "validation": data.val.counts,
        "model": config["model"]["type"] if stock else wanted.model,
        "classes": len(data.train.class_names),
        "steps": wanted.steps,
        "start": started,
        "operations": ops.backend(),
        "device": where.type,
    }
    if not first:
        return Summary(ROW.name, out, counts)
    scores = _finish(model, config, data, out, wanted, curve, counts, where, progress)
    written = [WEIGHTS, CONFIG, METRICS, DETECTIONS, TRAIN, VAL, CURVES, SHEET, REPORT_FILE]
    stage.finish(counts, [*written, label_codebook.SHAPES] if model_table.row(wanted).shapes else written)
    _forget_checkpoint(out)
    return _summary(out, labels, images, wanted, counts, scores)


def _read(
    labels: Path,
    images: Path,
    val: Path | None,
    val_images: Path | None,
    whole_boxes: Path | None,
    settings: PipelineSettings,
    progress: Progress,
) -> _Data:
    """Read and divide everything, and refuse what cannot be used, before anything is written."""
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
    if truth:
        require_photos(truth, folder, progress)
    inputs = input_hashes(annotations, images)
    if whole_boxes:
        inputs["whole boxes"] = hash_file(whole_boxes)
    if notes.doubt:
        inputs["doubt"] = hash_file(labels.parent / DOUBT_FILE)
    if settings.detector.background_photos and (stats := labels.with_name(STATS)).is_file():
        inputs["statistics"] = hash_file(stats)
    if truth:
        inputs |= {f"validation {name}": value for name, value in input_hashes(truth, folder).items()}
    turned = any_turned(annotations, images) or bool(truth and any_turned(truth, folder))
    return _Data(labels, train_set, val_set, held_back, images, folder, turned, inputs)


def _with_whole_boxes(learnt: AnnotationSet, whole_boxes: Path, settings: DetectorSettings) -> AnnotationSet:
    if not model_table.learns_from_boxes(settings):
        raise SettingsError(
            f"--whole-boxes: expected a model that learns from boxes, got detector.model={settings.model}; --list has "
            "them"
        )
    return with_whole_boxes(learnt, read_annotations(whole_boxes))


def _prepare(
    data: _Data,
    out: Path,
    settings: PipelineSettings,
    init: str | None,
    stock: StockModel | None,
    first: bool,
    progress: Progress,
) -> tuple[Any, dict[str, Any], str]:
    """Return a network with its start weights, its config, and what it starts from.

    The data, the config and, for models that want it, the codebook are written to the output folder.
    """
    from ..detector import training

    wanted = settings.detector
    shapes_wanted = model_table.row(wanted).shapes
    state = _start_state(init, wanted)
    class_names = data.train.class_names
    optimizer = None
    if stock is None:
        norm: Norm = "BN" if state is not None and weights.is_batch_normalised(state) else "GN"
        network = model_table.model_config(wanted, len(class_names), norm)
    else:
        network, optimizer = _stock_network(stock, wanted, len(class_names), state is None, progress)
    config = configs.full_config(
        wanted,
        class_names,
        model=network,
        train=out / TRAIN,
        train_images=data.images,
        val=out / VAL,
        val_images=data.val_images,
        weights=out / WEIGHTS,
        seed=settings.seed,
        turned=data.turned,
        optimizer=optimizer,
    )
    model = training.build(config["model"], settings.seed, str(stock.path) if stock else wanted.model)
    if stock is not None:
        _rehearse(model, stock, len(class_names))
    started = "random" if state is None else weights.load_start(model, state, str(init or weights.RESNET50_URL))
    if first:
        for warning in _of_labels(data, wanted):
            progress.warn(warning)
        write_json(out / TRAIN, data.train.coco)
        write_json(out / VAL, data.val.coco)
        title = network["type"] if stock else model_table.row(wanted).title
        text = configs.as_python(
            config, f"{title} on {data.labels}; written by amodalpl {ROW.name}. Start weights: {started}."
        )
        write_whole(out / CONFIG, lambda part: part.write_text(text, encoding="utf-8"))
        if shapes_wanted:
            label_codebook.write_codebook(
                out / label_codebook.SHAPES, data.train.coco, wanted.vrsp, seed=settings.seed, progress=progress
            )
    training.wait_for_all()
    if shapes_wanted:
        label_codebook.load_codebook(out / label_codebook.SHAPES, model.roi_head.mask_head.codebook)
    return model, config, started


def with_model_of(mmdet_config: str | None, settings: PipelineSettings) -> tuple[PipelineSettings, StockModel | None]:
    """Return settings that say where the model is from, and what is taken of a config of MMDetection.

    Raises:
        SettingsError: a config of MMDetection and one of our models are asked for, or its optimiser without it.
        DataError: there is no such config, or its model cannot be ours.
    """
    wanted = settings.detector
    if mmdet_config is None:
        if wanted.model == "mmdet-config" or wanted.optimizer == "config":
            name = "model=mmdet-config" if wanted.model == "mmdet-config" else "optimizer=config"
            raise SettingsError(f"detector.{name}: expected --mmdet-config FILE, got none")
        return settings, None
    from ..detector.stock_config import read_stock_model

    if wanted.model not in ("mask-rcnn", "mmdet-config"):  # the first is what settings say when nothing is asked for
        raise SettingsError(
            f"--mmdet-config {mmdet_config}: expected it without --model, got detector.model={wanted.model}; give one"
        )
    stock = read_stock_model(mmdet_config)
    if wanted.optimizer == "config" and stock.optimizer is None:
        raise SettingsError("detector.optimizer=config: expected a config with an optim_wrapper, got one without")
    return settings.model_copy(update={"detector": wanted.model_copy(update={"model": "mmdet-config"})}), stock


def _stock_network(
    stock: StockModel, settings: DetectorSettings, classes: int, from_nothing: bool, progress: Progress
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the network and the optimiser of a config of MMDetection, for our classes and batch."""
    from ..detector import stock_config

    network = stock_config.with_classes(stock.model, classes)
    network = stock_config.with_score_threshold(network, settings.score_threshold)
    if from_nothing:
        network = stock_config.started_anew(network)
    if stock.start_weights:
        names = ", ".join(name.rpartition("/")[2] for name in stock.start_weights)
        progress.note(f"{stock.path.name}: start weights that it names are not loaded, --init decides: {names}")
    if stock.optimizer and settings.optimizer != "config":
        own = stock.optimizer["optimizer"]
        progress.note(
            f"{stock.path.name}: learnt by {settings.optimizer} at {settings.learning_rate:g}; its own is "
            f"{own.get('type')} at {own.get('lr'):g}, which --set detector.optimizer=config takes"
        )
    return network, stock.optimizer_for(settings.batch_size * Ranks.of_this_process().world)


def _rehearse(model: Any, stock: StockModel, classes: int) -> None:
    from ..detector.rehearsal import rehearse

    rehearse(model, str(stock.path), classes)


def _learn(
    model: torch.nn.Module,
    config: dict[str, Any],
    out: Path,
    settings: PipelineSettings,
    device: torch.device,
    progress: Progress,
) -> list[dict[str, float]]:
    from ..detector import training

    return training.train(model, config, out, settings.detector, seed=settings.seed, device=device, progress=progress)


def _finish(
    model: torch.nn.Module,
    config: dict[str, Any],
    data: _Data,
    out: Path,
    settings: DetectorSettings,
    curve: list[dict[str, float]],
    counts: dict[str, Any],
    device: torch.device,
    progress: Progress,
) -> dict[str, Any]:
    """Write weights, detections, scores, pictures and the page; add to `counts`; return the scores."""
    from ..detector import inference, training

    training.save_weights(out / WEIGHTS, model, data.train.class_names)
    pictures.write_curves(out / CURVES, curve)
    found = _detect(model, config, data.val.coco, settings, device, progress)
    inference.write_results(out / DETECTIONS, found)
    scores = score_detections(data.val.coco, found, held_back=data.held_back)
    pictures.write_contact_sheet(out / SHEET, data.val_images, data.val.coco, found)
    write_json(
        out / METRICS,
        {
            "scores": scores,
            "held_back": data.held_back,
            "val_images": str(data.val_images.resolve()),
            "weights": hash_file(out / WEIGHTS),
            "curve": curve,
        },
    )
    counts["detections"] = len(found)
    known = protocol(known_iou_type(data.val.coco), held_back=data.held_back)
    precision = scores[known]["detector"]["AP"]
    warnings = [
        *_of_labels(data, settings),
        *sanity_checks.of_training([point["loss"] for point in curve if "loss" in point]),
        *sanity_checks.of_detector(precision or 0.0, data.val.coco, found),
    ]
    if warnings:
        counts["warnings"] = warnings
    write_detector_page(
        out, data.val_images, data.val.coco, found, scores, curve, counts, held_back=data.held_back, progress=progress
    )
    return scores


def _of_labels(data: _Data, settings: DetectorSettings) -> list[str]:
    """Return warnings of labels from which a model cannot learn what it is for."""
    return sanity_checks.of_overlaps(data.train.coco) if "both boxes" in model_table.needs(settings) else []


def _forget_checkpoint(out: Path) -> None:
    from ..detector import training

    (out / training.CHECKPOINT).unlink(missing_ok=True)


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
    record = finished_run(folder, ROW.name)
    require_detector()
    from ..detector import training
    from ..detector.stock_config import read_written_config

    where = pick_device(device)
    stored = _stored(folder)
    if hash_file(folder / WEIGHTS) != stored["weights"]:
        raise CheckpointError(f"{folder / WEIGHTS}: is not the file that training wrote; train again to replace it")
    wanted = DetectorSettings.model_validate(record["settings"]["detector"])
    truth = read_json(folder / VAL, "the validation annotations")
    images = Path(stored["val_images"])
    require_photos(read_annotations(folder / VAL), images, progress)
    network = read_written_config(folder / CONFIG)["model"]
    config = configs.full_config(
        wanted,
        [c["name"] for c in truth["categories"]],
        model=network,
        train=folder / TRAIN,
        train_images=images,
        val=folder / VAL,
        val_images=images,
        weights=folder / WEIGHTS,
        seed=record["seed"],
        turned=any_turned(read_annotations(folder / VAL), images),
    )
    model = training.build(config["model"], record["seed"])
    training.load_weights(folder / WEIGHTS, model)
    found = _detect(model, config, truth, wanted, where, progress)
    counts = {
        "images": len(truth["images"]),
        "instances": len(truth["annotations"]),
        "detections": len(found),
        "device": where.type,
    }
    held_back = stored["held_back"]
    scores = score_detections(truth, found, held_back=held_back)
    write_detector_page(
        folder, images, truth, found, scores, stored["curve"], record["counts"], held_back=held_back, progress=progress
    )
    return Summary("evaluate detector", None, counts, scores, _files(folder))


def require_detector() -> None:
    """Refuse to go on without MMDetection, which is imported only when it is used.

    Raises:
        MissingPackageError: it does not import.
    """
    require_mmdetection(ROW.name)


def _check_precision(settings: DetectorSettings, device: torch.device) -> None:
    if settings.precision != "fp32" and device.type != "cuda":
        raise SettingsError(f"detector.precision: expected fp32 on the CPU, got {settings.precision!r}")


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
        val_set = coco_export.to_coco(truth, wanted, amodal_only=True, keep_empty=True, with_visible=True)
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
            raise DataError(
                f"{source.path}: expected instances to {purpose}, found none that can be used "
                f"(left out: {part.left_out or 'nothing'})"
            )
    return train_set, val_set, truth is None


def start_identity(init: str | None, settings: DetectorSettings) -> str:
    """Return what identifies the start weights: a file's hash, "none", or where they are downloaded from.

    Raises:
        CheckpointError: there are none for this backbone, or no such file.
    """
    if init == "none":
        return "none"
    if init is not None:
        path = _start_file(init)
        if not path.is_file():
            raise CheckpointError(f"{path}: expected a checkpoint, found no such file; give --init FILE|none")
        return hash_file(path)
    if settings.model == "mmdet-config":
        raise CheckpointError(
            "--mmdet-config: expected --init FILE, DIR or none, got nothing; weights that it names are not loaded"
        )
    if settings.backbone != "resnet50":
        raise CheckpointError(
            f"detector.backbone={settings.backbone} has no start weights to download: "
            "give a file with --init FILE, or start from random weights with --init none"
        )
    return weights.RESNET50_URL


def _start_file(init: str) -> Path:
    """Return the file of start weights, of a folder of this stage the one that it wrote.

    Raises:
        OutputError: a folder of something else, or of a training that has not finished.
        DataError: a folder without a run.
    """
    path = Path(init)
    if not path.is_dir():
        return path
    finished_run(path, ROW.name)
    return path / WEIGHTS


def _start_state(init: str | None, settings: DetectorSettings) -> weights.State | None:
    if init == "none":
        return None
    return weights.download_resnet50() if init is None else weights.read_state(_start_file(init))


def _detect(
    model: torch.nn.Module,
    config: dict[str, Any],
    truth: dict[str, Any],
    settings: DetectorSettings,
    device: torch.device,
    progress: Progress,
) -> list[dict[str, Any]]:
    from ..detector import inference

    return inference.detect(
        model,
        config["val_dataloader"]["dataset"],
        [c["id"] for c in truth["categories"]],
        workers=settings.workers,
        device=device,
        progress=progress,
    )


def score_detections(
    truth: dict[str, Any], found: list[dict[str, Any]], *, held_back: bool
) -> dict[str, dict[str, Any]]:
    """Score masks and boxes, and visible masks where there are any; boxes alone where no mask is known.

    Args:
        truth: COCO with whole masks, and `visible_mask` beside them where it is known; or `ONLY_BOXES`.
        found: COCO results of whole masks, and `visible_mask` beside them where the model predicts it.
        held_back: the truth is a part of the labels.

    Returns:
        Protocol -> row -> metric -> value.
    """
    kinds: tuple[IouType, ...] = ("bbox",) if known_iou_type(truth) == "bbox" else IOU_TYPES
    scores = {protocol(kind, held_back=held_back): {"detector": coco_scores(truth, found, kind)} for kind in kinds}
    if "segm" in kinds and any("visible_mask" in detection for detection in found):
        seen = {**truth, "annotations": [_visible(entry) for entry in truth["annotations"]]}
        of_visible = coco_scores(seen, [_visible(detection) for detection in found], "segm")
        scores[protocol("segm", masks="visible", held_back=held_back)] = {"detector": of_visible}
    return scores


def _visible(entry: dict[str, Any]) -> dict[str, Any]:
    """Put the visible mask in the place of the whole one; a truth without it is a region in which anything may be."""
    if "visible_mask" not in entry:
        return {**entry, "iscrowd": 1}
    mask = entry["visible_mask"]
    return {**entry, "segmentation": mask, "area": rle.area_px(mask), "bbox": list(rle.box_xywh(mask))}


def _stored(folder: Path) -> dict[str, Any]:
    stored = read_json(folder / METRICS, "the scores of a finished detector")
    if not isinstance(stored, dict) or not _NEEDED <= set(stored):
        raise OutputError(f"{folder / METRICS}: expected the scores of a finished `amodalpl {ROW.name}`; train again")
    return stored


def _files(out: Path) -> dict[str, Path]:
    return {
        "weights": out / WEIGHTS,
        "mmdet config": out / CONFIG,
        "metrics": out / METRICS,
        "detections": out / DETECTIONS,
        "loss curves": out / CURVES,
        "pictures": out / SHEET,
        "report": out / REPORT_FILE,
    }


def _summary(
    out: Path, labels: Path, images: Path, settings: DetectorSettings, counts: dict[str, Any], scores: dict[str, Any]
) -> Summary:
    """Return what was made; boxes are labelled by what learnt from boxes, other detectors go on to new photos."""
    then = f"amodalpl predict {argument(images)} --detector {argument(out)} --out {beside(out, 'detector', 'found')}"
    if model_table.learns_from_boxes(settings):
        then = f"amodalpl pseudolabel {argument(labels)} {argument(images)} --detector {argument(out)} "
        then += f"--out {beside(out, 'detector', 'box_labels')}"
    return Summary(
        ROW.name,
        out,
        counts,
        scores,
        _files(out),
        next=f"open {argument(out / REPORT_FILE)}",
        then=then,
    )
