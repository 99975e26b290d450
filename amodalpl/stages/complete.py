"""`amodalpl complete`: train a completer on samples drawn from a bank, choose how to use it, score it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..completion import View
from ..devices import pick_device
from ..errors import DataError
from ..models.completer import Completer, build_completer
from ..progress import SILENT, Progress
from ..provenance import StageRun, finished_run, hash_file, read_json, write_json
from ..report.plots import training_curves
from ..scoring import Holdout, choose, quick_score, score
from ..settings import PipelineSettings, merge, resolve
from ..synthesis.bank import Bank
from ..synthesis.dataset import SampleStream
from ..trained import CARD, WEIGHTS, TrainedCompleter, save_completer
from ..training import train
from .summary import Summary
from .synth import BANK, HOLDOUT, HOLDOUT_IMAGES, read_holdout

CHECKPOINT, METRICS, CURVES = "checkpoint.pth", "metrics.json", "curves.png"


def complete(
    synth_dir: Path, out: Path, values: Mapping[str, Any], device: str = "auto", progress: Progress = SILENT
) -> Summary:
    """Train a completer; a run that was interrupted goes on where it stopped.

    Args:
        synth_dir: output folder of `amodalpl synth`.
        out: output folder: `weights.pth`, `completer.json`, `metrics.json`, `curves.png`, `run.json`, and
            `checkpoint.pth` to go on from.
        values: settings that were asked for; those of `synthesis` and the seed are otherwise the ones `synth` ran with.
        device: "auto", "cpu" or "cuda".
        progress: shown while it works.

    Returns:
        The hold-out scores beside the free baselines.

    Raises:
        OutputError: `synth_dir` is not finished, or `out` belongs to another run.
        SettingsError: a setting is wrong.
        CheckpointError: the checkpoint in `out` is damaged.
        TrainingError: the loss is no longer a number.
    """
    record = finished_run(synth_dir, "synth")
    inherited = {"seed": record["seed"], "synthesis": record["settings"]["synthesis"]}
    settings = resolve(merge(inherited, values))
    stored_images = Bank(synth_dir / BANK).has_images
    if settings.completer.image and not stored_images:
        raise DataError(
            f"{synth_dir}: completer.image needs photos in the bank, it has masks only; "
            "run `amodalpl synth` with --set synthesis.with_image=true"
        )
    where = pick_device(device)
    sections = ("synthesis", "completer", "training", "labels")
    dump = settings.model_dump(mode="json")
    run = StageRun.open(
        out,
        "complete",
        {name: dump[name] for name in sections},
        {"bank": hash_file(synth_dir / BANK / "table.npy"), "hold-out": hash_file(synth_dir / HOLDOUT)},
        settings.seed,
    )
    if not run.done:
        counts = _train_and_score(synth_dir, out, settings, where, progress)
        if int(os.environ.get("RANK", 0)) == 0:
            run.finish(counts, [WEIGHTS, CARD, METRICS, CURVES, CHECKPOINT])
    metrics = read_json(out / METRICS, "the scores of a completer") if (out / METRICS).exists() else {"scores": {}}
    return Summary(
        "complete",
        out,
        counts=run.counts,
        scores=metrics["scores"],
        files={"curves": out / CURVES, "weights": out / WEIGHTS, "card": out / CARD, "scores": out / METRICS},
        next=f"amodalpl pseudolabel ANNOTATIONS IMAGES --completer {out} --out labels",
    )


def _train_and_score(
    synth_dir: Path, out: Path, settings: PipelineSettings, device: torch.device, progress: Progress
) -> dict[str, Any]:
    synthesis = settings.synthesis.model_copy(update={"with_image": settings.completer.image})
    view = View(synthesis.patch_px, synthesis.enlarge_box, synthesis.boundary_px, settings.labels.gap_px)
    holdout = Holdout(read_holdout(synth_dir), synth_dir / HOLDOUT_IMAGES if settings.completer.image else None)
    torch.manual_seed(settings.seed)
    completer = build_completer(
        settings.completer.method, settings.completer.width, settings.completer.image, settings.completer.init_gain
    )
    world = int(os.environ.get("WORLD_SIZE", 1))
    samples = settings.training.steps * settings.training.batch_size * world

    def validate(trained_so_far: Completer) -> dict[str, float]:
        return quick_score(trained_so_far, view, holdout, settings.labels)

    history = train(
        completer,
        SampleStream(synth_dir / BANK, synthesis, settings.seed, samples),
        settings.training,
        seed=settings.seed,
        device=device,
        checkpoint=out / CHECKPOINT,
        validate=validate,
        progress=progress,
    )
    if int(os.environ.get("RANK", 0)) > 0:
        return {}
    completer.eval()
    trained = choose(TrainedCompleter(completer, view), holdout, settings.labels, progress)
    scores = score(trained, holdout, settings.labels, progress)
    save_completer(out, trained, settings.completer, synthesis)
    training_curves(history, out / CURVES)
    chosen = {"threshold": trained.threshold, "order threshold": trained.order_threshold}
    write_json(out / METRICS, {"chosen": chosen, "scores": scores, "history": history})
    return {
        "method": settings.completer.method,
        "parameters": sum(p.numel() for p in completer.parameters()),
        "steps": settings.training.steps,
        "samples": samples,
        "hold-out scenes": len(holdout.data.images),
        **chosen,
    }
