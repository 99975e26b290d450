"""Threads of arithmetic: how many, and how they wait. Libraries read both when they are first imported."""

from __future__ import annotations

import os
import sys

from amodalpl.errors import SettingsError

BUSY = 0.75  # load of other programs, per core, from which they and this one slow each other down
THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


def set_threads(wanted: int | None) -> None:
    """Choose for what is imported from here on.

    A waiting thread of OpenMP keeps its core busy otherwise, which two programs on one machine take from each other.
    What the environment says already holds.

    Args:
        wanted: threads per process; None leaves as many as there are cores.

    Raises:
        SettingsError: fewer than one.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if wanted is None:
        return
    if wanted < 1:
        raise SettingsError(f"--threads: expected 1 or more, got {wanted}")
    for name in THREAD_COUNTS:
        os.environ[name] = str(wanted)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(wanted)


def busy_warning() -> str | None:
    """Return what to do where other programs use the machine; None where it is free, or nobody can tell.

    The number of threads is not changed by it: another number gives results that differ by rounding.
    """
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows
        return None
    cores = os.cpu_count() or 1
    if load < BUSY * cores or os.environ.get("OMP_NUM_THREADS") == "1":
        return None
    return (
        f"the machine is busy (load {load:.1f} on {cores} cores): this takes longer; --threads 1 leaves more to others"
    )
