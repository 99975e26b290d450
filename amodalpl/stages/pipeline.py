"""`amodalpl run`: all stages from one settings file, each skipped when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..progress import SILENT, Progress
from ..provenance import write_json
from ..settings import PipelineSettings, RunSettings, resolve_as
from .complete import complete
from .evaluate import evaluate_completion, evaluate_order
from .pseudolabel import LABELS, pseudolabel
from .summary import Summary
from .synth import synth
from .train_detector import require_detector, start_identity, train_detector

SYNTH, COMPLETER, LABEL_FOLDER, DETECTOR, SCORES = "synth", "completer", "labels", "detector", "scores.json"


def run_pipeline(values: Mapping[str, Any], out: Path, device: str = "auto", progress: Progress = SILENT) -> Summary:
    """Run synth, complete, pseudolabel, evaluate (given a truth) and train-detector into subfolders.

    Args:
        values: settings with a section `data` (see `DataSettings`).
        out: gets one folder per stage, and `scores.json`.
        device: "auto", "cpu" or "cuda".
        progress: shown while it works.

    Returns:
        The scores of all stages, and their main files.

    Raises:
        AmodalplError: whatever a stage raises; stages before it stay done.
    """
    run = resolve_as(RunSettings, values)
    data = run.data
    settings = PipelineSettings.model_validate(run.model_dump(exclude={"data"}))
    if data.detector:
        require_detector()  # both before hours of work, not after
        start_identity(data.init, settings.detector)
    ours = {key: value for key, value in values.items() if key != "data"}

    progress.note("1/4 synth")
    made = synth(data.annotations, data.images, out / SYNTH, settings, data.format, progress)
    progress.note("2/4 complete")
    trained = complete(out / SYNTH, out / COMPLETER, ours, device, progress)
    progress.note("3/4 pseudolabel")
    labelled = pseudolabel(
        data.annotations, data.images, out / COMPLETER, out / LABEL_FOLDER, settings, data.format, device, progress
    )
    labels = out / LABEL_FOLDER / LABELS
    scores = dict(trained.scores)
    files = {
        "preview": made.files["preview"],
        "completer curves": trained.files["curves"],
        "labels": labels,
        "label report": labelled.files["report"],
        "overlays": labelled.files["overlays"],
    }
    if data.truth:
        gap_px = settings.labels.near_px
        scores |= evaluate_completion(data.truth, labels, gap_px=gap_px, progress=progress).scores
        scores |= evaluate_order(data.truth, labels, gap_px=gap_px, progress=progress).scores
    counts: dict[str, Any] = {"synth": made.counts, "complete": trained.counts, "pseudolabel": labelled.counts}
    if data.detector:
        progress.note("4/4 train-detector")
        detector = train_detector(
            labels,
            data.images,
            out / DETECTOR,
            settings,
            val=data.val,
            val_images=data.val_images or (data.images if data.val else None),
            init=data.init,
            device=device,
            progress=progress,
        )
        scores |= detector.scores
        files |= {f"detector {name}": path for name, path in detector.files.items()}
        counts["train-detector"] = detector.counts
    write_json(out / SCORES, scores)
    files["scores"] = out / SCORES
    return Summary("run", out, counts=counts, scores=scores, files=files)
