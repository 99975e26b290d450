"""Two processes of one run, as `torchrun` starts them, for the tests: gloo, CPU."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import torch


def on_two_ranks(folder: Path, act: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Call a function on each of two processes that know of each other, and return what each returned.

    Args:
        folder: for their results, which must be tensors and plain values.
        act: called with the number of its process, 0 or 1, and the arguments.
        arguments: the same for both.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    files = [folder / f"returned_by_{rank}.pth" for rank in (0, 1)]
    ranks = [context.Process(target=_call, args=(rank, port, files[rank], act, arguments)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(240)
        process.kill()
    assert [process.exitcode for process in ranks] == [0, 0]
    return [torch.load(file, weights_only=True) for file in files]


def _call(rank: int, port: int, file: Path, act: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    cv2.setNumThreads(0)  # OpenCV's own threads do not survive a fork
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    torch.save(act(rank, *arguments), file)
