"""One run at a time in an output folder: a lock that the kernel lets go of, however a process ends.

It is a record lock (`fcntl.lockf`), not `flock`: forked loader processes would inherit the latter and hold it for some
seconds after their parent was killed, and network file systems keep the former more often.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import weakref
from contextlib import suppress
from functools import cache
from pathlib import Path

from ..errors import OutputError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"
_HELD_BY_ANOTHER = {errno.EACCES, errno.EAGAIN}
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
_TRIES = 100  # a holder that ends takes its file away, and another one may have made a new file by then


class FolderLock:
    """A folder that is this process's own, until `release`, or until nothing refers to the lock any more.

    Processes of one `torchrun` share a folder: process r locks byte r of the file, so that each one of a second start
    meets its own number taken.
    """

    def __init__(self, file: Path, descriptor: int | None) -> None:
        self.release = weakref.finalize(self, _release, file, descriptor, os.getpid())


_held: weakref.WeakValueDictionary[tuple[int, int], FolderLock] = weakref.WeakValueDictionary()


def lock_folder(folder: Path) -> FolderLock:
    """Take a folder for this process; taken by it already, it gets the same lock again.

    Where a file system does not lock, or the folder cannot be written to (a finished run may be read there), nothing is
    locked; the former is logged as a warning, once.

    Args:
        folder: must exist.

    Raises:
        OutputError: another process is working in it, or the file for the lock cannot be made.
    """
    file = folder / LOCK_FILE
    for _ in range(_TRIES):
        with suppress(OSError):
            found = os.stat(file)
            ours = _held.get((found.st_dev, found.st_ino))
            # opened once more, closing it would let go of the lock; a released one has left its number to a new file
            if ours is not None and ours.release.alive:
                return ours
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            if error.errno in _READ_ONLY:
                return FolderLock(file, None)
            raise OutputError(f"{file}: could not write it ({error.strerror}); check space and rights") from None
        try:
            _lock_byte(descriptor)
        except OSError as error:
            if error.errno in _HELD_BY_ANOTHER:
                holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "unknown"
                os.close(descriptor)
                raise OutputError(
                    f"{folder}: another process is working in this folder ({holder}); wait for it or end it"
                ) from None
            os.close(descriptor)
            _say_unlocked(str(folder), error.strerror)
            return FolderLock(file, None)
        held = os.fstat(descriptor)
        with suppress(OSError):
            found = os.stat(file)
            if (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino):
                with suppress(OSError):  # who it is, for the message; a full disk must not matter here
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
                lock = FolderLock(file, descriptor)
                _held[held.st_dev, held.st_ino] = lock
                return lock
        os.close(descriptor)  # of a run that has just ended
    raise OutputError(f"{folder}: other processes keep starting in this folder; let one of them work")


def _lock_byte(descriptor: int) -> None:
    if fcntl is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(os.environ.get("RANK", 0)))


@cache
def _say_unlocked(folder: str, reason: str | None) -> None:
    logging.getLogger(__name__).warning(
        "%s: its file system does not lock files (%s): never start two runs in one folder there", folder, reason
    )


def _release(file: Path, descriptor: int | None, process: int) -> None:
    if descriptor is None or os.getpid() != process:  # a forked helper holds nothing
        return
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):
            file.unlink()
    os.close(descriptor)
