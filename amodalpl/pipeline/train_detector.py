"""`amodalpl train-detector`: labels -> a detector that outputs amodal masks, with its scores."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..detector import config as configs
from ..detector import label_codebook, model_table, ops, pictures, require_mmdetection, weights
from ..detector.chosen_model import network_of, with_model_of
from ..detector.data.training_data import TrainingData, read_training_data
from ..detector.folder import CONFIG, CURVES, DETECTIONS, METRICS, SHEET, TRAIN, VAL, WEIGHTS, named_files, read_scores
from ..errors import SettingsError
from ..evaluation.detector import as_compared, detect_and_score
from ..io.files import hash_file, write_json, write_whole
from ..metrics.detection import first_protocol
from ..report import sanity_checks
from ..report.detector_page import REPORT_FILE, write_detector_page
from ..runtime.distributed import Ranks, join_processes, pick_device
from ..runtime.next_command import argument, beside
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import StageRun
from ..runtime.summary import Summary
from ..settings import DetectorSettings, PipelineSettings
from .stage_table import STAGES

if TYPE_CHECKING:
    from ..detector.stock_config import StockModel

ROW = STAGES["train-detector"]


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
        val: annotations to score against; its photos are taken out of training. Where they have no amodal masks, the
            visible masks of models that predict them are scored, and nothing else. None holds back
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
    require_mmdetection(ROW.name)
    from ..detector import training

    where = pick_device(device)
    settings, stock = with_model_of(mmdet_config, settings)
    wanted = settings.detector
    if wanted.precision != "fp32" and where.type != "cuda":
        raise SettingsError(f"detector.precision: expected fp32 on the CPU, got {wanted.precision!r}")
    data = read_training_data(labels, images, val, val_images, whole_boxes, settings, progress)
    inputs = {**data.inputs, "init": weights.start_identity(init, wanted)}
    if stock is not None:
        inputs["mmdet config"] = stock.identity
    join_processes(where)
    first = Ranks.of_this_process().is_first
    progress = progress if first else SILENT
    stage = training.first_then_others(
        partial(
            StageRun.open, out, ROW.name, ROW.settings_of(settings), inputs, settings.seed, arguments,
            ("detector.steps", training.CHECKPOINT),
        )
    )  # fmt: skip
    if stage.done:
        return _summary(out, labels, images, wanted, stage.counts, read_scores(out)["scores"])
    with stage.released_on_bad_input():
        model, config, started = _prepare(data, out, settings, init, stock, progress)
    curve = training.train(model, config, out, wanted, seed=settings.seed, device=where, progress=progress)
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
    (out / training.CHECKPOINT).unlink(missing_ok=True)
    return _summary(out, labels, images, wanted, counts, scores)


def _prepare(
    data: TrainingData,
    out: Path,
    settings: PipelineSettings,
    init: str | None,
    stock: StockModel | None,
    progress: Progress,
) -> tuple[Any, dict[str, Any], str]:
    """Return a network with its start weights, its config, and what it starts from.

    The data, the config and, for models that want it, the codebook are written to the output folder.
    """
    from ..detector import training

    wanted = settings.detector
    shapes_wanted = model_table.row(wanted).shapes
    state = weights.start_state(init)
    class_names = data.train.class_names
    network, optimizer = network_of(stock, wanted, len(class_names), state, progress)
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
        from ..detector.rehearsal import rehearse, rehearse_optimizer

        rehearse(model, str(stock.path), len(class_names))
        if wanted.optimizer == "config":
            rehearse_optimizer(model, config["optim_wrapper"], str(stock.path))
    started = "random" if state is None else weights.load_start(model, state, str(init or weights.RESNET50_URL))
    if Ranks.of_this_process().is_first:
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


def _finish(
    model: torch.nn.Module,
    config: dict[str, Any],
    data: TrainingData,
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
    photos = config["val_dataloader"]["dataset"]
    found, scores = detect_and_score(model, photos, data.val.coco, settings, device, data.held_back, progress)
    inference.write_results(out / DETECTIONS, found)
    shown = as_compared(data.val.coco, found)
    pictures.write_contact_sheet(out / SHEET, data.val_images, data.val.coco, shown)
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
    first = first_protocol(data.val.coco, held_back=data.held_back)
    precision, ap50 = (scores[first]["detector"][name] or 0.0 for name in ("AP", "AP50"))
    warnings = [
        *_of_labels(data, settings),
        *sanity_checks.of_training([point["loss"] for point in curve if "loss" in point]),
        *sanity_checks.of_detector(precision, data.val.coco, shown),
        *(sanity_checks.of_box_model(ap50) if model_table.learns_from_boxes(settings) else []),
    ]
    if warnings:
        counts["warnings"] = warnings
    write_detector_page(
        out, data.val_images, data.val.coco, shown, scores, curve, counts, held_back=data.held_back, progress=progress
    )
    return scores


def _of_labels(data: TrainingData, settings: DetectorSettings) -> list[str]:
    """Return warnings of labels from which a model cannot learn what it is for."""
    return sanity_checks.of_overlaps(data.train.coco) if "both boxes" in model_table.needs(settings) else []


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
        {**named_files(out), "report": out / REPORT_FILE},
        next=f"open {argument(out / REPORT_FILE)}",
        then=then,
    )
