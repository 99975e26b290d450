"""`amodalpl complete`: train a completer on samples drawn from a bank, choose how to use it, score it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..calibration.choose_thresholds import choose
from ..calibration.holdout import HOLDOUT, Holdout, read_holdout
from ..completion.checkpoint import (
    CARD,
    SHAPES,
    WEIGHTS,
    CompleterBundle,
    read_network_settings,
    save_completer,
    start_from,
)
from ..completion.predictor import CropSpec
from ..completion.training import train
from ..errors import DataError
from ..evaluation.holdout_scores import quick_score, score
from ..evaluation.uncertainty_report import PROMISE, UncertaintyReport
from ..io.files import hash_file, read_json, write_json
from ..models.completer import build_completer
from ..report import sanity_checks
from ..report.plots import reliability_diagram, risk_coverage, training_curves
from ..runtime.distributed import pick_device
from ..runtime.mmengine_runner import Point
from ..runtime.next_command import argument, beside, labelled_data
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import StageRun, finished_run
from ..runtime.summary import Summary
from ..settings import PipelineSettings, TrainingSettings
from ..settings_values import merge, resolve
from ..shape_prior.plausibility import FEWEST_SHAPES, ShapePrior, learn_shape_prior
from ..synthesis.bank import Bank, sure_to_be_whole
from ..synthesis.dataset import SampleStream
from .stage_table import STAGES
from .synth import BANK

CHECKPOINT, METRICS, CURVES = "checkpoint.pth", "metrics.json", "curves.png"
RELIABILITY, RISK = "reliability.png", "risk_coverage.png"
ROW = STAGES["complete"]


def complete(
    synth_dir: Path,
    out: Path,
    values: Mapping[str, Any],
    device: str = "auto",
    progress: Progress = SILENT,
    init: Path | None = None,
) -> Summary:
    """Train a completer; a run that was interrupted goes on where it stopped, and so does one that gets more steps.

    Args:
        synth_dir: output folder of `amodalpl synth`.
        out: output folder: `weights.pth`, `completer.json`, `metrics.json`, `curves.png`, `reliability.png`,
            `risk_coverage.png`, `run.json`, and `checkpoint.pth` to go on from.
        values: settings that were asked for; those of `synthesis` and the seed are otherwise the ones `synth` ran with.
        device: "auto", "cpu" or "cuda".
        progress: shown while it works.
        init: folder of an earlier completer, whose weights, method and width this one starts from.

    Returns:
        The hold-out scores beside the free baselines, and what is promised of the labels.

    Raises:
        OutputError: `synth_dir` is not finished, or `out` belongs to another run.
        SettingsError: a setting is wrong.
        CheckpointError: the checkpoint in `out` is damaged, or the weights of `init` do not fit.
        TrainingError: the loss is no longer a number.
    """
    arguments = ROW.arguments(locals())
    settings = _settings_beside(synth_dir, values, init, progress)
    where = pick_device(device)
    run = StageRun.open(
        out,
        ROW.name,
        ROW.settings_of(settings),
        {
            "bank": hash_file(synth_dir / BANK / "table.npy"),
            "hold-out": hash_file(synth_dir / HOLDOUT),
            **({"init": hash_file(init / WEIGHTS)} if init else {}),
        },
        settings.seed,
        arguments,
        grows=("training.steps", CHECKPOINT),
    )
    if not run.done:
        counts = _train_and_score(synth_dir, out, settings, init, where, progress)
        if int(os.environ.get("RANK", 0)) == 0:
            outputs = [WEIGHTS, CARD, METRICS, CURVES, RELIABILITY, RISK, CHECKPOINT]
            run.finish(counts, [*outputs, SHAPES] if (out / SHAPES).exists() else outputs)
    metrics = read_json(out / METRICS, "the scores of a completer") if (out / METRICS).exists() else {"scores": {}}
    return Summary(
        "complete",
        out,
        counts=run.counts,
        scores=metrics["scores"],
        files={
            "curves": out / CURVES,
            "reliability": out / RELIABILITY,
            "risk and coverage": out / RISK,
            "weights": out / WEIGHTS,
            "card": out / CARD,
            "scores": out / METRICS,
        },
        next=f"amodalpl pseudolabel {labelled_data(out)} --completer {argument(out)} "
        f"--out {beside(out, 'completer', 'labels')}",
    )


def _settings_beside(
    synth_dir: Path, values: Mapping[str, Any], init: Path | None, progress: Progress
) -> PipelineSettings:
    """Return the settings, those of `synth` and `init` where nothing else is asked for; say what differs from synth."""
    record = finished_run(synth_dir, "synth")
    inherited = {"seed": record["seed"], "synthesis": record["settings"]["synthesis"]}
    if init:
        inherited["completer"] = read_network_settings(init)
    settings = resolve(merge(inherited, values))
    of_all_classes = settings.labels.model_copy(update={"per_class": {}})  # a completer serves any file
    settings = settings.model_copy(update={"labels": of_all_classes})
    if settings.completer.image and not Bank(synth_dir / BANK).has_images:
        raise DataError(
            f"{synth_dir}: completer.image needs photos in the bank, it has masks only; "
            "run `amodalpl synth` with --set synthesis.with_image=true"
        )
    changes = list(_changes(inherited["synthesis"], settings.synthesis.model_dump(mode="json"), "synthesis"))
    if changes:
        progress.note(f"not as in {synth_dir}: {', '.join(changes)}")
    return settings


def _changes(was: Mapping[str, Any], given: Mapping[str, Any], at: str) -> Iterator[str]:
    for name, value in given.items():
        if isinstance(value, Mapping):
            yield from _changes(was.get(name, {}), value, f"{at}.{name}")
        elif value != was.get(name, value):
            yield f"{at}.{name}={value} instead of {was[name]}"


def _train_and_score(
    synth_dir: Path,
    out: Path,
    settings: PipelineSettings,
    init: Path | None,
    device: torch.device,
    progress: Progress,
) -> dict[str, Any]:
    """Make everything in the output folder; return the counts, nothing on all processes but the first."""
    holdout = read_holdout(synth_dir, with_images=settings.completer.image)
    bundle, history = _train(synth_dir, out, settings, init, holdout, device, progress)
    if int(os.environ.get("RANK", 0)) > 0:
        return {}
    learnt_unmasked = settings.synthesis.layers.unmasked > 0
    bundle = choose(bundle, holdout, settings.labels, progress, learnt_unmasked)
    report = score(bundle, holdout, settings.labels, progress)
    bundle = replace(bundle, shapes=_learn_shapes(Bank(synth_dir / BANK), settings.seed, progress))
    save_completer(out, bundle, settings.completer, settings.synthesis)
    _write_report(out, bundle, report, history)
    return _counts(settings, holdout, bundle, report, history)


def _train(
    synth_dir: Path,
    out: Path,
    settings: PipelineSettings,
    init: Path | None,
    holdout: Holdout,
    device: torch.device,
    progress: Progress,
) -> tuple[CompleterBundle, list[Point]]:
    """Return the trained completer, nothing chosen yet, and the points of its curves."""
    training = settings.training
    synthesis = settings.synthesis.model_copy(update={"with_image": settings.completer.image})
    crop = CropSpec(synthesis.patch_px, synthesis.enlarge_box, synthesis.boundary_px)
    torch.manual_seed(settings.seed)
    completer = build_completer(
        settings.completer.method, settings.completer.width, settings.completer.image, settings.completer.init_gain
    )
    if init:
        start_from(completer, init)
    stream = SampleStream(
        synth_dir / BANK,
        synthesis,
        settings.seed,
        _samples(training),
        completer.method.recipe,
        with_boundary="boundary" in completer.method.channels,
    )
    history = train(
        completer,
        stream,
        training,
        seed=settings.seed,
        device=device,
        checkpoint=out / CHECKPOINT,
        validate=lambda so_far: quick_score(so_far, crop, holdout, settings.labels),
        progress=progress,
        synthesis_device=training.synthesis_device,
    )
    return CompleterBundle(completer.eval(), crop), history


def _samples(training: TrainingSettings) -> int:
    return training.steps * training.batch_size * int(os.environ.get("WORLD_SIZE", 1))


def _chosen(bundle: CompleterBundle) -> dict[str, Any]:
    return {
        "threshold": bundle.threshold,
        "order threshold": bundle.order_threshold,
        "contact crops": list(bundle.contact_crops),
    }


def _write_report(out: Path, bundle: CompleterBundle, report: UncertaintyReport, history: list[Point]) -> None:
    training_curves(history, out / CURVES)
    reliability_diagram(report.reliability, out / RELIABILITY)
    risk_coverage(report.risk_coverage, out / RISK)
    write_json(
        out / METRICS,
        {
            "chosen": _chosen(bundle),
            "promise": bundle.promise.to_json() if bundle.promise else None,
            "scores": report.scores,
            "reliability": report.reliability,
            "risk_coverage": report.risk_coverage,
            "history": history,
        },
    )


def _counts(
    settings: PipelineSettings,
    holdout: Holdout,
    bundle: CompleterBundle,
    report: UncertaintyReport,
    history: list[Point],
) -> dict[str, Any]:
    of_labels = [rows["labels"] for rows in report.scores.values() if "labels" in rows]
    stated = {name: value for row in of_labels for name, value in row.items()}
    warnings = [
        *sanity_checks.of_parts(holdout.cases("choose"), holdout.cases("report")),
        *sanity_checks.of_training([point["loss"] for point in history if "loss" in point]),
        *sanity_checks.of_holdout(stated.get("unoccluded_growth"), stated.get("invisible_iou")),
    ]
    return {
        "method": settings.completer.method,
        "parameters": sum(p.numel() for p in bundle.completer.parameters()),
        "steps": settings.training.steps,
        "samples": _samples(settings.training),
        "hold-out scenes": len(holdout.data.images),
        **_chosen(bundle),
        "classes with shapes of their own": len(bundle.shapes.class_ids) if bundle.shapes else 0,
        "promise": str(bundle.promise or "none: the hold-out has too few labels, or too many bad ones"),
        "promise on the reporting half": report.scores[PROMISE]["labels"],
        **({"warnings": warnings} if warnings else {}),
    }


def _learn_shapes(bank: Bank, seed: int, progress: Progress) -> ShapePrior | None:
    """Learn what whole objects look like from those that nothing can hide; None where there are too few."""
    whole = np.flatnonzero(sure_to_be_whole(bank.table))
    if len(whole) < FEWEST_SHAPES:
        progress.note(
            f"{len(whole)} objects are sure to be whole, {FEWEST_SHAPES} are needed to judge shapes: left out"
        )
        return None
    masks = [bank[int(index)].mask for index in whole]
    return learn_shape_prior(masks, [int(c) for c in bank.table["category_id"][whole]], seed, progress)
