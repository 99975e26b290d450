"""The command line as a whole: help, version, and errors as one line with an exit code."""

from __future__ import annotations

import errno
import runpy
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from amodalpl.errors import AmodalplError, CheckpointError, DataError, MissingPackageError, OutputError, SettingsError
from amodalpl.version import __version__
from amodalpl_cli.main import app

SYNTH = ["synth", "ann.json", "images", "--out", "out"]


def invoke(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def failing(error):
    def act(*args, **kwargs):
        raise error

    return act


@pytest.mark.parametrize(
    "error", [AmodalplError, CheckpointError, DataError, MissingPackageError, OutputError, SettingsError]
)
def test_every_error_of_ours_is_one_line_and_exit_2(fake_stage, error):
    fake_stage(
        "pipeline.synth", "synth", failing(error("a.json: annotations[3].segmentation:\nexpected RLE, got None"))
    )
    result = invoke(*SYNTH)
    assert result.exit_code == 2
    assert result.stderr == "error: a.json: annotations[3].segmentation: expected RLE, got None\n"
    assert result.stdout == ""


def test_markup_in_messages_is_printed_as_it_is(fake_stage):
    fake_stage("pipeline.synth", "synth", failing(DataError("a.json: [bold]x[/bold] [/nothing]")))
    assert invoke(*SYNTH).stderr == "error: a.json: [bold]x[/bold] [/nothing]\n"


@pytest.mark.parametrize("args", [["--debug", *SYNTH], [*SYNTH, "--debug"]], ids=["before", "after"])
def test_debug_adds_the_trace(fake_stage, args):
    fake_stage("pipeline.synth", "synth", failing(DataError("no such file")))
    result = invoke(*args)
    assert result.exit_code == 2
    assert "Traceback" in result.stderr and result.stderr.endswith("error: no such file\n")


def test_interrupt_says_how_to_go_on(fake_stage):
    fake_stage("pipeline.synth", "synth", failing(KeyboardInterrupt()))
    result = invoke(*SYNTH)
    assert result.exit_code == 130
    assert result.stderr == "interrupted; start the same command again to go on\n"


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(MemoryError(), "error: out of memory; try a smaller --set training.batch_size=", id="memory"),
        pytest.param(OutOfMemoryError("CUDA"), "error: out of memory; try a smaller", id="GPU memory"),
        pytest.param(
            RuntimeError("CUDA error: out of memory"),
            "error: out of memory; try a smaller",
            id="memory of a GPU library",
        ),
        pytest.param(
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "error: out of memory; try a smaller",
            id="torch on a CPU",
        ),
        pytest.param(OSError(errno.ENOSPC, "x", "out/w.pth"), "error: out/w.pth: no space left on the disk", id="disk"),
        pytest.param(PermissionError(errno.EACCES, "x", "out"), "error: out: Permission denied", id="rights"),
        pytest.param(
            ModuleNotFoundError("No module named 'cv2'", name="cv2"),
            "error: the package cv2 is not installed; `amodalpl doctor` says what to do",
            id="package",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line(fake_stage, error, line):
    fake_stage("pipeline.synth", "synth", failing(error))
    result = invoke(*SYNTH)
    assert result.exit_code == 2
    assert result.stderr.startswith(line) and result.stderr.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("ours"), ModuleNotFoundError("x", name="amodalpl.oops")], ids=repr)
def test_our_own_mistakes_keep_their_trace(fake_stage, error):
    fake_stage("pipeline.synth", "synth", failing(error))
    result = invoke(*SYNTH)
    assert result.exit_code == 1 and result.exception is error


@pytest.mark.parametrize(
    ("args", "text"),
    [
        pytest.param(["synth", "ann.json", "images"], "Missing option '--out'", id="no --out"),
        pytest.param([*SYNTH, "--sede", "1"], "No such option", id="misspelt option"),
        pytest.param(["snyth"], "No such command 'snyth'", id="misspelt command"),
        pytest.param([*SYNTH, "--device", "tpu"], "'tpu' is not one of", id="device"),
        pytest.param([*SYNTH, "--format", "voc"], "error: --format: expected a known", id="format"),
        pytest.param([*SYNTH, "--seed", "x"], "Invalid value for '--seed'", id="seed"),
        pytest.param([*SYNTH, "--set", "synthesis.patchpx=3"], "did you mean 'patch_px'", id="setting"),
        pytest.param([*SYNTH, "--set", "synthesis.patch_px"], "expected section.key=value", id="no value"),
        pytest.param([*SYNTH, "--config", "none.yaml"], "none.yaml: expected a settings file", id="no config"),
        pytest.param(["complete", "s", "--out", "o", "--method", "asbo"], "did you mean 'asbu'", id="method"),
        pytest.param(["run", "none.yaml", "--out", "o"], "none.yaml: expected a settings file", id="run, no config"),
        pytest.param(["evaluate"], "Usage", id="evaluate what"),
        pytest.param(["settings", "trainning"], "did you mean 'training'", id="section"),
    ],
)
def test_wrong_usage_is_exit_2_before_anything_is_written(tmp_path, monkeypatch, args, text):
    monkeypatch.chdir(tmp_path)
    result = invoke(*args)
    assert result.exit_code == 2, result.output
    assert text in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("steps", "asked", "place"), [(3, -4, "settings"), (-4, None, "mine.yaml"), (-4, -5, "mine.yaml")]
)
def test_a_wrong_value_is_looked_for_in_the_file_only_where_it_is(tmp_path, monkeypatch, steps, asked, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(f"training:\n  steps: {steps}\n")
    override = [] if asked is None else ["--set", f"training.steps={asked}"]
    result = invoke("complete", "s", "--out", "o", "--config", "mine.yaml", *override)
    assert result.exit_code == 2 and result.output.startswith(f"error: {place}: training.steps: ")


def test_a_value_that_an_option_mends_is_no_error_of_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("training:\n  steps: -4\n")
    result = invoke("complete", "s", "--out", "o", "--config", "mine.yaml", "--set", "training.steps=4")
    assert "training.steps" not in result.output


def test_cuda_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = invoke(*SYNTH, "--device", "cuda")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --device cuda: ") and "use --device cpu" in result.stderr


def test_version():
    assert invoke("--version").stdout == f"amodalpl {__version__}\n"


def test_help_names_every_command_of_the_contract():
    text = invoke("--help").stdout
    commands = ("check", "synth", "complete", "pseudolabel", "train-detector", "evaluate", "run", "demo", "doctor")
    assert [name for name in commands if name not in text] == []


STAGES = [
    "check",
    "synth",
    "complete",
    "pseudolabel",
    "train-detector",
    "predict",
    "evaluate completion",
    "evaluate order",
    "evaluate detector",
    "demo",
]


@pytest.mark.parametrize("command", STAGES)
def test_every_stage_has_the_shared_options_and_an_example(command):
    text = invoke(*command.split(), "--help").stdout
    missing = [name for name in ("--config", "--set", "--seed", "--device", "--json") if name not in text]
    assert missing == [] and f"Example: amodalpl {command}" in " ".join(text.split())


@pytest.mark.parametrize("args", ["--help", "synth --help", "train-detector --help", "settings"])
def test_help_needs_neither_torch_nor_mmdet(args):
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'mmengine', 'mmcv', 'mmdet', 'cv2'), None))\n"
        "from amodalpl_cli.main import app\n"
        f"app({args.split()!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [SYNTH, ["run", "tiny", "--out", "out"]], ids=["synth", "run"])
def test_what_is_not_shared_out_refuses_several_processes(fake_stage, monkeypatch, command):
    fake_stage("pipeline.synth", "synth", failing(AssertionError("started")))
    fake_stage("pipeline.run_all", "run_pipeline", failing(AssertionError("started")))
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = invoke(*command)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {command[0]}: expected one process, got WORLD_SIZE=2; `torchrun` is for ")


@pytest.mark.parametrize(("rank", "processes"), [("1", "1"), ("abc", "2"), ("0", ""), ("-1", "2")])
def test_a_process_number_left_in_the_environment_is_one_line(fake_stage, monkeypatch, rank, processes):
    """Without it, a number that is not 0 would make every command do its work, or none, and say nothing."""
    fake_stage("pipeline.synth", "synth", failing(AssertionError("started")))
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", processes)
    result = invoke(*SYNTH)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: RANK, WORLD_SIZE: expected a process of `torchrun`")


def test_python_m_amodalpl_is_the_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["amodalpl", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("amodalpl", run_name="__main__")
    assert end.value.code == 0 and capsys.readouterr().out.split()[-1] == __version__


def test_the_first_page_of_help_leads_to_ones_own_masks():
    text = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())
    assert "Your own masks: amodalpl check instances.json images/ says what to run next" in text
    text = " ".join(CliRunner().invoke(app, ["pseudolabel", "--help"]).stdout.replace("│", "").split())
    assert "`amodalpl convert` reads others" in text
