"""`amodalpl train-detector`: labels -> a Mask R-CNN that outputs amodal masks, with its scores."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ..data.exif import any_turned
from ..data.read import read_annotations
from ..data.records import AnnotationSet
from ..detector import config as configs
from ..detector import data, ignoring, ops, pictures, weights
from ..errors import CheckpointError, DataError, MissingPackageError, OutputError, SettingsError
from ..io.files import hash_file, read_json, write_json, write_whole
from ..metrics.detection import coco_scores, protocol
from ..report import sanity_checks
from ..report.detector import REPORT_FILE, write_detector_page
from ..runtime.distributed import Ranks, join_processes, pick_device
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import StageRun, finished_run, input_hashes
from ..runtime.summary import Summary
from ..runtime.usable_photos import require_photos, usable_photos
from ..settings import DetectorSettings, PipelineSettings
from .stage import STAGES

STAGE = "train-detector"
WEIGHTS, CONFIG, METRICS, DETECTIONS = "weights.pth", "mmdet_config.py", "metrics.json", "detections.json"
TRAIN, VAL = "train.json", "val.json"
CURVES, SHEET = "curves.png", "detections.png"
_NEEDED = {"scores", "weights", "norm", "val_images", "held_back", "curve"}  # of the stored scores


def train_detector(
    labels: Path,
    images: Path,
    out: Path,
    settings: PipelineSettings,
    *,
    val: Path | None = None,
    val_images: Path | None = None,
    init: str | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Summary:
    """Train Mask R-CNN on a label file and score it with COCO's twelve numbers on masks and boxes.

    Args:
        labels: `pseudo_amodal.json`, or any supported file; amodal masks are learnt where it has them, else modal ones.
        images: folder of its photos.
        out: output folder; an interrupted run in it is continued.
        settings: the sections `seed` and `detector` are used.
        val: annotations with amodal masks to score against; its photos are taken out of training. None holds back
            `detector.validation_fraction` of the label file.
        val_images: folder of their photos; None means `images`.
        init: start weights: a file (of a backbone or a whole detector), or "none" for random ones. None downloads
            ResNet-50's ImageNet weights.
        device: auto, cpu or cuda.
        progress: where steps are reported.

    Raises:
        MissingPackageError: mmdet is not installed.
        DataError: labels, photos or validation cannot be used.
        CheckpointError: the start weights cannot be used.
        OutputError: the folder belongs to another run.
    """
    arguments = STAGES[STAGE].arguments(locals())
    run = require_detector()
    where = pick_device(device)
    wanted = settings.detector
    _check_precision(wanted, where)
    annotations = usable_photos(read_annotations(labels), images, progress, settings.left_out_photos)
    truth = read_annotations(val) if val else None
    folder = val_images or images
    train_set, val_set, held_back = _divide(
        annotations, truth, settings, same_folder=folder.resolve() == images.resolve()
    )
    if truth:
        require_photos(truth, folder, progress)
    inputs = {**input_hashes(annotations, images), "init": start_identity(init, wanted)}
    if truth:
        inputs |= {f"validation {name}": value for name, value in input_hashes(truth, folder).items()}
    join_processes(where)
    main = Ranks.of_this_process().is_first
    claim = (out, STAGE, STAGES[STAGE].settings_of(settings), inputs, settings.seed, arguments)
    claimed = StageRun.open(*claim) if main else None
    run.wait_for_all()
    stage = claimed or StageRun.open(*claim)  # the others find what the first one wrote
    if stage.done:
        return _summary(out, stage.counts, _stored(out)["scores"])
    with stage.released_on_bad_input():
        state = _start_state(init, wanted)
    norm: configs.Norm = "BN" if state is not None and weights.is_batch_normalised(state) else "GN"
    config = configs.full_config(
        wanted,
        train_set.class_names,
        train=out / TRAIN,
        train_images=images,
        val=out / VAL,
        val_images=folder,
        weights=out / WEIGHTS,
        norm=norm,
        seed=settings.seed,
        turned=any_turned(annotations, images) or bool(truth and any_turned(truth, folder)),
    )
    model = run.build(config["model"], settings.seed)
    ignoring.leave_out_ignored(model)
    with stage.released_on_bad_input():
        source = str(init or weights.RESNET50_URL)
        started = weights.load_start(model, state, source) if state is not None else "random"
    if main:
        write_json(out / TRAIN, train_set.coco)
        write_json(out / VAL, val_set.coco)
        text = configs.as_python(
            config, f"Mask R-CNN on {labels}; written by amodalpl {STAGE}. Start weights: {started}."
        )
        write_whole(out / CONFIG, lambda part: part.write_text(text, encoding="utf-8"))
    run.wait_for_all()
    weights_file = out / WEIGHTS
    shown = progress if main else SILENT
    curve = run.train(model, config, out, wanted, seed=settings.seed, device=where, progress=shown)
    counts = {
        "train": train_set.counts,
        "validation": val_set.counts,
        "classes": len(train_set.class_names),
        "steps": wanted.steps,
        "start": started,
        "operations": ops.backend(),
        "device": where.type,
    }
    if not main:
        return Summary(STAGE, out, counts)
    run.save_weights(weights_file, model, train_set.class_names)
    pictures.write_curves(out / CURVES, curve)
    found = _detect(run, model, config, val_set.coco, wanted, where, progress)
    run.write_results(out / DETECTIONS, found)
    scores = _scores(val_set.coco, found, held_back)
    pictures.write_contact_sheet(out / SHEET, folder, val_set.coco, found)
    write_json(
        out / METRICS,
        {
            "scores": scores,
            "held_back": held_back,
            "norm": norm,
            "val_images": str(folder.resolve()),
            "weights": hash_file(weights_file),
            "curve": curve,
        },
    )
    counts["detections"] = len(found)
    precision = scores[protocol("segm", held_back=held_back)]["detector"]["AP"]
    warnings = [
        *sanity_checks.of_training([point["loss"] for point in curve if "loss" in point]),
        *sanity_checks.of_detector(precision or 0.0, val_set.coco, found),
    ]
    if warnings:
        counts["warnings"] = warnings
    write_detector_page(out, folder, val_set.coco, found, scores, curve, counts, held_back=held_back, progress=progress)
    stage.finish(counts, [WEIGHTS, CONFIG, METRICS, DETECTIONS, TRAIN, VAL, CURVES, SHEET, REPORT_FILE])
    (out / run.CHECKPOINT).unlink(missing_ok=True)
    return _summary(out, counts, scores)


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
    record = finished_run(folder, STAGE)
    run = require_detector()
    where = pick_device(device)
    stored = _stored(folder)
    if hash_file(folder / WEIGHTS) != stored["weights"]:
        raise CheckpointError(f"{folder / WEIGHTS}: is not the file that training wrote; train again to replace it")
    wanted = DetectorSettings.model_validate(record["settings"]["detector"])
    truth = read_json(folder / VAL, "the validation annotations")
    images = Path(stored["val_images"])
    require_photos(read_annotations(folder / VAL), images, progress)
    config = configs.full_config(
        wanted,
        [c["name"] for c in truth["categories"]],
        train=folder / TRAIN,
        train_images=images,
        val=folder / VAL,
        val_images=images,
        weights=folder / WEIGHTS,
        norm=stored["norm"],
        seed=record["seed"],
        turned=any_turned(read_annotations(folder / VAL), images),
    )
    model = run.build(config["model"], record["seed"])
    run.load_weights(folder / WEIGHTS, model)
    found = _detect(run, model, config, truth, wanted, where, progress)
    counts = {
        "images": len(truth["images"]),
        "instances": len(truth["annotations"]),
        "detections": len(found),
        "device": where.type,
    }
    held_back = stored["held_back"]
    scores = _scores(truth, found, held_back)
    write_detector_page(
        folder, images, truth, found, scores, stored["curve"], record["counts"], held_back=held_back, progress=progress
    )
    return Summary("evaluate detector", None, counts, scores, _files(folder))


def require_detector() -> ModuleType:
    """Import the part that needs mmdet, only when it is used."""
    try:
        from ..detector import run
    except (ImportError, AssertionError) as error:  # mmdet asserts the versions of its companions
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MissingPackageError(
            f"{STAGE} needs MMDetection, which does not import here ({reason}): pip install 'amodalpl[detector]'"
        ) from None
    return run


def _check_precision(settings: DetectorSettings, device: torch.device) -> None:
    if settings.precision != "fp32" and device.type != "cuda":
        raise SettingsError(f"detector.precision: expected fp32 on the CPU, got {settings.precision!r}")


def _divide(
    annotations: AnnotationSet, truth: AnnotationSet | None, settings: PipelineSettings, *, same_folder: bool
) -> tuple[data.Truth, data.Truth, bool]:
    """Return what to train on, what to score against, and whether that is a part of the labels held back."""
    wanted = data.categories(annotations, settings.detector.class_agnostic)
    if truth is None:
        learn, hold = data.split_images(annotations, settings.detector.validation_fraction, settings.seed)
        val_set = data.to_coco(annotations, wanted, images=hold, with_visible=True)
        elsewhere, reason = len(annotations.images) - len(learn) - len(hold), "image without instances"
    else:
        val_set = data.to_coco(truth, wanted, amodal_only=True, keep_empty=True, with_visible=True)
        scored = {i.file_name for i in truth.images} if same_folder else set()
        learn = {i.id for i in annotations.images if i.file_name not in scored}
        elsewhere, reason = len(annotations.images) - len(learn), "image is in the validation"
    train_set = data.to_coco(annotations, wanted, images=learn)
    if elsewhere:
        train_set.left_out[reason] = elsewhere
    for purpose, part, source in (
        ("train on", train_set, annotations),
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
        path = Path(init)
        if not path.is_file():
            raise CheckpointError(f"{path}: expected a checkpoint, found no such file; give --init FILE|none")
        return hash_file(path)
    if settings.backbone != "resnet50":
        raise CheckpointError(
            f"detector.backbone={settings.backbone} has no start weights to download: "
            "give a file with --init FILE, or start from random weights with --init none"
        )
    return weights.RESNET50_URL


def _start_state(init: str | None, settings: DetectorSettings) -> weights.State | None:
    if init == "none":
        return None
    return weights.download_resnet50() if init is None else weights.read_state(Path(init))


def _detect(
    run: ModuleType,
    model: torch.nn.Module,
    config: dict[str, Any],
    truth: dict[str, Any],
    settings: DetectorSettings,
    device: torch.device,
    progress: Progress,
) -> list[dict[str, Any]]:
    return run.detect(
        model,
        config["val_dataloader"]["dataset"],
        [c["id"] for c in truth["categories"]],
        workers=settings.workers,
        device=device,
        progress=progress,
    )


def _scores(truth: dict[str, Any], found: list[dict[str, Any]], held_back: bool) -> dict[str, Any]:
    return {
        protocol("segm", held_back=held_back): {"detector": coco_scores(truth, found, "segm")},
        protocol("bbox", held_back=held_back): {"detector": coco_scores(truth, found, "bbox")},
    }


def _stored(folder: Path) -> dict[str, Any]:
    stored = read_json(folder / METRICS, "the scores of a finished detector")
    if not isinstance(stored, dict) or not _NEEDED <= set(stored):
        raise OutputError(f"{folder / METRICS}: expected the scores of a finished `amodalpl {STAGE}`; train again")
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


def _summary(out: Path, counts: dict[str, Any], scores: dict[str, Any]) -> Summary:
    return Summary(STAGE, out, counts, scores, _files(out), next=f"amodalpl evaluate detector {out}")
