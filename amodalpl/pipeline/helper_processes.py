"""Further processes for a run that is under way: they continue it in its folder, as `torchrun`'s would have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import torch

from ..io.files import read_json
from ..io.parallel import usable_cores
from ..runtime.progress import Progress
from ..runtime.stage_run import RUN_FILE
from .stage_table import STAGES

MOST_PER_GPU = 8
_CODE = f"import sys; from {__name__} import continue_run; continue_run(*sys.argv[1:])"
_PATIENCE_S = 5.0


def fitting_number(device: torch.device, parts: int) -> int:
    """Return how many processes should work where nobody says: on a CPU one, since its network uses all cores.

    On GPUs there is much to do around the network, by one core for each process.

    Args:
        device: of the network.
        parts: that there are to make; a process that makes few has hardly started.
    """
    if device.type != "cuda":
        return 1
    return max(1, min(MOST_PER_GPU * torch.cuda.device_count(), usable_cores() // 2, parts // 4))


@contextmanager
def helped_by(count: int, out: Path, device: str, progress: Progress) -> Iterator[int]:
    """Let processes continue the run in a folder while the block runs, and end them with it.

    They take the ranks 1 to `count`, this one has rank 0, and all share the cores. One that dies is told of; what it
    was to make is for the caller to make.

    Args:
        count: of further processes; 0 starts none.
        out: folder whose `run.json` says what is done.
        device: "auto", "cpu" or "cuda".
        progress: gets the warning.

    Yields:
        `count`.
    """
    if count == 0:
        yield 0
        return
    threads = torch.get_num_threads(), cv2.getNumThreads()
    share = max(1, usable_cores() // (count + 1))
    torch.set_num_threads(share)
    cv2.setNumThreads(share)
    helpers = [_start(rank, count + 1, out, device) for rank in range(1, count + 1)]
    try:
        yield count
    finally:
        codes = [helper.poll() for helper in helpers]
        for helper in helpers:
            helper.terminate()
        for helper in helpers:
            with suppress(subprocess.TimeoutExpired):
                helper.wait(_PATIENCE_S)
            helper.kill()
            helper.wait()
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
        if dead := [code for code in codes if code]:
            progress.warn(
                f"{len(dead)} of {count} processes that helped ended early (exit code {dead[0]}); the others did their "
                "share: if memory was short, take fewer (labels.workers)"
            )


def _start(rank: int, world: int, out: Path, device: str) -> subprocess.Popen[bytes]:
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, str(out), device],
        env={**os.environ, **{name: str(number) for name, number in numbers.items()}},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def continue_run(out: str, device: str) -> None:
    """Call the stage whose run is under way in a folder, with the arguments of its record.

    Args:
        out: the folder.
        device: "auto", "cpu" or "cuda".
    """
    record = read_json(Path(out) / RUN_FILE, "the record of a run")
    stage = STAGES[record["stage"]]
    given = {i.name: i.from_json(record["arguments"].get(i.name)) for i in stage.inputs}
    stage.run(given, Path(out), {"seed": record["seed"], **record["settings"]}, device)
