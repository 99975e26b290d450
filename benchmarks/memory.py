"""Peak memory of a process and its helpers, seen from outside."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_SECONDS_BETWEEN = 0.1
_SHARE_OF_TIME = 1 / 50  # spent looking: the kernel walks all pages, and holds the process up meanwhile


def run_and_watch(command: Sequence[str]) -> tuple[int, float | None]:
    """Run a command to its end.

    Returns:
        Its exit code, and the largest sum of memory that it and its descendants held at one time in MB (10**6 bytes),
        pages shared between them counted once; None where the system does not tell (outside Linux).
    """
    process = subprocess.Popen(command)
    peak_kb = 0
    try:
        while process.poll() is None:
            start = time.perf_counter()
            peak_kb = max(peak_kb, sum(map(_proportional_kb, _family(process.pid))))
            time.sleep(max(_SECONDS_BETWEEN, (time.perf_counter() - start) / _SHARE_OF_TIME))
    except BaseException:
        process.terminate()
        process.wait()
        raise
    return process.returncode, peak_kb * 1024 / 1e6 if peak_kb else None


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(member for child in children for member in _family(int(child)))]


def _proportional_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended, or this is not Linux
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
