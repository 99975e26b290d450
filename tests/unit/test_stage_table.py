"""The table of stages: what it says is what the functions take, and what the command line offers."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from amodalpl.errors import OutputError
from amodalpl.pipeline.stage_table import STAGES, Input, Stage
from amodalpl.runtime.summary import Summary
from amodalpl.settings import PipelineSettings
from amodalpl_cli.main import SHARED_OUT, app
from amodalpl_cli.stages import command_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "design.md"
ROWS = pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)


@ROWS
def test_a_row_names_the_parameters_of_its_function_and_their_defaults(stage):
    if stage.name == "train-detector":
        pytest.importorskip("mmdet")
    parameters = inspect.signature(stage.load()).parameters
    assert set(parameters) == {*(i.name for i in stage.inputs), *stage.takes, "out", "progress"}
    for given in stage.inputs:
        default = parameters[given.name].default
        if given.default != "builtin":  # Python says which completer it means
            assert default == (inspect.Parameter.empty if not given.optional else given.default), given.name


@ROWS
def test_a_stage_hands_over_every_input_and_nothing_else(stage):
    given = {i.name: i.default for i in stage.inputs if i.optional} | {
        i.name: "x" for i in stage.inputs if not i.optional
    }
    assert list(stage.arguments(**given)) == [i.name for i in stage.inputs]
    for wrong in ({**given, "progress": None}, dict(list(given.items())[1:])):
        with pytest.raises(TypeError, match=f"{stage.name}: expected the inputs {stage.inputs[0].name}"):
            stage.arguments(**wrong)


@ROWS
def test_sections_are_sections_of_the_settings(stage):
    sections = stage.settings_of(PipelineSettings())
    assert list(sections) == list(stage.sections)
    assert all(section == PipelineSettings().model_dump(mode="json")[name] for name, section in sections.items())


@ROWS
def test_usage_stands_in_the_table_of_the_design(stage):
    rows = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    needed = [f"{i.flag} {i.metavar}".strip() for i in stage.inputs if not i.optional]
    assert " ".join([stage.name, *needed, "--out DIR"]) in rows


def test_what_is_given_goes_to_the_function(fake_stage, tmp_path):
    calls = fake_stage("pipeline.make_labels", "make_labels")
    paths = {name: tmp_path / name for name in ("annotations", "images", "completer")}
    STAGES["pseudolabel"].run(paths, tmp_path / "out", {"labels": {"gap_px": 3}}, "cpu")
    [(args, given)] = calls
    assert args == () and {name: given[name] for name in paths} == paths and given["out"] == tmp_path / "out"
    assert (given["fmt"], given["review"], given["backend"], given["device"]) == ("auto", None, "torch", "cpu")
    assert given["settings"].labels.gap_px == 3 and "values" not in given


def test_arguments_come_back_from_the_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stage = STAGES["train-detector"]
    given = {"labels": Path("l.json"), "images": Path("i"), "val": None, "val_images": None, "init": "start.pth"}
    given |= {"mmdet_config": "rtmdet/a.py", "whole_boxes": None}
    kept = stage.arguments(**given)
    assert kept == {
        "labels": str(tmp_path / "l.json"),
        "images": str(tmp_path / "i"),
        "val": None,
        "val_images": None,
        "init": str(tmp_path / "start.pth"),
        "mmdet_config": "rtmdet/a.py",  # no file here: a name in MMDetection's package
        "whole_boxes": None,
    }
    again = {i.name: i.from_json(kept[i.name]) for i in stage.inputs}
    assert again == {**given, "labels": tmp_path / "l.json", "images": tmp_path / "i", "init": kept["init"]}
    assert stage.arguments(**{**given, "init": "none"})["init"] == "none"
    kept = STAGES["synth"].arguments(annotations=Path("a.json"), images=Path("i"), fmt="coco")
    assert kept == {"annotations": str(tmp_path / "a.json"), "images": str(tmp_path / "i"), "fmt": "coco"}


@pytest.mark.parametrize(
    ("given", "value", "found"),
    [
        pytest.param(Input("images", "path", "", ""), None, "expected a path, got None", id="missing"),
        pytest.param(Input("images", "path", "", ""), ["a"], r"expected a path, got \['a'\]", id="list"),
        pytest.param(Input("images", "path", "", ""), "a\0", "expected a path", id="character 0"),
        pytest.param(Input("fmt", "format", "", "", "--format"), 3, "expected a word, got 3", id="no word"),
    ],
)
def test_an_argument_changed_by_hand_is_one_line(given, value, found):
    with pytest.raises(OutputError, match=rf"^run.json: arguments.{given.name}: {found}.*; it was changed by hand$"):
        given.from_json(value)


def test_a_new_row_is_a_command(monkeypatch, capsys):
    seen = []

    def load(self):
        return lambda **given: seen.append(given) or Summary(self.name, given["out"])

    monkeypatch.setattr(Stage, "load", load)
    row = Stage(
        name="count-objects",
        function="nowhere:count",
        help="Count objects.",
        example="count-objects ann.json --out counts",
        inputs=(
            Input("annotations", "path", "ANN", "A file."),
            Input("least", "word", "N", "Fewest.", "--least", default="1"),
        ),
        sections=("labels",),
        takes=("values",),
    )
    program = typer.Typer()
    program.callback()(lambda: None)
    program.command()(command_of(row))
    assert "Example: amodalpl count-objects ann.json" in CliRunner().invoke(program, ["count-objects", "--help"]).stdout
    done = CliRunner().invoke(program, ["count-objects", "a.json", "--out", "o", "--set", "labels.gap_px=1"])
    assert done.exit_code == 0, done.output
    [given] = seen
    given.pop("progress")
    assert given == {
        "annotations": Path("a.json"), "least": "1", "out": Path("o"), "values": {"labels": {"gap_px": 1}}
    }  # fmt: skip


def test_the_command_line_has_a_command_for_each_row():
    commands = typer.main.get_command(app).commands
    assert set(STAGES) <= set(commands)
    assert SHARED_OUT == ["complete", "pseudolabel", "train-detector", "refine"]
