"""Output folders: whole files only, and another run's folder is refused."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from amodalpl.errors import DataError, OutputError
from amodalpl.io.files import (
    hash_file,
    hash_listing,
    hash_output,
    read_json,
    remove_temporaries,
    write_array,
    write_json,
    write_whole,
)
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


def test_failed_write_leaves_the_old_file_and_no_half_one(tmp_path):
    file = tmp_path / "labels.json"
    write_json(file, {"a": 1})

    def fail(part):
        part.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"labels.json: could not write it \(No space left"):
        write_whole(file, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["labels.json"]
    assert json.loads(file.read_text()) == {"a": 1}


def test_killed_write_leaves_the_final_name_free(tmp_path):
    def killed(part):
        part.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "labels.json", killed)
    assert not (tmp_path / "labels.json").exists()
    write_json(tmp_path / "labels.json", {})  # the leftover is in nobody's way
    assert (tmp_path / "labels.json").exists()


def test_temporary_name_keeps_the_suffix(tmp_path):
    names = []
    write_whole(tmp_path / "a.npy", lambda part: (names.append(part.name), part.write_bytes(b"x")))
    assert names[0].endswith(".npy") and names[0].startswith(".")


def test_equal_values_give_equal_bytes(tmp_path):
    value = {"b": 1, "a": [1.5, "ü"], "annotations": [{"id": 1}]}
    write_json(tmp_path / "1.json", value)
    write_json(tmp_path / "2.json", json.loads((tmp_path / "1.json").read_text()))
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_array_comes_back(tmp_path):
    write_array(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    assert np.load(tmp_path / "a.npy", allow_pickle=False).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda f: None, "expected a label file, found no such file", id="missing"),
        pytest.param(lambda f: f.mkdir(), "expected a label file, got a folder", id="folder"),
        pytest.param(lambda f: f.write_text("<xml>"), "expected a label file in JSON", id="not JSON"),
        pytest.param(lambda f: f.write_text("[" * 100_000), "expected a label file in JSON", id="endless nesting"),
        pytest.param(lambda f: f.write_bytes(b"\xff\xfe"), "expected a label file in JSON", id="binary"),
    ],
)
def test_unreadable_json_is_named(tmp_path, make, message):
    file = tmp_path / "labels.json"
    make(file)
    with pytest.raises(DataError, match=rf"labels.json: {message}"):
        read_json(file, "a label file")


def test_hash_is_sha256_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 1_000_000)
    assert hash_file(tmp_path / "a") == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
    with pytest.raises(DataError, match="expected a readable file"):
        hash_file(tmp_path / "none")


def test_listing_changes_when_an_image_is_replaced_or_lost(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"1234")
    whole = hash_listing(tmp_path, ["b.jpg", "a.jpg"])
    assert whole == hash_listing(tmp_path, ["a.jpg", "b.jpg"])
    (tmp_path / "b.jpg").write_bytes(b"12345")
    replaced = hash_listing(tmp_path, ["a.jpg", "b.jpg"])
    os.unlink(tmp_path / "b.jpg")
    assert len({whole, replaced, hash_listing(tmp_path, ["a.jpg", "b.jpg"])}) == 3


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


def test_git_state_is_a_commit_or_none():
    state = git_state()
    assert state is None or len(state.removesuffix("-dirty")) >= 7


def test_what_a_killed_process_left_is_removed_by_the_next_start(tmp_path, monkeypatch):
    run = open_run(tmp_path)
    (tmp_path / "bank").mkdir()
    left = [tmp_path / ".weights.part0.pth", tmp_path / "bank" / ".table.part3.npy", tmp_path / ".list.part0"]
    kept = [tmp_path / ".hidden.json", tmp_path / "a.part0.json", tmp_path / "bank" / ".parts"]
    for file in left + kept:
        file.write_text("half")
    run._lock.release()
    open_run(tmp_path)
    assert [file.exists() for file in left + kept] == [False] * 3 + [True] * 3


def test_processes_of_one_start_leave_each_others_temporary_files_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    files = {rank: tmp_path / f".1.part{rank}.json" for rank in range(3)}
    for file in files.values():
        file.write_text("half")
    remove_temporaries(tmp_path)
    assert [rank for rank, file in files.items() if file.exists()] == [1]  # 2 is of an earlier start with more


def test_torch_that_meets_a_full_disk_is_one_clear_line(tmp_path):
    """torch raises RuntimeErrors for it; a limit on the size of files makes them without filling a disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        with pytest.raises(OutputError, match=r"a.pth: could not write it \(no space left, or the file too large\)"):
            write_whole(tmp_path / "a.pth", lambda part: torch.save(torch.zeros(100_000), part))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert list(tmp_path.iterdir()) == []


def test_other_mistakes_while_writing_keep_their_type(tmp_path):
    with pytest.raises(RuntimeError, match="our own"):
        write_whole(tmp_path / "a", lambda part: (_ for _ in ()).throw(RuntimeError("our own")))


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


def test_files_are_synced_by_a_handle_that_may_write(tmp_path, monkeypatch):
    """Windows refuses to sync one that was opened for reading."""
    fcntl = pytest.importorskip("fcntl")
    modes = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (modes.append(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE), sync(fd)))
    write_json(tmp_path / "a.json", {})
    assert modes[0] == os.O_RDWR


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


def test_processes_that_claim_a_folder_in_one_moment_both_get_it(tmp_path, monkeypatch):
    StageRun.open(tmp_path, "complete", {}, {}, 0)
    record = tmp_path / "run.json"
    exists, early = Path.exists, [record]
    monkeypatch.setattr(Path, "exists", lambda path: False if path in early and early.pop() else exists(path))
    assert not StageRun.open(tmp_path, "complete", {}, {}, 0).done
