"""What the machine can do: arithmetic and memory, measured just before a case with the threads that it uses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

_MATRIX_SIDE = {"cpu": 1536, "cuda": 8192}
_COPY_BYTES = {"cpu": 2**27, "cuda": 2**30}  # far larger than a cache
_TIMES = 5


@dataclass(frozen=True)
class Machine:
    """Measured limits.

    Attributes:
        gflops: 10**9 operations per second in a large matrix product, of the numbers that the case computes with.
        copy_gbs: 10**9 bytes per second copied from memory to memory.
    """

    gflops: float
    copy_gbs: float

    def seconds_for(self, flops: float, copied_bytes: float) -> float:
        """Return the least seconds that work can take: the larger of its arithmetic and its copies."""
        return max(flops / (self.gflops * 1e9), copied_bytes / (self.copy_gbs * 1e9))


def measure_machine(device: torch.device, dtype: torch.dtype = torch.float32) -> Machine:
    """Measure the limits on the device, each as the best of a few times; `dtype` is of the matrices."""
    side, count = _MATRIX_SIDE[device.type], _COPY_BYTES[device.type]
    a, b = torch.rand(2, side, side, device=device, dtype=dtype)
    source = torch.zeros(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product_s = best_seconds(lambda: torch.mm(a, b), device)
    copy_s = best_seconds(lambda: target.copy_(source), device)
    return Machine(2 * side**3 / product_s / 1e9, count / copy_s / 1e9)


def best_seconds(work: Callable[[], object], device: torch.device, times: int = _TIMES) -> float:
    """Return the least wall time of a few calls, after one that is not counted."""
    work()
    found = []
    for _ in range(times):
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        found.append(time.perf_counter() - start)
    return min(found)


def wait(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
