"""One process at a time in an output folder, however the one before ended."""

from __future__ import annotations

import errno
import fcntl
import gc
import logging
import os
import signal
import subprocess
import sys

import pytest

from amodalpl.errors import OutputError
from amodalpl.runtime import folder_lock
from amodalpl.runtime.folder_lock import LOCK_FILE, lock_folder
from amodalpl.runtime.stage_run import StageRun


def holding(folder):
    """Fork a process that holds the folder until it is killed; returns its number once it does."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        kept = lock_folder(folder)  # noqa: F841
        os.write(writing, b"!")
        signal.pause()
        os._exit(0)
    os.read(reading, 1)
    os.close(reading)
    os.close(writing)
    return child


ASK = (
    "import sys, pathlib; from amodalpl.runtime.folder_lock import lock_folder; lock_folder(pathlib.Path(sys.argv[1]))"
)


def refused(folder):
    """Tell whether another process, which has nothing of this one, would be refused."""
    asked = subprocess.run([sys.executable, "-c", ASK, str(folder)], capture_output=True, text=True)
    assert not asked.returncode or "OutputError: " in asked.stderr, asked.stderr
    return asked.returncode != 0


def end(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_second_process_gets_one_clear_line_until_the_first_is_killed(tmp_path):
    child = holding(tmp_path)
    try:
        wanted = rf"{tmp_path}: another process is working in this folder \(process {child} on .*\); wait for it"
        with pytest.raises(OutputError, match=wanted):
            lock_folder(tmp_path)
    finally:
        end(child)
    lock_folder(tmp_path)


def test_stage_is_refused_before_it_touches_anything(tmp_path):
    StageRun.open(tmp_path, "synth", {}, {}, 0)  # nothing refers to it: its lock is gone
    (tmp_path / ".weights.part0.pth").write_text("being written")
    child = holding(tmp_path)
    try:
        with pytest.raises(OutputError, match="another process is working"):
            StageRun.open(tmp_path, "synth", {}, {}, 0)
        assert (tmp_path / ".weights.part0.pth").exists()
    finally:
        end(child)


def test_lock_goes_with_the_last_reference(tmp_path):
    lock = lock_folder(tmp_path)
    assert lock_folder(tmp_path) is lock and (tmp_path / LOCK_FILE).exists()
    del lock
    gc.collect()
    assert not (tmp_path / LOCK_FILE).exists()
    end(holding(tmp_path))


def test_finished_run_is_free_and_has_no_lock_file(tmp_path):
    run = StageRun.open(tmp_path, "synth", {}, {}, 0)
    assert (tmp_path / LOCK_FILE).exists()
    run.finish({}, [])
    assert not (tmp_path / LOCK_FILE).exists()
    again = StageRun.open(tmp_path, "synth", {}, {}, 0)
    assert again.done and not (tmp_path / LOCK_FILE).exists()


def test_forked_helper_neither_keeps_nor_drops_the_lock(tmp_path):
    """It outlives a killed parent by up to seconds, in which the next start must not be refused."""
    lock = lock_folder(tmp_path)
    reading, writing = os.pipe()
    helper = os.fork()
    if helper == 0:
        lock.release()
        os.write(writing, b"!")
        signal.pause()
        os._exit(0)
    os.read(reading, 1)  # by now it has let go of what it does not hold
    try:
        assert (tmp_path / LOCK_FILE).exists()
        assert refused(tmp_path)
        lock.release()
        end(holding(tmp_path))
    finally:
        end(helper)
        os.close(reading)
        os.close(writing)


def test_a_file_that_its_holder_has_just_taken_away_is_no_lock(tmp_path, monkeypatch):
    """Between opening the file and locking it, the run before may end, and another one make a new file."""
    lockf, file, swapped = fcntl.lockf, tmp_path / LOCK_FILE, []

    def too_late(descriptor, *how):
        if not swapped:
            swapped.append(os.fstat(descriptor).st_ino)
            file.unlink()
            file.touch()
        lockf(descriptor, *how)

    monkeypatch.setattr(fcntl, "lockf", too_late)
    lock = lock_folder(tmp_path)
    assert refused(tmp_path)  # so it is the new file that is locked
    lock.release()
    assert not file.exists()


def test_processes_of_one_torchrun_share_a_folder(tmp_path, monkeypatch):
    first = holding(tmp_path)
    monkeypatch.setenv("RANK", "1")
    try:
        second = holding(tmp_path)
        with pytest.raises(OutputError, match="another process is working"):
            lock_folder(tmp_path)  # the same number of another start
        end(second)
    finally:
        end(first)


def test_file_system_that_does_not_lock_is_said_once(tmp_path, monkeypatch, caplog):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", unsupported)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            lock_folder(tmp_path)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert said[0].startswith(f"{tmp_path}: its file system does not lock files (No locks available): never start two")


def test_full_disk_is_one_clear_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder_lock.os, "open", full)
    with pytest.raises(OutputError, match=r"\.lock: could not write it \(No space left on device\); check space"):
        lock_folder(tmp_path)


def test_finished_run_in_a_read_only_folder_can_be_read(tmp_path, monkeypatch):
    StageRun.open(tmp_path, "synth", {}, {}, 0).finish({"kept": 1}, [])
    real_open = os.open

    def read_only(path, flags, *mode, **more):
        if flags & os.O_RDWR:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real_open(path, flags, *mode, **more)

    monkeypatch.setattr(folder_lock.os, "open", read_only)
    assert StageRun.open(tmp_path, "synth", {}, {}, 0).counts == {"kept": 1}


def test_a_released_lock_is_not_handed_out_for_a_new_file_of_the_same_number(tmp_path):
    released = lock_folder(tmp_path)  # still referred to, as by the run that it was of
    os.link(tmp_path / LOCK_FILE, tmp_path / "same number")  # file systems give freed numbers to the next file
    released.release()
    (tmp_path / "same number").rename(tmp_path / LOCK_FILE)
    taken = lock_folder(tmp_path)
    assert taken is not released and refused(tmp_path)
