"""Stages in forked children that are killed, interrupted, or meet a full disk at a chosen moment.

A moment is the k-th time that the child opens a file for writing, renames, removes or makes something in its output
folder, or syncs a file; or a time after its start. A fork costs milliseconds; a new interpreter would import torch.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from amodalpl_cli.main import explain

KILLED, DONE, ONE_LINE, INTERRUPTED = -signal.SIGKILL, 0, 2, 130
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_EVENTS = {"os.rename", "os.remove", "os.mkdir"}  # as Python's audit hooks name them


@dataclass(frozen=True)
class End:
    """How a child ended.

    Attributes:
        code: DONE, ONE_LINE (an error that the command line explains), INTERRUPTED, KILLED, or 1: a traceback.
        text: the explanation or the traceback; the number of moments when it was done.
    """

    code: int
    text: str

    @property
    def moments(self) -> int:
        """How many moments there were in a child that was done."""
        return int(self.text)


def kill() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    """Press Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


def fill_disk() -> None:
    """Have no space."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def run_child(
    work: Callable[[], object],
    out: Path,
    act: Callable[[], None] | None = None,
    at: int = 0,
    kill_after: float | None = None,
) -> End:
    """Run a function in a child, and disturb it.

    Args:
        work: a stage with all its arguments.
        out: its output folder, where moments are counted.
        act: what happens at the moment; a full disk stays full.
        at: number of the moment, from 1.
        kill_after: seconds after which it is killed from outside.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:  # whatever happens, this copy of the test must not go on
            os.close(reading)
            code, text = _work(work, Path(os.path.realpath(out)), act, at)
            os.write(writing, text.encode("utf-8", "replace")[-60_000:])  # fits into a pipe: nobody reads yet
        finally:
            os._exit(code)
    os.close(writing)
    if kill_after is not None:
        _kill_unless_ended(child, kill_after)
    _, status = os.waitpid(child, 0)
    os.set_blocking(reading, False)  # helpers of a killed child may keep the pipe open for a while
    with open(reading, "rb") as pipe:
        text = (pipe.read() or b"").decode("utf-8", "replace")
    return End(os.waitstatus_to_exitcode(status), text)


def _kill_unless_ended(child: int, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)


def _work(work: Callable[[], object], out: Path, act: Callable[[], None] | None, at: int) -> tuple[int, str]:
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    cv2.setNumThreads(0)  # OpenCV's threads do not survive a fork
    signal.signal(signal.SIGINT, signal.default_int_handler)
    moments = _count_moments(out, act, at)
    try:
        work()
    except KeyboardInterrupt:
        return INTERRUPTED, ""
    except Exception as error:
        line = explain(error)
        return (1, traceback.format_exc()) if line is None else (ONE_LINE, line)
    return DONE, str(moments[0])


def _count_moments(out: Path, act: Callable[[], None] | None, at: int) -> list[int]:
    count = [0]
    inside = str(out)

    def moment(takes_space: bool) -> None:
        count[0] += 1
        if act is fill_disk:
            if count[0] >= at and takes_space:
                act()
        elif act is not None and count[0] == at:
            act()

    def hook(event: str, details: tuple) -> None:
        if event == "open":
            path, _, flags = details
            counts = isinstance(path, str) and isinstance(flags, int) and bool(flags & _WRITING)
        else:
            path, counts = (details[0] if details else None), event in _EVENTS
        if counts and os.path.abspath(os.fsdecode(path)).startswith(inside):
            moment(event in ("open", "os.mkdir"))

    real_sync = os.fsync

    def sync(descriptor: int) -> None:
        moment(takes_space=True)  # where delayed writes fail
        real_sync(descriptor)

    os.fsync = sync
    sys.addaudithook(hook)  # for ever, which is as long as this child lives
    return count


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files but the record (it has times) and mmengine's log, with leftovers if there are any.

    Where a file names its own folder, such as MMDetection's config, OUT stands for it.
    """
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(os.fsencode(folder), b"OUT")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "run.json" and "log" not in path.relative_to(folder).parts
    }
