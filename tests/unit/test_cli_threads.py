"""`--threads`, waiting without spinning, and the warning on a busy machine."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from amodalpl.runtime.summary import Summary
from amodalpl_cli import main, threads
from amodalpl_cli.main import app


def in_a_process(args, **environment):
    """Return what torch and the environment say in a fresh process, once the command line was read."""
    code = (
        "import os, sys, json\n"
        "from amodalpl_cli import main, threads\n"
        "def act(wanted, set_threads=threads.set_threads):\n"
        "    set_threads(wanted)\n"
        "    import torch\n"
        "    print(json.dumps([torch.get_num_threads(), os.environ.get('OMP_WAIT_POLICY')]))\n"
        "    sys.exit()\n"
        "main.set_threads = act\n"
        f"main.app({args!r})\n"
    )
    kept = {
        name: value for name, value in os.environ.items() if name not in (*threads.THREAD_COUNTS, "OMP_WAIT_POLICY")
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=kept | environment
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "args", [["--threads", "1", "doctor"], ["doctor", "--threads", "1"], ["doctor", "--threads=1", "--json"]]
)
def test_threads_are_taken_anywhere(args, monkeypatch, fake_stage):
    taken = []
    monkeypatch.setattr(main, "set_threads", taken.append)
    fake_stage("tools.doctor", "doctor")
    assert CliRunner().invoke(app, args).exit_code == 0 and taken == [1]


def test_they_reach_torch_which_waits_without_spinning():
    assert in_a_process(["--threads", "1", "doctor"]) == [1, "passive"]


def test_what_the_environment_says_holds():
    assert in_a_process(["doctor"], OMP_NUM_THREADS="2", OMP_WAIT_POLICY="active") == [2, "active"]


def test_a_number_that_is_none_is_one_line():
    result = CliRunner().invoke(app, ["doctor", "--threads", "0"])
    assert result.exit_code == 2 and result.stderr == "error: --threads: expected 1 or more, got 0\n"


@pytest.mark.parametrize(
    ("load", "own", "said"),
    [(1.9, "2", True), (1.0, "2", False), (1.9, "1", False)],
    ids=["busy", "free", "one thread already"],
)
def test_a_busy_machine_is_said_before_long_work_only(load, own, said, monkeypatch, fake_stage):
    monkeypatch.setattr(threads.os, "getloadavg", lambda: (load, 0, 0))
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", own)
    fake_stage("pipeline.complete", "complete", lambda **k: Summary("complete", None))
    fake_stage("tools.check", "check", lambda *a, **k: Summary("check", None))
    long = CliRunner().invoke(app, ["complete", "synth", "--out", "out"]).stderr
    assert (
        "warning: the machine is busy (load 1.9 on 2 cores): this takes longer; --threads 1 leaves more" in long
    ) is said
    assert "busy" not in CliRunner().invoke(app, ["check", "a.json", "images"]).stderr
