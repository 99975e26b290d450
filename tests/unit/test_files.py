"""Files that are there whole or not at all, and what identifies them."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import stat

import numpy as np
import pytest
import torch

from amodalpl.errors import DataError, OutputError
from amodalpl.io.files import (
    hash_file,
    hash_listing,
    read_json,
    remove_temporaries,
    write_array,
    write_json,
    write_whole,
)


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


def test_a_file_is_synced_before_it_gets_its_name_and_the_folder_after(tmp_path, monkeypatch):
    """Else the power may go between: a name without its bytes, or bytes without their name.

    Windows refuses to sync a file that was opened for reading.
    """
    fcntl = pytest.importorskip("fcntl")
    done = []
    sync, replace = os.fsync, os.replace

    def watched_sync(descriptor):
        what = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        done.append((f"sync {what}", fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("rename"), replace(*paths)))
    write_json(tmp_path / "a.json", {})
    assert done == [("sync file", os.O_RDWR), "rename", ("sync folder", os.O_RDONLY)]
