"""The processes of one run that `torchrun` started: which one this is, what is its share, and waiting for the others.

Those that train talk to each other at every step. Those that label meet by files in the output folder, which they share
anyway: nothing has to be open between them, one that is started again goes on, and one that dies is noticed by
`torchrun`, which ends the rest.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import cv2
import torch

from ..errors import OutputError, SettingsError
from ..io.parallel import end_with, usable_cores

PATIENCE_S = 3600.0  # without any news from the others; several hundred times what a part takes
_SECONDS_BETWEEN = 0.2


@dataclass(frozen=True)
class Ranks:
    """This process among those that `torchrun` started for one run; alone by default.

    Attributes:
        rank: number of this process, from 0.
        world: how many there are.
        on_this_machine: how many of them share this machine's cores.
    """

    rank: int = 0
    world: int = 1
    on_this_machine: int = 1

    @classmethod
    def of_this_process(cls) -> Ranks:
        """Read what `torchrun` (or Slurm, or Kubernetes' PyTorchJob) says in the environment."""
        world = int(os.environ.get("WORLD_SIZE", 1))
        return cls(int(os.environ.get("RANK", 0)), world, int(os.environ.get("LOCAL_WORLD_SIZE", world)))

    @property
    def is_first(self) -> bool:
        """Whether this process does what is done once."""
        return self.rank == 0

    def settle(self) -> None:
        """Take a share of the cores, and end with the process that started this one; nothing to do for one process."""
        if self.world == 1:
            return
        threads = max(1, usable_cores() // self.on_this_machine)
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()


def join_processes(device: torch.device) -> None:
    """Connect the processes of a training; nothing to do for one, or a second time.

    mmengine would do it, but asks for a CUDA device even where there is none.
    """
    if Ranks.of_this_process().world == 1 or torch.distributed.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # the others wait while the first scores the hold-out, which may take longer than NCCL's own ten minutes
    patience = timedelta(seconds=PATIENCE_S)
    if device.type == "cuda":
        torch.distributed.init_process_group("nccl", timeout=patience, device_id=device)
    else:
        torch.distributed.init_process_group("gloo", timeout=patience)


def mean_over_processes(value: torch.Tensor) -> torch.Tensor:
    """Return the mean of a value that each process of a training has, without its gradient; for one, the value."""
    world = Ranks.of_this_process().world
    if world == 1:
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total / world


def wait_for_files(files: list[Path], news: Callable[[int], None], patience_s: float = PATIENCE_S) -> None:
    """Return once all files are there.

    Args:
        files: that other processes write, whole.
        news: called with the index of each as it is found.
        patience_s: longest time without a new one.

    Raises:
        OutputError: none came for that long.
    """
    missing = dict(enumerate(files))
    last_news = time.monotonic()
    while missing:
        began = time.monotonic()
        found = [index for index, file in missing.items() if file.exists()]
        for index in found:
            del missing[index]
            news(index)
        now = time.monotonic()
        if found:
            last_news = now
        elif now - last_news > patience_s:
            raise OutputError(
                f"{min(missing.values())}: expected it from another process of this run, none of {len(missing)} such "
                f"files came for {patience_s / 60:.0f} minutes; start the same command again, it goes on"
            )
        if missing:
            time.sleep(max(_SECONDS_BETWEEN, 10 * (now - began)))


def pick_device(name: str) -> torch.device:
    """Return the device for "auto", "cpu" or "cuda"; under `torchrun` processes share out the GPUs.

    Raises:
        SettingsError: CUDA was asked for and is not there, or the name is unknown.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"--device: expected auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            f"--device cuda: this torch ({torch.__version__}) sees no CUDA device; use --device cpu, or see why: "
            "amodalpl doctor"
        )
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
