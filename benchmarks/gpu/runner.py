"""Installs what is missing, runs each row in a process of its own, and ends it in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_GRACE_S = 10.0  # between asking a process to end and ending it


def install(wheels: Path, site: Path) -> dict[str, str]:
    """Install wheels and this checkout without a network into a folder of its own.

    Args:
        wheels: folder of `.whl` files, as `benchmarks.gpu.wheels` makes it.
        site: where to.

    Returns:
        The environment in which Python finds them.
    """
    found = sorted(map(str, wheels.glob("*.whl")))
    if not found:
        raise SystemExit(f"error: --wheels {wheels}: expected a folder with .whl files, found none")
    quiet = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    target = ["--no-warn-conflicts", "--upgrade", "--target", str(site)]
    subprocess.run([*quiet, *target, *found], check=True)
    subprocess.run([*quiet, "--no-build-isolation", *target, str(REPOSITORY)], check=True)
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *([before] if before else [])])}


def run_limited(command: Sequence[str], environment: dict[str, str], limit_s: float) -> tuple[str, float]:
    """Run a command, and end it and what it started when it takes too long.

    Returns:
        "done", "out of time" or "failed with exit code N"; and the seconds it took.
    """
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, cwd=REPOSITORY, start_new_session=True)
    try:
        code = process.wait(limit_s)
        state = "done" if code == 0 else f"failed with exit code {code}"
    except subprocess.TimeoutExpired:
        state = "out of time"
    finally:
        _end(process)
    return state, time.monotonic() - began


def _end(process: subprocess.Popen) -> None:
    """End a process and all that it started: they are one process group."""
    for number, patience_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
