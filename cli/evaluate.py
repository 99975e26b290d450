"""`amodalpl evaluate completion|order|promise|completer|detector|detections|boxes|zoo|compare`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amodalpl.errors import SettingsError, nearest
from amodalpl.metrics.levels import LEVEL_SETS
from amodalpl.runtime.summary import Summary

from . import options
from .display import show

if TYPE_CHECKING:
    from amodalpl.settings import PipelineSettings

evaluate = typer.Typer(no_args_is_help=True, help="Scores, each under the name of its protocol.")


def known_levels(name: str | None) -> str | None:
    """Return the name if there are such bins.

    Raises:
        SettingsError: there are none.
    """
    if name is not None and name not in LEVEL_SETS:
        raise SettingsError(f"--levels: expected known bins of occlusion, got {name!r}{nearest(name, LEVEL_SETS)}")
    return name


Scoring = Callable[..., Summary]  # takes `progress`


@dataclass(frozen=True)
class Given:
    """The settings and the device that a command was given."""

    settings: PipelineSettings
    device: str


def with_settings(command: Callable[..., Scoring]) -> Callable[..., None]:
    """Give a command the options of settings, --device and --json; it gets them as `given` and returns what to run."""

    def run(
        config: Path | None,
        overrides: list[str] | None,
        seed: int | None,
        device: options.Device,
        as_json: bool,
        **own: Any,
    ) -> None:
        scoring = command(**own, given=Given(options.resolved(config, overrides, seed), device.value))
        show(lambda progress: scoring(progress=progress), as_json)

    parameters = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
    parameters += [*options.of_settings(), options.keyword("as_json", options.Json, False)]
    return options.made_command(run, command.__name__, command.__doc__ or "", parameters)


Truth = Annotated[Path, typer.Argument(metavar="TRUTH", help="Any supported file with amodal masks.")]
Labels = Annotated[
    Path, typer.Argument(metavar="LABELS", help="COCO file with the same annotation ids, or a folder of `pseudolabel`.")
]
ThingsOnly = Annotated[bool, typer.Option("--things-only", help="Leave out regions that TRUTH calls stuff (COCOA).")]
ClassAgnostic = Annotated[
    bool,
    typer.Option(
        "--class-agnostic", help="Ignore categories. Scores are higher then: do not compare them with others."
    ),
]
Levels = Annotated[
    str | None,
    typer.Option(
        "--levels",
        metavar="|".join(LEVEL_SETS),
        callback=known_levels,
        help="Bins of occlusion.",
        show_default="those of KINS for KINS, else of COCOA-cls",
    ),
]
ScoresOut = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Also write the scores here.")]


@evaluate.command()
@with_settings
def completion(
    given: Given,
    truth: Truth,
    labels: Labels,
    things_only: ThingsOnly = False,
    levels: Levels = None,
    out: ScoresOut = None,
) -> Scoring:
    """Score amodal masks, beside the modal masks and their convex hulls.

    Example: [bold]amodalpl evaluate completion truth.json runs/labels/pseudo_amodal.json[/bold]
    """
    from amodalpl.evaluation.completion import evaluate_completion as stage

    return partial(
        stage, truth, labels, things_only=things_only, gap_px=given.settings.labels.near_px, levels=levels, out=out
    )


@evaluate.command()
@with_settings
def order(
    given: Given,
    truth: Truth,
    labels: Labels,
    things_only: ThingsOnly = False,
    out: ScoresOut = None,
) -> Scoring:
    """Score who hides whom.

    Example: [bold]amodalpl evaluate order truth.json runs/labels/pseudo_amodal.json[/bold]
    """
    from amodalpl.evaluation.order import evaluate_order as stage

    return partial(stage, truth, labels, things_only=things_only, gap_px=given.settings.labels.near_px, out=out)


@evaluate.command()
@with_settings
def promise(
    given: Given,
    truth: Truth,
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Output folder of `amodalpl pseudolabel`.")],
    things_only: ThingsOnly = False,
    out: ScoresOut = None,
) -> Scoring:
    """Hold what labels say of themselves against a truth: hidden parts, uncertainty, promise, order, with intervals.

    Example: [bold]amodalpl evaluate promise truth.json runs/labels[/bold]
    """
    settings = given.settings

    from amodalpl.evaluation.promise import evaluate_promise as stage

    return partial(
        stage, truth, labels, things_only=things_only, gap_px=settings.labels.near_px, seed=settings.seed, out=out
    )


@evaluate.command()
@with_settings
def completer(
    given: Given,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Output folder of `amodalpl complete`, or builtin.")],
    synth_dir: Annotated[Path, typer.Argument(metavar="SYNTH", help="Output folder of `amodalpl synth`.")],
    out: ScoresOut = None,
) -> Scoring:
    """Score a trained completer on another hold-out of the same photos, made with other settings.

    Example: [bold]amodalpl evaluate completer runs/completer runs/pairs --out scores/completer[/bold]
    """
    from amodalpl.evaluation.completer_on_holdout import evaluate_completer as stage

    return partial(stage, folder, synth_dir, given.settings.labels, out=out, device=given.device)


@evaluate.command()
@with_settings
def detector(
    given: Given,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Output folder of `amodalpl train-detector`.")],
) -> Scoring:
    """Score a trained detector again: COCO AP and AR, amodal and modal.

    Example: [bold]amodalpl evaluate detector runs/detector[/bold]
    """
    from amodalpl.evaluation.detector import evaluate_detector as stage

    return partial(stage, folder, device=given.device)


@evaluate.command()
def detections(
    truth: Truth,
    detections: Annotated[
        Path, typer.Argument(metavar="DETECTIONS", help="COCO results, or a folder of `train-detector`.")
    ],
    class_agnostic: ClassAgnostic = False,
    levels: Levels = None,
    out: ScoresOut = None,
    as_json: options.Json = False,
) -> None:
    """Score detections against amodal truth: AP amodal, visible, of occluded objects, by level, assigned by boxes.

    Example: [bold]amodalpl evaluate detections truth.json runs/detector/detections.json[/bold]
    """
    from amodalpl.evaluation.detections import evaluate_detections as stage

    show(
        lambda progress: stage(
            truth,
            detections,
            class_agnostic=class_agnostic,
            levels=levels,
            out=out,
            progress=progress,
        ),
        as_json,
    )


@evaluate.command()
def boxes(
    truth: Truth,
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of its photos.")],
    detector: Annotated[
        list[Path] | None,
        typer.Option(
            "--detector", metavar="DIR", help="A folder of `train-detector` or `train-compositional`; may be repeated."
        ),
    ] = None,
    proposals: Annotated[
        Path | None,
        typer.Option("--proposals", metavar="DIR", help="Also give the best boxes that this Mask R-CNN proposes."),
    ] = None,
    shapes: Annotated[
        Path | None,
        typer.Option("--shapes", metavar="ANN", help="Also score the mean shape of each class, from these masks."),
    ] = None,
    whole_boxes: Annotated[
        bool, typer.Option("--whole-boxes", help="Give boxes of whole objects, not of their visible parts.")
    ] = False,
    levels: Levels = None,
    out: ScoresOut = None,
    seed: options.Seed = None,
    device: options.DeviceOption = options.Device.auto,
    as_json: options.Json = False,
) -> None:
    """Score whole masks made from boxes, by level of occlusion, beside what boxes give for free.

    Example: [bold]amodalpl evaluate boxes truth.json images/ --shapes instances.json[/bold]
    """
    from amodalpl.evaluation.boxes import evaluate_boxes as stage

    show(
        lambda progress: stage(
            truth,
            images,
            detector or (),
            proposals=proposals,
            shapes=shapes,
            whole_boxes=whole_boxes,
            levels=levels,
            seed=seed or 0,
            out=out,
            device=device.value,
            progress=progress,
        ),
        as_json,
    )


@evaluate.command()
@with_settings
def zoo(
    given: Given,
    truth: Truth,
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of its photos.")],
    detectors: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Output folders of `amodalpl train-detector`.")
    ],
    class_agnostic: ClassAgnostic = False,
    levels: Levels = None,
    out: ScoresOut = None,
) -> Scoring:
    """Run several detectors on the photos of a truth: every AP, the order of pairs, speed and memory in one table.

    Example: [bold]amodalpl evaluate zoo truth.json images/ runs/detector --out scores/zoo[/bold]
    """
    settings = given.settings

    from amodalpl.evaluation.zoo import evaluate_zoo as stage

    return partial(
        stage,
        truth,
        images,
        detectors,
        class_agnostic=class_agnostic,
        levels=levels,
        score_threshold=settings.predict.score_threshold,
        gap_px=settings.labels.near_px,
        out=out,
        device=given.device,
    )


@evaluate.command()
def compare(
    files: Annotated[
        list[Path], typer.Argument(metavar="SCORES...", help="Files that `evaluate ... --out` wrote, or their folders.")
    ],
    as_json: options.Json = False,
) -> None:
    """Put scores side by side. They must have the same truth, protocols, options, objects and visible masks.

    Example: [bold]amodalpl evaluate compare scores/asbu/evaluation.json scores/pcnet/evaluation.json[/bold]
    """
    from amodalpl.evaluation.compare import compare_evaluations as stage

    show(lambda progress: stage(files), as_json)
