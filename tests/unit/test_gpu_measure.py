"""`python -m benchmarks.gpu`: figures that survive, rows that end in time, trainings that go on; all without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import __main__ as command_line
from benchmarks.gpu import ceilings, context, figures, runner, wheels
from benchmarks.gpu.context import Context
from benchmarks.gpu.rows import ROWS
from benchmarks.gpu.sizes import SHORT, TINY

REPOSITORY = Path(__file__).parents[2]


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *map(str, arguments)], cwd=REPOSITORY, capture_output=True, text=True
    )


def context_of(row, folder, seconds=1000.0, steps=6):
    return Context(row, folder, folder, torch.device("cpu"), TINY, seconds, steps)


def test_of_two_figures_of_the_same_thing_the_later_counts(tmp_path, capsys):
    for value in (1400.0, 1600.0):
        figures.keep(tmp_path, figures.Figure("b", "asbu", value, "samples/s", at_least=1500))
    figures.keep(tmp_path, figures.Figure("c", "demo", "failed: no photo"))
    (tmp_path / figures.FILE).open("a").write('{"row": "d", "wh')  # its process was ended in the middle
    found = figures.read(tmp_path)
    assert [(f.row, f.value, f.met) for f in found] == [("b", 1600.0, True), ("c", "failed: no photo", None)]
    assert "1,400 samples/s  at least 1,500: NO" in capsys.readouterr().out
    assert figures.table(found).splitlines()[1].split() == "b asbu 1,600 samples/s at least 1,500: yes".split()
    figures.forget(tmp_path, ["b"])
    assert [figure.row for figure in figures.read(tmp_path)] == ["c"]


@pytest.mark.parametrize(
    ("hope", "met"),
    [
        pytest.param({"at_least": 3}, True, id="exactly enough"),
        pytest.param({"at_least": 3.1}, False, id="too little"),
        pytest.param({"at_most": 2.9}, False, id="too much"),
        pytest.param({}, None, id="nothing hoped for"),
    ],
)
def test_what_is_hoped_for(hope, met):
    assert figures.Figure("a", "x", 3, **hope).met is met


def test_a_row_that_takes_too_long_is_ended_with_what_it_started(tmp_path):
    alive = tmp_path / "alive"
    child = (
        f"import time, pathlib\nwhile True: pathlib.Path({str(alive)!r}).write_text(str(time.time())); time.sleep(.05)"
    )
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    state, seconds = runner.run_limited([sys.executable, "-c", parent], {}, 2.0)
    assert state == "out of time" and seconds < 30
    last = alive.read_text()
    time.sleep(0.3)
    assert alive.read_text() == last  # the child has ended too


def test_a_row_that_fails_is_told():
    assert runner.run_limited([sys.executable, "-c", "raise SystemExit(3)"], {}, 60)[0] == "failed with exit code 3"


def test_every_row_has_its_file():
    folder = REPOSITORY / "benchmarks" / "gpu"
    assert all((folder / f"{row.module}.py").is_file() for row in ROWS.values())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        pytest.param(["--rows", "b,z"], "expected some of ceilings,doctor,a,", id="unknown row"),
        pytest.param(["--annotations", "x.json"], "belong together", id="photos without images"),
        pytest.param(["--short", "--tiny"], "not allowed with argument", id="two sizes"),
        pytest.param(["--wheels", "nowhere"], "expected a folder with .whl files, found none", id="no wheels"),
    ],
)
def test_wrong_usage(tmp_path, arguments, line):
    result = command("--out", tmp_path, *arguments)
    assert result.returncode != 0 and line in result.stderr and "Traceback" not in result.stderr


def test_the_cheap_rows_run_in_the_order_asked_for_and_leave_a_table(tmp_path):
    result = command("--tiny", "--device", "cpu", "--out", tmp_path, "--rows", "doctor,ceilings")
    assert result.returncode == 0, result.stderr
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert list(written["rows"]) == ["doctor", "ceilings"]
    assert {name: row["state"] for name, row in written["rows"].items()} == {"ceilings": "done", "doctor": "done"}
    values = {figure["what"]: figure["value"] for figure in written["figures"]}
    assert values["torch"] and values["matrix product in bf16"] > 0 and values["numpy"].startswith("numpy ")
    assert result.stdout.endswith((tmp_path / "table.txt").read_text())


def test_a_row_is_measured_at_the_size_asked_for(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(ceilings, "measure", lambda given: seen.append(given.sizes))
    monkeypatch.setattr(sys, "argv", ["gpu", "--short", "--device", "cpu", "--out", str(tmp_path)])
    options = command_line.read_options()
    monkeypatch.setattr(sys, "argv", ["gpu", *command_line.row_command(options, tmp_path, "ceilings", 9.0)[3:]])
    assert context.measure(command_line.read_options()) == 0 and seen == [SHORT]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_it_says_so_and_stops(tmp_path):
    result = command("--out", tmp_path, "--rows", "ceilings,doctor")
    assert result.returncode == 1 and "torch sees no GPU; --tiny --device cpu" in result.stderr
    assert list(json.loads((tmp_path / "gpu.json").read_text())["rows"]) == ["ceilings"]


def test_a_row_is_not_begun_without_time(tmp_path):
    result = command("--tiny", "--device", "cpu", "--out", tmp_path, "--rows", "ceilings", "--minutes", "0.4")
    assert result.returncode == 1 and "not begun: no time left" in result.stdout


def test_the_real_training_goes_on_in_the_next_call(tmp_path):
    from benchmarks.gpu.long_training import measure

    measure(context_of("f", tmp_path, seconds=0))  # time is up at once: it stops behind the first checkpoint
    first = {figure.what: figure.value for figure in figures.read(tmp_path)}
    assert first["steps done"] == TINY.checkpoint_every
    measure(context_of("f", tmp_path))
    last = {figure.what: figure.value for figure in figures.read(tmp_path)}
    assert last["steps done"] == 6 and any(what.startswith("hold-out: ") for what in last)
    steps_again = [json.loads(line)["value"] for line in (tmp_path / figures.FILE).read_text().splitlines()]
    assert steps_again.count(6) == 1


def test_what_goes_wrong_is_a_figure_and_does_not_stop_the_row(tmp_path):
    context = context_of("b", tmp_path)
    with context.attempt("one way"):
        raise RuntimeError("no such kernel\nand a long trace")
    context.say("another", 1)
    assert [f.value for f in figures.read(tmp_path)] == ["failed: RuntimeError: no such kernel", 1]


def test_every_wheel_has_a_pinned_version():
    versions = wheels.pinned()
    assert set(wheels.MISSING) <= set(versions) and set(wheels.FROM_SOURCE) <= set(wheels.MISSING)


@pytest.mark.slow
def test_all_rows_run_on_a_cpu(tmp_path):
    result = command("--tiny", "--device", "cpu", "--out", tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert {row["state"] for row in written["rows"].values()} == {"done"} and set(written["rows"]) == set(ROWS)
    found = {(figure["row"], figure["what"]): figure["value"] for figure in written["figures"]}
    assert {row for row, _ in found} == set(ROWS)
