"""`amodalpl complete`: train a completer on samples drawn from a bank, choose how to use it, score it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..builtin import completer_folder
from ..calibration.choose_thresholds import NO_GROWTH, choose
from ..calibration.holdout import HOLDOUT, Holdout, read_holdout
from ..completion.checkpoint import (
    CARD,
    SHAPES,
    WEIGHTS,
    CompleterBundle,
    load_completer,
    read_network_settings,
    read_unmasked_thresholds,
    save_completer,
    start_from,
    start_photo_encoder,
    write_card,
)
from ..completion.predictor import CropSpec
from ..completion.training import train
from ..errors import DataError, SettingsError
from ..evaluation.completer_on_holdout import quick_score, score
from ..evaluation.uncertainty_report import PROMISE, UncertaintyReport
from ..io.files import hash_file, read_json, write_json, write_whole
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
from . import occluded_objects
from .stage_table import STAGES
from .synth import BANK

CHECKPOINT, METRICS, CURVES = "checkpoint.pth", "metrics.json", "curves.png"
RELIABILITY, RISK = "reliability.png", "risk_coverage.png"
CHOSEN_ON = "objects behind others"
"""Name, among what was chosen of an untrained start, of how many objects it was chosen on; 0 if it came so."""
FEWEST_OCCLUDED = 40
"""Hold-out objects behind something, in the half to choose on; with fewer, what an untrained start brought is kept."""
ROW = STAGES["complete"]


def complete(
    synth_dir: Path,
    out: Path,
    values: Mapping[str, Any],
    device: str = "auto",
    progress: Progress = SILENT,
    init: Path | str | None = None,
) -> Summary:
    """Train a completer; a run that was interrupted goes on where it stopped, and so does one that gets more steps.

    With `training.steps=0` the completer of `init` stays as it is; thresholds (but for those where no mask is),
    calibration and promise are chosen anew on the hold-out, if it has enough objects, and scored.

    Args:
        synth_dir: output folder of `amodalpl synth`.
        out: output folder: `weights.pth`, `completer.json`, `metrics.json`, `curves.png`, `reliability.png`,
            `risk_coverage.png`, `run.json`, and `checkpoint.pth` to go on from (curves and checkpoint of a training).
        values: settings that were asked for; those of `synthesis` and the seed are otherwise the ones `synth` ran with.
        device: "auto", "cpu" or "cuda".
        progress: shown while it works.
        init: folder of an earlier completer, or `builtin`: this one starts from its weights, with its method, width
            and crops.

    Returns:
        The hold-out scores beside the free baselines, and what is promised of the labels.

    Raises:
        OutputError: `synth_dir` is not finished, or `out` belongs to another run.
        SettingsError: a setting is wrong.
        CheckpointError: the checkpoint in `out` is damaged, or the weights of `init` do not fit.
        TrainingError: the loss is no longer a number.
    """
    arguments = ROW.arguments(synth_dir=synth_dir, init=init)
    init = completer_folder(init) if init else None
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
            **({"photo weights": hash_file(Path(encoder))} if (encoder := settings.completer.photo_weights) else {}),
        },
        settings.seed,
        arguments,
        grows=("training.steps", CHECKPOINT),
    )
    if not run.done:
        counts = _train_and_score(synth_dir, out, settings, init, where, progress)
        if int(os.environ.get("RANK", 0)) == 0:
            outputs = [WEIGHTS, CARD, METRICS, CURVES, RELIABILITY, RISK, CHECKPOINT, SHAPES]
            run.finish(counts, [name for name in outputs if (out / name).exists()])
    metrics = read_json(out / METRICS, "the scores of a completer") if (out / METRICS).exists() else {"scores": {}}
    return Summary(
        "complete",
        out,
        counts=run.counts,
        scores=metrics["scores"],
        files={
            **({"curves": out / CURVES} if settings.training.steps else {}),
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
    """Return the settings: what is asked for, else those of `init`, else those of `synth`; tell the differences."""
    record = finished_run(synth_dir, "synth")
    inherited = {"seed": record["seed"], "synthesis": record["settings"]["synthesis"]}
    of_synth = inherited["synthesis"]
    if init:
        inherited = merge(inherited, read_network_settings(init))
    settings = resolve(merge(inherited, values))
    if occluded_objects.RECIPE in (settings.synthesis.recipe, inherited["synthesis"].get("recipe")):
        raise DataError(
            f"{synth_dir}: expected cut-outs to learn from, got the recipe {occluded_objects.RECIPE}, which makes "
            "photos for `amodalpl evaluate boxes`; run `amodalpl synth` without it"
        )
    of_all_classes = settings.labels.model_copy(update={"per_class": {}})  # a completer serves any file
    settings = settings.model_copy(update={"labels": of_all_classes})
    if not settings.training.steps and not init:
        raise SettingsError("training.steps: expected at least 1, got 0; without steps there is only a start, --init")
    if settings.completer.image and not Bank(synth_dir / BANK).has_images:
        raise DataError(
            f"{synth_dir}: completer.image needs photos in the bank, it has masks only; "
            "run `amodalpl synth` with --set synthesis.with_image=true"
        )
    given = settings.completer
    if given.photo_encoder and not given.photo_weights and not inherited.get("completer", {}).get("photo_encoder"):
        raise SettingsError(
            "completer.photo_weights: expected the file of the ImageNet weights that the photo encoder starts with; "
            "give it, or start from a completer that has them (--init)"
        )
    changes = list(_changes(of_synth, settings.synthesis.model_dump(mode="json"), "synthesis"))
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
    if not settings.training.steps and init:
        return _keep_and_score(out, settings, init, holdout, device, progress)
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


def _keep_and_score(
    out: Path, settings: PipelineSettings, init: Path, holdout: Holdout, device: torch.device, progress: Progress
) -> dict[str, Any]:
    """Choose anew how to use a completer whose weights and shapes stay as they are, to the byte; score it."""
    bundle = load_completer(init, device)
    occluded = _occluded(holdout, holdout.cases("choose"))
    if occluded < FEWEST_OCCLUDED:
        progress.note(
            f"thresholds and calibration stay as they came: {occluded} objects behind others to choose them on, "
            f"{FEWEST_OCCLUDED} are needed"
        )
        occluded = 0
    else:
        learnt_unmasked = settings.synthesis.layers.unmasked > 0
        bundle = choose(bundle, holdout, settings.labels, progress, learnt_unmasked)
    report = score(bundle, holdout, settings.labels, progress, eroded_px=())
    for name in (WEIGHTS, SHAPES):
        if (init / name).exists():
            write_whole(out / name, partial(shutil.copyfile, init / name))
    write_card(out, bundle, settings.completer, settings.synthesis)
    chosen = {CHOSEN_ON: occluded}
    _write_report(out, bundle, report, [], chosen)
    return {**_counts(settings, holdout, bundle, report, []), **chosen}


def _occluded(holdout: Holdout, image_ids: Sequence[int]) -> int:
    """Count the objects of some scenes of which a part is hidden."""
    objects = (instance for image_id in image_ids for instance in holdout.data.by_image[image_id])
    return sum(instance.amodal != instance.modal for instance in objects)


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
        settings.completer.method,
        settings.completer.width,
        settings.completer.image,
        settings.completer.init_gain,
        settings.completer.photo_encoder,
    )
    in_one_piece = in_pieces = NO_GROWTH
    if init:
        start_from(completer, init)
        if synthesis.layers.unmasked:
            in_one_piece, in_pieces = read_unmasked_thresholds(init)
    if settings.completer.photo_weights:
        start_photo_encoder(completer, Path(settings.completer.photo_weights))
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
    )
    start = CompleterBundle(
        completer.eval(), crop, unmasked_threshold=in_one_piece, unmasked_threshold_in_pieces=in_pieces
    )
    return start, history


def _samples(training: TrainingSettings) -> int:
    return training.steps * training.batch_size * int(os.environ.get("WORLD_SIZE", 1))


def _chosen(bundle: CompleterBundle) -> dict[str, Any]:
    unmasked = {
        "threshold where no mask is": bundle.unmasked_threshold,
        "the same, seen in pieces": bundle.unmasked_threshold_in_pieces,
    }
    return {
        "threshold": bundle.threshold,
        "order threshold": bundle.order_threshold,
        "contact crops": list(bundle.contact_crops),
        **(unmasked if min(unmasked.values()) < NO_GROWTH else {}),
    }


def _write_report(
    out: Path,
    bundle: CompleterBundle,
    report: UncertaintyReport,
    history: list[Point],
    chosen: Mapping[str, Any] | None = None,
) -> None:
    if history:
        training_curves(history, out / CURVES)
    reliability_diagram(report.reliability, out / RELIABILITY)
    risk_coverage(report.risk_coverage, out / RISK)
    write_json(
        out / METRICS,
        {
            "chosen": {**_chosen(bundle), **(chosen or {})},
            "promise": bundle.promise.to_json() if bundle.promise else None,
            "scores": report.scores,
            "reliability": report.reliability,
            "risk_coverage": report.risk_coverage,
            "hidden_by_photo": report.hidden.to_json(),
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
