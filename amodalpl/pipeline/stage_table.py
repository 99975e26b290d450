"""The table of stages: what each is given, which settings shape it, and where its function is.

The command line, `run`, `rerun` and the documentation read it. A new stage is a row here and a file beside this one:
a function that takes its inputs by the names below, `out`, `progress`, and what else its row says.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from ..errors import OutputError
from ..runtime.progress import SILENT, Progress
from ..runtime.summary import Summary

Kind = Literal["path", "path or none", "path or name", "completer", "word", "format", "flag"]
_WORDS = {"path or none": "none", "completer": "builtin"}  # that may stand for a path


@dataclass(frozen=True)
class Input:
    """One thing that a stage is given.

    Attributes:
        name: of the function's parameter, and of the entry under `arguments` in run.json.
        kind: "path or none" also takes the word `none`, "completer" the word `builtin`, "path or name" what is no file
            here; "format" is one of `data.read.FORMATS`; "flag" is given or not.
        metavar: what stands for it in help.
        help: one line.
        flag: of the command line, such as `--val`; "" for what is given by its position.
        required: of what has a flag; what has none always is.
        default: what the stage gets where it is left out: None, or a word; False for a flag.
        shown_default: what help says in place of `default`.
    """

    name: str
    kind: Kind
    metavar: str
    help: str
    flag: str = ""
    required: bool = False
    default: str | bool | None = None
    shown_default: str = ""

    @property
    def optional(self) -> bool:
        """Whether it may be left out."""
        return bool(self.flag) and not self.required

    def to_json(self, value: Any) -> str | bool | None:
        """Return a value as run.json holds it: paths in full."""
        if value is None or self.kind in ("word", "format", "flag"):
            return value
        if str(value) == _WORDS.get(self.kind):
            return str(value)
        if self.kind == "path or name" and not Path(value).is_file():
            return value
        return str(Path(value).resolve())

    def from_json(self, value: Any) -> Any:
        """Return a value of run.json as the stage takes it.

        Raises:
            OutputError: it is no path, or no word.
        """
        if value is None and self.optional:
            return self.default
        if self.kind == "flag" and isinstance(value, bool):
            return value
        if not isinstance(value, str) or "\0" in value:
            expected = "a word" if self.kind in ("word", "format") else "a path"
            found = reprlib.repr(value)
            raise OutputError(
                f"run.json: arguments.{self.name}: expected {expected}, got {found}; it was changed by hand"
            )
        return Path(value) if self.kind == "path" else value


@dataclass(frozen=True)
class Choice:
    """A setting that the command line offers as an option of its own, beside `--list` for what can be chosen.

    Attributes:
        name: of the option.
        setting: as `--set` takes it.
        table: "module:NAME" of a mapping from names to rows, each with `describe()` -> what to print beside the name.
        starts: another option, and the table of what is there to give to it, which --list shows below.
    """

    name: str
    setting: str
    table: str
    starts: tuple[str, str] | None = None

    def tables(self) -> dict[str, dict[str, dict[str, str]]]:
        """Return what can be chosen: option -> name -> column -> text."""
        tables = dict([(self.name, self.table), *([self.starts] if self.starts else [])])
        return {option: _described(table) for option, table in tables.items()}


def _described(table: str) -> dict[str, dict[str, str]]:
    module, _, name = table.partition(":")
    return {key: row.describe() for key, row in getattr(import_module(module), name).items()}


@dataclass(frozen=True)
class Stage:
    """One row of the table.

    Attributes:
        name: of the command, and in run.json.
        function: "module:name", imported when it is called.
        help: what it does, for `--help`.
        example: of a command line, without the program's name.
        inputs: in the order of the function's parameters.
        sections: settings that shape its result.
        takes: what the function gets beside inputs, `out` and `progress`: "settings" (resolved), "values" (only those
            that were given, for a stage that takes over the others from the stage before), "device".
        shared: the processes of one `torchrun` do it together.
        folder: its output folder within that of `run`; "" for a stage that `run` does not do.
        choice: see `Choice`.
    """

    name: str
    function: str
    help: str
    example: str
    inputs: tuple[Input, ...]
    sections: tuple[str, ...] = ()
    takes: tuple[Literal["settings", "values", "device"], ...] = ()
    shared: bool = False
    folder: str = ""
    choice: Choice | None = None

    def load(self) -> Callable[..., Summary]:
        """Import the function."""
        module, _, name = self.function.partition(":")
        return getattr(import_module(module), name)

    def run(
        self,
        given: Mapping[str, Any],
        out: Path,
        values: Mapping[str, Any],
        device: str = "auto",
        progress: Progress = SILENT,
    ) -> Summary:
        """Call the stage.

        Args:
            given: inputs by name; optional ones may be missing.
            out: output folder.
            values: settings that were asked for.
            device: "auto", "cpu" or "cuda".
            progress: shown while it works.

        Raises:
            AmodalplError: whatever the stage raises.
        """
        from ..settings_values import resolve

        given = {i.name: given.get(i.name, i.default) for i in self.inputs}
        beside = {"settings": lambda: resolve(values), "values": lambda: values, "device": lambda: device}
        return self.load()(**given, out=out, progress=progress, **{name: beside[name]() for name in self.takes})

    def arguments(self, **given: Path | str | bool | None) -> dict[str, str | bool | None]:
        """Return the inputs as run.json holds them.

        Args:
            given: every input of the row, by its name.

        Raises:
            TypeError: an input is missing, or something else is given.
        """
        names = [i.name for i in self.inputs]
        if given.keys() != set(names):
            raise TypeError(f"{self.name}: expected the inputs {', '.join(names)}, got {', '.join(given)}")
        return {i.name: i.to_json(given[i.name]) for i in self.inputs}

    def settings_of(self, settings: Any) -> dict[str, Any]:
        """Return the sections that shape the result, in JSON values."""
        return {name: getattr(settings, name).model_dump(mode="json") for name in self.sections}


_ANNOTATIONS = Input(
    "annotations",
    "path",
    "ANN",
    "Annotation file (COCO, COCOA, KINS, D2SA) or folder of COCOA records; `amodalpl convert` reads others.",
)
_IMAGES = Input("images", "path", "IMAGES", "Folder that the file names in ANN start from.")
_FORMAT = Input("fmt", "format", "FORMAT", "Format of ANN; auto looks at the content.", "--format", default="auto")
_BACKEND = Input(
    "backend", "word", "torch|onnx", "What runs it; for onnx see `amodalpl export-onnx`.", "--backend", default="torch"
)

ADVISED = ("ready-made", "fine-tuned", "own")
"""Completers that `amodalpl advise` compares, the cheapest first."""

_ROWS = (
    Stage(
        name="advise",
        function="amodalpl.pipeline.advise:advise",
        help="""Measure on your own masks whether the ready-made completer will do, or what training would bring.

        Scores of the ready-made one, of one fine-tuned in a tenth of the steps and, with --until own, of one trained
        from scratch stand beside those of the convex hull, on occlusions made of your masks.""",
        example="advise instances.json images/ --out runs/advice --config coco_cpu",
        inputs=(
            _ANNOTATIONS,
            _IMAGES,
            _FORMAT,
            Input("until", "word", "|".join(ADVISED), "The costliest to measure.", "--until", default="fine-tuned"),
        ),
        sections=("synthesis", "completer", "training", "labels"),
        takes=("values", "device"),
    ),
    Stage(
        name="synth",
        function="amodalpl.pipeline.synth:synth",
        help="""Cut out the objects and freeze a hold-out of synthetic occlusions.

        Open preview.png in the output folder: it shows what a completer will learn from.""",
        example="synth instances.json images/ --out runs/synth",
        inputs=(_ANNOTATIONS, _IMAGES, _FORMAT),
        sections=("synthesis",),
        takes=("settings",),
        folder="synth",
        choice=Choice("recipe", "synthesis.recipe", "amodalpl.synthesis.recipe_table:CHOICES"),
    ),
    Stage(
        name="complete",
        function="amodalpl.pipeline.complete:complete",
        help="""Train a completer on occlusions synthesised from the cut-outs.

        Settings that are not given here are those of SYNTH_DIR.""",
        example="complete runs/synth --out runs/completer --set training.steps=3000",
        inputs=(
            Input("synth_dir", "path", "SYNTH_DIR", "Output folder of `amodalpl synth`."),
            Input(
                "init",
                "completer",
                "DIR|builtin",
                "Start from this completer, an output folder of `complete`, or from that of the package; a tenth of "
                "the steps is enough then.",
                "--init",
            ),
        ),
        sections=("synthesis", "completer", "training", "labels"),
        takes=("values", "device"),
        shared=True,
        folder="completer",
        choice=Choice(
            "method", "completer.method", "amodalpl.models.completer_table:METHODS", ("init", "amodalpl.builtin:STARTS")
        ),
    ),
    Stage(
        name="pseudolabel",
        function="amodalpl.pipeline.make_labels:make_labels",
        help="""Write an amodal mask for every instance, with its occluders and its uncertainty.

        The label file is plain COCO; open report.html to judge it by eye. Under `torchrun` the photos are shared out.
        """,
        example="pseudolabel instances.json images/ --out runs/labels",
        inputs=(
            _ANNOTATIONS,
            _IMAGES,
            Input(
                "completer",
                "completer",
                "DIR",
                "Output folder of `amodalpl complete`; the package's own completer needs no training.",
                "--completer",
                default="builtin",
            ),
            _FORMAT,
            Input("review", "path", "FILE", "Keep its decisions on labels that come out the same.", "--review"),
            _BACKEND,
            Input(
                "detector",
                "path",
                "DIR",
                "Ask this output folder of `train-detector` or `train-compositional` what is in the boxes of ANN; no "
                "masks are needed.",
                "--detector",
            ),
            Input(
                "calibrate",
                "path",
                "DIR",
                "Hold the uncertainty of --detector against this folder of `synth --recipe occluded-objects`.",
                "--calibrate",
            ),
            Input(
                "add",
                "flag",
                "",
                "ANN has grown since DIR was labelled: label what is new or changed, keep all other labels.",
                "--add",
                default=False,
            ),
        ),
        sections=("labels",),
        takes=("settings", "device"),
        shared=True,
        folder="labels",
    ),
    Stage(
        name="apply-review",
        function="amodalpl.pipeline.apply_review:apply_review",
        help="""Carry out what was decided in report.html, in a corrected label folder.

        Rejected labels become regions that detectors ignore; labels kept modal get their visible mask as the whole one.
        """,
        example="apply-review runs/labels images/ review.json --out runs/corrected",
        inputs=(
            Input("labels", "path", "LABELS_DIR", "Output folder of `pseudolabel`, or labels/ of `predict`."),
            Input("images", "path", "IMAGES", "Folder of its photos."),
            Input("review", "path", "REVIEW", "Decisions, as report.html exports them."),
            Input("completer", "completer", "DIR", "Show its scores in the new report.", "--completer"),
            Input(
                "add",
                "flag",
                "",
                "DIR was made of fewer labels, or by an earlier review: its decisions stay.",
                "--add",
                default=False,
            ),
        ),
    ),
    Stage(
        name="train-compositional",
        function="amodalpl.pipeline.train_compositional:train_compositional",
        help="""Learn the shapes of classes from boxes alone, for `pseudolabel --detector` (Bayesian-Amodal).

        Needs MMDetection: [bold]pip install 'amodalpl\\[detector]'[/bold]""",
        example="train-compositional boxes.json images/ --init backbone.pth --out runs/shapes",
        inputs=(
            _ANNOTATIONS,
            _IMAGES,
            _FORMAT,
            Input("init", "path or none", "FILE|none", "Weights of the backbone, or random ones.", "--init"),
        ),
        sections=("compositional",),
        takes=("settings", "device"),
    ),
    Stage(
        name="train-detector",
        function="amodalpl.pipeline.train_detector:train_detector",
        help="""Train a detector of whole objects on a label file, and score it.

        Needs MMDetection: [bold]pip install 'amodalpl\\[detector]'[/bold]""",
        example="train-detector runs/labels/pseudo_amodal.json images/ --out runs/detector",
        inputs=(
            Input("labels", "path", "LABELS", "Label file, such as pseudo_amodal.json; any COCO file will do."),
            _IMAGES,
            Input("val", "path", "ANN", "Score on this file; without it, photos of LABELS are kept apart.", "--val"),
            Input("val_images", "path", "DIR", "Photos of --val.", "--val-images", shown_default="IMAGES"),
            Input(
                "init",
                "path or none",
                "FILE|DIR|none",
                "Start from this checkpoint, from a folder of this stage, or from random weights.",
                "--init",
            ),
            Input(
                "mmdet_config",
                "path or name",
                "FILE|NAME",
                "Train the model of this config of MMDetection, a file or a name within its package.",
                "--mmdet-config",
            ),
            Input(
                "whole_boxes",
                "path",
                "FILE",
                "Models of boxes: objects with a visible box only get the whole box of this earlier label file.",
                "--whole-boxes",
            ),
        ),
        sections=("detector",),
        takes=("settings", "device"),
        shared=True,
        folder="detector",
        choice=Choice("model", "detector.model", "amodalpl.detector.model_table:MODELS"),
    ),
    Stage(
        name="refine",
        function="amodalpl.pipeline.refine:refine",
        help="""Improve labels in rounds: where a detector trained on them says else, weigh less, replace or drop.

        Ends when a detector does no better on the hold-out of SYNTH_DIR, which nobody learns from. Needs MMDetection:
        [bold]pip install 'amodalpl\\[detector]'[/bold]""",
        example="refine runs/labels images/ --synth runs/synth --out runs/refined --init resnet50.pth",
        inputs=(
            Input("labels", "path", "LABELS_DIR", "Output folder of `pseudolabel` or `apply-review`."),
            _IMAGES,
            Input(
                "synth_dir",
                "path",
                "SYNTH_DIR",
                "Output folder of `synth` on the same annotations; its hold-out is scored on.",
                "--synth",
                required=True,
            ),
            Input(
                "init",
                "path or none",
                "FILE|DIR|none",
                "Start weights of each round's detector, as for `train-detector`.",
                "--init",
            ),
        ),
        sections=("detector", "refine"),
        shared=True,
        takes=("settings", "device"),
        folder="refined",
    ),
    Stage(
        name="predict",
        function="amodalpl.pipeline.predict:predict",
        help="""Detect objects on photos or in a video, and write labels, COCO results and pictures.

        The labels are a folder as `pseudolabel` writes it. With --completer, the masks of any MMDetection model with
        masks are completed. Needs MMDetection: [bold]pip install 'amodalpl\\[detector]'[/bold]""",
        example="predict photos/ --detector runs/detector --out runs/found",
        inputs=(
            Input("source", "path", "SOURCE", "A photo, a folder, a pattern in quotes ('photos/*.jpg'), or a video."),
            Input(
                "detector",
                "path",
                "DIR",
                "Output folder of `amodalpl train-detector`, or a config file of MMDetection.",
                "--detector",
                required=True,
            ),
            Input("checkpoint", "path", "FILE", "Weights for a config of MMDetection.", "--checkpoint"),
            Input(
                "completer",
                "completer",
                "DIR|builtin",
                "Complete the masks by this output of `complete`.",
                "--completer",
            ),
        ),
        sections=("predict", "labels"),
        takes=("settings", "device"),
    ),
)
STAGES = {stage.name: stage for stage in _ROWS}
IN_RUN = [stage.name for stage in _ROWS if stage.folder]
"""Names of the stages that `amodalpl run` does, in order."""
