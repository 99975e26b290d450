"""Output folders: a run is continued, another run's folder is refused, and the record says where all came from."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from amodalpl.errors import DataError, OutputError
from amodalpl.io.files import hash_output
from amodalpl.runtime import stage_run
from amodalpl.runtime.stage_run import StageRun, finished_run, git_state

SETTINGS = {"training": {"steps": 10, "workers": 2}}
INPUTS = {"annotations": "abc"}


def open_run(out, stage="complete", settings=SETTINGS, inputs=INPUTS, seed=0):
    return StageRun.open(out, stage, settings, inputs, seed)


def test_fresh_folder_is_claimed_as_unfinished(tmp_path):
    run = open_run(tmp_path / "a" / "b")
    record = json.loads((tmp_path / "a" / "b" / "run.json").read_text())
    assert not run.done and record["state"] == "unfinished"
    assert record["settings"] == SETTINGS and record["inputs"] == INPUTS and record["stage"] == "complete"
    assert {"amodalpl", "git", "command", "seed"} <= record.keys()


def test_same_run_is_continued_and_then_done(tmp_path):
    open_run(tmp_path)
    again = open_run(tmp_path)
    assert not again.done
    again.finish({"kept": 3}, ["weights.pth", "curves.png"])
    last = open_run(tmp_path)
    assert last.done and last.counts == {"kept": 3} and list(last.record["outputs"]) == ["curves.png", "weights.pth"]


def test_number_of_workers_does_not_make_another_run(tmp_path):
    open_run(tmp_path)
    open_run(tmp_path, settings={"training": {"steps": 10, "workers": 0}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"stage": "synth"}, "stage: it has 'complete', asked for 'synth'", id="stage"),
        pytest.param({"seed": 1}, "seed: it has 0, asked for 1", id="seed"),
        pytest.param(
            {"settings": {"training": {"steps": 20, "workers": 2}}},
            "training.steps: it has 10, asked for 20",
            id="setting",
        ),
        pytest.param({"inputs": {"annotations": "xyz"}}, "another annotations file", id="input"),
        pytest.param({"settings": {}}, "other training settings", id="section"),
    ],
)
def test_folder_of_another_run_is_refused_and_left_alone(tmp_path, change, message):
    open_run(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(OutputError, match=message):
        open_run(tmp_path, **change)
    assert (tmp_path / "run.json").read_bytes() == before


def test_folder_with_foreign_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match=r"found thesis.tex without run.json"):
        open_run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_leftover_of_a_killed_write_does_not_block_a_fresh_folder(tmp_path):
    (tmp_path / ".run.part.json").write_text("{")
    assert not open_run(tmp_path).done


def test_out_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="expected a folder to write to"):
        open_run(tmp_path / "out")


@pytest.mark.parametrize("content", ["{", "[]", "3"], ids=["half", "list", "number"])
def test_broken_record_is_one_clear_line(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises((DataError, OutputError), match=str(tmp_path)):
        open_run(tmp_path)


def test_finished_run_tells_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match="expected the record of a finished `amodalpl synth`, found no such file"):
        finished_run(tmp_path, "synth")
    run = open_run(tmp_path, stage="synth")
    with pytest.raises(OutputError, match="has not finished there"):
        finished_run(tmp_path, "synth")
    run.finish({}, [])
    assert finished_run(tmp_path, "synth")["state"] == "done"
    with pytest.raises(OutputError, match="expected an output folder of `amodalpl complete`, got one of 'synth'"):
        finished_run(tmp_path, "complete")


def test_what_a_killed_process_left_is_removed_by_the_next_start(tmp_path, monkeypatch):
    run = open_run(tmp_path)
    (tmp_path / "bank").mkdir()
    left = [tmp_path / ".weights.part0.pth", tmp_path / "bank" / ".table.part3.npy", tmp_path / ".list.part0"]
    kept = [tmp_path / ".hidden.json", tmp_path / "a.part0.json", tmp_path / "bank" / ".parts"]
    for file in left + kept:
        file.write_text("half")
    del run  # its lock goes with it
    open_run(tmp_path)
    assert [file.exists() for file in left + kept] == [False] * 3 + [True] * 3


def test_end_of_a_run_is_recorded_with_hashes_time_and_machine(tmp_path):
    run = StageRun.open(tmp_path / "out", "synth", SETTINGS, INPUTS, 0, {"images": "photos", "fmt": "auto"})
    (run.out / "a.json").write_text("{}")
    (run.out / "folder").mkdir()
    (run.out / "folder" / "b").write_text("b")
    run.finish({}, ["folder", "a.json", "gone"])
    record = json.loads((run.out / "run.json").read_text())
    assert record["arguments"] == {"images": "photos", "fmt": "auto"}
    assert record["outputs"]["a.json"] == hashlib.sha256(b"{}").hexdigest() and record["outputs"]["gone"] is None
    assert record["took"]["seconds"] >= 0 and record["took"]["peak_memory_mb"] > 10
    assert record["machine"]["python"] == platform.python_version() and record["machine"]["numpy"] == np.__version__
    before = record["outputs"]["folder"]
    (run.out / "folder" / "b").rename(run.out / "folder" / "c")
    assert hash_output(run.out / "folder") != before


def test_arguments_do_not_make_another_run(tmp_path):
    StageRun.open(tmp_path, "synth", SETTINGS, INPUTS, 0, {"images": "here"})
    again = StageRun.open(tmp_path, "synth", SETTINGS, INPUTS, 0, {"images": "there"})
    assert again.record["arguments"] == {"images": "there"}


def test_bad_input_frees_the_folder_but_keeps_hidden_files_of_the_user(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref")
    run = StageRun.open(tmp_path, "synth", {}, {}, 0)
    (tmp_path / "bank").mkdir()
    with pytest.raises(DataError), run.released_on_bad_input():
        raise DataError("too few objects")
    assert sorted(p.name for p in tmp_path.rglob("*")) == [".git", "HEAD"]
    StageRun.open(tmp_path, "synth", {}, {"annotations": "corrected"}, 0)


def test_bad_input_takes_a_folder_of_its_own_away(tmp_path):
    run = StageRun.open(tmp_path / "out", "synth", {}, {}, 0)
    with pytest.raises(DataError), run.released_on_bad_input():
        raise DataError("too few objects")
    assert not (tmp_path / "out").exists()


def test_bad_input_is_told_though_a_folder_cannot_be_removed(tmp_path, monkeypatch):
    run = StageRun.open(tmp_path / "out", "synth", {}, {}, 0)
    (tmp_path / "out" / "bank").mkdir()

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.rmdir", refuse)
    with pytest.raises(DataError, match="too few objects"), run.released_on_bad_input():
        raise DataError("too few objects")


def test_a_run_that_may_grow_goes_on_only_from_its_state(tmp_path):
    """More steps are the same run where the state is there to go on from, and no run where it is not."""
    grows = ("training.steps", "checkpoint.pth")
    more = {"training": {"steps": 20, "workers": 2}}
    StageRun.open(tmp_path, "complete", SETTINGS, INPUTS, 0, None, grows).finish({}, [])
    with pytest.raises(OutputError, match="has finished 10 steps and kept no state to go on from"):
        StageRun.open(tmp_path, "complete", more, INPUTS, 0, None, grows)
    (tmp_path / "checkpoint.pth").write_bytes(b"state")
    longer = StageRun.open(tmp_path, "complete", more, INPUTS, 0, None, grows)
    assert not longer.done and longer.record["grown from"] == [10]


def test_processes_that_claim_a_folder_in_one_moment_both_get_it(tmp_path, monkeypatch):
    StageRun.open(tmp_path, "complete", {}, {}, 0)
    record = tmp_path / "run.json"
    exists, early = Path.exists, [record]
    monkeypatch.setattr(Path, "exists", lambda path: False if path in early and early.pop() else exists(path))
    assert not StageRun.open(tmp_path, "complete", {}, {}, 0).done


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of which `stage_run.py` is a part."""
    file = tmp_path / "amodalpl" / "runtime" / "stage_run.py"
    file.parent.mkdir(parents=True)
    file.write_text("one")
    monkeypatch.setattr(stage_run, "__file__", str(file))

    def git(*command):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(
            ["git", "-C", tmp_path, *who, *command], capture_output=True, text=True, check=True
        ).stdout

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    return file, git


def test_git_state_is_the_commit_and_whether_it_was_changed(checkout):
    file, git = checkout
    commit = git("rev-parse", "HEAD")[:12]
    assert git_state() == commit
    file.write_text("two")
    assert git_state() == f"{commit}-dirty"


def test_git_state_is_none_where_it_is_not_known(checkout, monkeypatch):
    file, _ = checkout
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        assert git_state() is None
    shutil.rmtree(file.parents[2] / ".git")
    assert git_state() is None


def test_git_state_is_not_that_of_a_project_that_we_are_installed_in(checkout, monkeypatch):
    file, _ = checkout
    inside = file.parents[2] / "site-packages" / "amodalpl" / "runtime" / "stage_run.py"
    monkeypatch.setattr(stage_run, "__file__", str(inside))
    inside.parent.mkdir(parents=True)
    assert git_state() is None
