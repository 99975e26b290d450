"""`amodalpl run`: all stages from one settings file, each skipped when it is done."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..data.read import read_annotations
from ..errors import DataError
from ..evaluation.completion import evaluate_completion
from ..evaluation.order import evaluate_order
from ..io.files import write_json
from ..labelling.class_rules import class_rules
from ..runtime.parent_folder import require_own_folder
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import RUN_FILE
from ..runtime.summary import Summary
from ..settings import DataSettings, PipelineSettings, RunSettings
from ..settings_values import resolve_as
from .pseudolabel import LABELS
from .stage_table import IN_RUN, STAGES
from .train_detector import require_detector, start_identity, with_model_of

SCORES = "scores.json"


def run_pipeline(
    values: Mapping[str, Any],
    out: Path,
    device: str = "auto",
    progress: Progress = SILENT,
    until: str = IN_RUN[-1],
    own: Collection[str] = (),
) -> Summary:
    """Run synth, complete, pseudolabel, evaluate (given a truth) and train-detector into subfolders.

    Args:
        values: settings with a section `data` (see `DataSettings`).
        out: gets one folder per stage, and `scores.json`.
        device: "auto", "cpu" or "cuda".
        progress: shown while it works.
        until: the last of `IN_RUN` to run; started again with a later one, the finished ones are kept.
        own: what else in `out` tells that it is of this run.

    Returns:
        The scores of all stages, and their main files.

    Raises:
        OutputError: `out` holds what no `run` wrote.
        AmodalplError: whatever a stage raises; stages before it stay done.
    """
    run = resolve_as(RunSettings, values)
    data = run.data
    settings = PipelineSettings.model_validate(run.model_dump(exclude={"data"}))
    left_out = {"train-detector": not data.detector, "refine": not data.refine}
    wanted = [stage for stage in IN_RUN[: IN_RUN.index(until) + 1] if not left_out.get(stage)]
    require_own_folder(out, "run", [*(f"{STAGES[name].folder}/{RUN_FILE}" for name in IN_RUN), *own])
    _require_data(data)
    if settings.labels.per_class or data.annotations.suffix != ".json":  # of another tool, which has to be converted
        read = read_annotations(data.annotations, data.format)
        class_rules(settings.labels.per_class, read.category_names, str(data.annotations))
    if {"train-detector", "refine"} & {*wanted}:
        require_detector()  # both before hours of work, not after
        start_identity(data.init, with_model_of(data.mmdet_config, settings)[0].detector)
    ours = {key: value for key, value in values.items() if key != "data"}
    labels, given = _folder(out, "pseudolabel") / LABELS, _given(data, out)
    done: dict[str, Summary] = {}
    scores: dict[str, Any] = {}
    for number, name in enumerate(wanted, start=1):
        progress.note(f"{number}/{len(wanted)} {name}")
        done[name] = STAGES[name].run(given[name], _folder(out, name), ours, device, progress)
        scores |= done[name].scores
        if name == "pseudolabel" and data.truth:
            gap_px = settings.labels.near_px
            scores |= evaluate_completion(data.truth, labels, gap_px=gap_px, progress=progress).scores
            scores |= evaluate_order(data.truth, labels, gap_px=gap_px, progress=progress).scores
    shown = {"synth": ("preview",), "complete": ("curves",), "pseudolabel": ("labels", "report", "overlays")}
    files = {
        f"{stage} {name}": path
        for stage, summary in done.items()
        for name, path in summary.files.items()
        if name in shown.get(stage, summary.files)
    }
    write_json(out / SCORES, scores)
    files["scores"] = out / SCORES
    last = done[wanted[-1]]
    counts = {stage: summary.counts for stage, summary in done.items()}
    return Summary("run", out, counts=counts, scores=scores, files=files, next=last.next, then=last.then)


def _require_data(data: DataSettings) -> None:
    """Refuse what is not there before anything else is said, and before hours of work.

    Raises:
        DataError: a file or folder of `data` is missing.
    """
    folders = {"images": data.images, "val_images": data.val_images}
    files = {"annotations": data.annotations, "truth": data.truth, "val": data.val}
    for name, path in folders.items():
        if path is not None and not path.is_dir():
            raise DataError(f"data.{name}: {path}: expected the folder of the photos, found no such folder")
    for name, path in files.items():
        if path is not None and not path.exists():
            raise DataError(f"data.{name}: {path}: expected an annotation file, found no such file")


def _folder(out: Path, stage: str) -> Path:
    return out / STAGES[stage].folder


def _given(data: DataSettings, out: Path) -> dict[str, dict[str, Any]]:
    """Return what each stage is given: your data, and what the stages before it write."""
    return {
        "synth": {"annotations": data.annotations, "images": data.images, "fmt": data.format},
        "complete": {"synth_dir": _folder(out, "synth")},
        "pseudolabel": {
            "annotations": data.annotations,
            "images": data.images,
            "completer": _folder(out, "complete"),
            "fmt": data.format,
        },
        "train-detector": {
            "labels": _folder(out, "pseudolabel") / LABELS,
            "images": data.images,
            "val": data.val,
            "val_images": data.val_images or (data.images if data.val else None),
            "init": data.init,
            "mmdet_config": data.mmdet_config,
        },
        "refine": {
            "labels": _folder(out, "pseudolabel"),
            "images": data.images,
            "synth_dir": _folder(out, "synth"),
            "init": data.init,
        },
    }
