"""`amodalpl run`: all stages from one settings file, each skipped when it is done.

From masks, a completer makes the labels; from boxes (`data.box_model`), a model that learns from boxes makes them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.label_folder import LABELS
from ..data.read import read_annotations
from ..detector import require_mmdetection
from ..detector.chosen_model import with_model_of
from ..detector.weights import start_identity
from ..errors import DataError, SettingsError
from ..evaluation.boxes import evaluate_boxes
from ..evaluation.completion import evaluate_completion
from ..evaluation.order import evaluate_order
from ..io.files import write_json
from ..labelling.class_rules import class_rules
from ..runtime.parent_folder import require_own_folder
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import RUN_FILE
from ..runtime.summary import Summary
from ..settings import DataSettings, PipelineSettings, RunSettings
from ..settings_values import merge, resolve_as
from .occluded_objects import IMAGES, RECIPE, TRUTH
from .stage_table import IN_RUN, STAGES

SCORES = "scores.json"
BAYESIAN = "bayesian-amodal"
_LABELS, _BOX_MODEL, _HIDDEN = STAGES["pseudolabel"].folder, "box_model", "hidden"
_FOLDERS = [*(STAGES[name].folder for name in IN_RUN), _BOX_MODEL]


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
    steps = _steps(data, out, until)
    require_own_folder(out, "run", [*(f"{folder}/{RUN_FILE}" for folder in _FOLDERS), *own])
    _require_data(data)
    if settings.labels.per_class or data.annotations.suffix != ".json":  # of another tool, which has to be converted
        read = read_annotations(data.annotations, data.format, boxes=bool(data.box_model))
        class_rules(settings.labels.per_class, read.category_names, str(data.annotations))
    if {"train-detector", "refine"} & {step.stage for step in steps}:
        require_mmdetection("train-detector")  # both before hours of work, not after
        start_identity(data.init, with_model_of(data.mmdet_config, settings)[0].detector)
    ours = {key: value for key, value in values.items() if key != "data"}
    done: dict[str, Summary] = {}
    scores: dict[str, Any] = {}
    for number, step in enumerate(steps, start=1):
        progress.note(f"{number}/{len(steps)} {step.name}")
        done[step.name] = STAGES[step.stage].run(
            step.given, out / step.folder, merge(ours, step.settings), device, progress
        )
        scores |= {step.score_name(protocol): rows for protocol, rows in done[step.name].scores.items()}
        if step.stage == "pseudolabel":
            scores |= _scores_of_labels(data, out, settings, device, progress)
    shown = {"synth": ("preview",), "complete": ("curves",), "pseudolabel": ("labels", "report", "overlays")}
    files = {
        f"{step.name} {name}": path
        for step in steps
        for name, path in done[step.name].files.items()
        if name in shown.get(step.stage, done[step.name].files)
    }
    write_json(out / SCORES, scores)
    files["scores"] = out / SCORES
    last = done[steps[-1].name]
    counts = {name: summary.counts for name, summary in done.items()}
    return Summary("run", out, counts=counts, scores=scores, files=files, next=last.next, then=last.then)


def _scores_of_labels(
    data: DataSettings, out: Path, settings: PipelineSettings, device: str, progress: Progress
) -> dict[str, Any]:
    """Score the labels against a truth of theirs, and a box model on objects that were hidden."""
    scores: dict[str, Any] = {}
    labels, gap_px = out / _LABELS / LABELS, settings.labels.near_px
    if data.truth:
        scores |= evaluate_completion(data.truth, labels, gap_px=gap_px, progress=progress).scores
        scores |= evaluate_order(data.truth, labels, gap_px=gap_px, progress=progress).scores
    if data.known:
        hidden, whole = out / _HIDDEN, settings.labels.boxes == "whole"
        scores |= evaluate_boxes(
            hidden / TRUTH, hidden / IMAGES, [out / _BOX_MODEL], whole_boxes=whole, moved=False, seed=settings.seed,
            device=device, progress=progress,
        ).scores  # fmt: skip
    return scores


def _require_data(data: DataSettings) -> None:
    """Refuse what is not there before anything else is said, and before hours of work.

    Raises:
        DataError: a file or folder of `data` is missing.
    """
    folders = {"images": data.images, "val_images": data.val_images, "known_images": data.known_images}
    files = {"annotations": data.annotations, "truth": data.truth, "val": data.val, "known": data.known}
    for name, path in folders.items():
        if path is not None and not path.is_dir():
            raise DataError(f"data.{name}: {path}: expected the folder of the photos, found no such folder")
    for name, path in files.items():
        if path is not None and not path.exists():
            raise DataError(f"data.{name}: {path}: expected an annotation file, found no such file")


@dataclass(frozen=True)
class _Step:
    """One stage of a run.

    Attributes:
        stage: its name in the table.
        folder: of its output, within that of the run.
        given: its inputs: your data, and what the steps before it write.
        settings: in place of those of the run.
        called: what the step is called where that is not the name of the stage.
    """

    stage: str
    folder: str
    given: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    called: str = ""

    @property
    def name(self) -> str:
        return self.called or self.stage

    def score_name(self, protocol: str) -> str:
        """Return the name of a score within the run, where two detectors may be scored by the same protocol."""
        return f"{self.called}: {protocol}" if self.called else protocol


def _steps(data: DataSettings, out: Path, until: str) -> list[_Step]:
    """Return what is to be done, in order.

    Raises:
        SettingsError: the last one is none of them, or they cannot be done together.
    """
    making = _from_boxes(data, out) if data.box_model else _from_masks(data, out)
    steps = [*making, *_after_labels(data, out)]
    names = [step.stage for step in steps]
    if until in names:
        return steps[: len(names) - names[::-1].index(until)]
    if until in ("synth", "complete"):
        raise SettingsError(
            f"--until {until}: expected pseudolabel or train-detector, since data.box_model makes labels without a "
            "completer"
        )
    return steps  # a later stage that was not asked for


def _from_masks(data: DataSettings, out: Path) -> list[_Step]:
    photos = {"annotations": data.annotations, "images": data.images, "fmt": data.format}
    synth, completer = STAGES["synth"].folder, STAGES["complete"].folder
    return [
        _Step("synth", synth, photos),
        _Step("complete", completer, {"synth_dir": out / synth}),
        _Step("pseudolabel", _LABELS, {**photos, "completer": out / completer}),
    ]


def _from_boxes(data: DataSettings, out: Path) -> list[_Step]:
    """Train a model on the boxes and ask it what is in them.

    Where photos with masks are `known`, objects of theirs are hidden, and labels are calibrated on them.
    """
    photos = {"annotations": data.annotations, "images": data.images, "fmt": data.format}
    init, model = data.box_init or data.init, out / _BOX_MODEL
    steps = []
    if data.box_model == BAYESIAN:
        steps.append(_Step("train-compositional", _BOX_MODEL, {**photos, "init": init}))
    else:
        learnt = {"detector": {"model": data.box_model, "boxes_of": "file"}}
        given = {"labels": data.annotations, "images": data.images, "init": init, **_validation(data)}
        steps.append(_Step("train-detector", _BOX_MODEL, given, learnt, called="box model"))
    if data.known:
        given = {"annotations": data.known, "images": data.known_images or data.images}
        steps.append(_Step("synth", _HIDDEN, given, {"synthesis": {"recipe": RECIPE}}, called="hide objects"))
    calibrate = {"calibrate": out / _HIDDEN} if data.known else {}
    return [*steps, _Step("pseudolabel", _LABELS, {**photos, "detector": model, **calibrate})]


def _validation(data: DataSettings) -> dict[str, Path | None]:
    return {"val": data.val, "val_images": data.val_images or (data.images if data.val else None)}


def _after_labels(data: DataSettings, out: Path) -> list[_Step]:
    steps = []
    if data.detector:
        given = {
            "labels": out / _LABELS / LABELS,
            "images": data.images,
            "init": data.init,
            "mmdet_config": data.mmdet_config,
            **_validation(data),
        }
        steps.append(_Step("train-detector", STAGES["train-detector"].folder, given))
    if data.refine:
        synth = out / STAGES["synth"].folder
        given = {"labels": out / _LABELS, "images": data.images, "synth_dir": synth, "init": data.init}
        steps.append(_Step("refine", STAGES["refine"].folder, given))
    return steps
