"""Time and arithmetic of one task of a stage, seen through its progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from amodalpl.runtime.progress import Progress

from .busy import BusyShare
from .machine import wait


class Watch(Progress):
    """Takes the time of the units of one task.

    On a CPU of every unit; on a GPU of all behind the first tenth together, which pays for starting, so that nothing
    waits for it in between, and how busy it is meanwhile.
    """

    def __init__(self, label: str, device: torch.device) -> None:
        self.label = label
        self.device = device
        self.done = 0
        self.marks: list[tuple[int, float]] = []  # units done, time
        self.busy: float | None = None

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        """Watch this task if it is the one."""
        if label != self.label:
            yield lambda units: None
            return
        started, share = max(1, total // 10), BusyShare()

        def tick(units: int) -> None:
            self.done += units
            on_gpu = self.device.type == "cuda"
            if on_gpu and self.done not in (started, total):
                return
            wait(self.device)
            self.marks.append((self.done, time.perf_counter()))
            if on_gpu and self.done == total:
                self.busy = share.stop()
            elif on_gpu:
                share.start()

        yield tick

    def seconds_per_unit(self) -> float:
        """Return the median over what was taken apart."""
        done, times = np.array(self.marks).T
        return float(np.median(np.diff(times) / np.diff(done)))


class Counting(Progress):
    """Counts the operations within one task."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.flops = 0

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        """Watch this task if it is the one."""
        if label != self.label:
            yield lambda units: None
            return
        with FlopCounterMode(display=False) as counter:
            yield lambda units: None
        self.flops = counter.get_total_flops()
