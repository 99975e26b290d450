"""What needs no network starts at once: no command imports torch before it has to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from amodalpl.drawn_scenes import write_scenes
from amodalpl_cli.main import COMMANDS

HEAVY = ("torch", "mmengine", "mmcv", "mmdet", "sklearn")
WATCH = """
import json, sys
from amodalpl_cli.main import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    code = end.code
print(json.dumps([code, [name for name in sys.argv[0].split() or HEAVY if name in sys.modules]]), file=sys.stderr)
"""
NAMES = sorted({(c.__name__ if c.__name__ != "explain_score" else "explain").replace("_", "-")
                for commands in COMMANDS.values() for c in commands})  # fmt: skip


def imported(*arguments, cwd=None):
    """Return the exit code of a command, and which heavy packages it imported."""
    code = WATCH.replace("sys.argv[0].split() or HEAVY", repr(HEAVY))
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, cwd=cwd)
    assert done.stderr.strip(), done
    return tuple(json.loads(done.stderr.strip().splitlines()[-1]))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    write_scenes(folder, 4, seed=0, size_hw=(64, 80))
    return folder


def test_the_watch_sees_what_is_imported():
    assert "torch" in imported("doctor")[1]


@pytest.mark.parametrize("name", NAMES)
def test_help(name):
    assert imported(name, "--help") == (0, [])


@pytest.mark.parametrize(
    "command",
    [
        "check annotations.json images",
        "convert annotations.json --images images --to labelme --out labelme",
        "convert --list",
        "settings",
        "synth annotations.json images --out synth --set synthesis.holdout_fraction=0.5",
        "evaluate completion truth.json truth.json",
        "evaluate order truth.json truth.json",
        "complete --list",
        "train-detector --list",
        "explain miou",
    ],
    ids=lambda command: command.split(" --")[0],
)
def test_commands_without_a_network(site, command):
    code, heavy = imported(*command.split(), cwd=site)
    assert (code, heavy) == (0, [])


@pytest.mark.parametrize(
    "command",
    [
        "pseudolabel none.json images --out labels",
        "run tiny --annotations none.json --images images --out all",
        "demo --out all",
    ],
)
def test_something_is_shown_before_torch_is_loaded(site, command):
    """Within a second of an idle machine; here within what a help page takes, since a busy one must not fail it."""
    started = time.monotonic()
    imported("--version")
    usual = time.monotonic() - started
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "amodalpl", *command.split()], stderr=subprocess.PIPE, text=True, cwd=site,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stderr is not None
    first = process.stderr.readline()
    shown = time.monotonic() - started
    process.terminate()  # the demo goes on for long
    process.communicate()
    assert first == "starting; loading torch takes a few seconds\n"
    assert shown < 10 * usual + 1.0
