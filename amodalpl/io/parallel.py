"""Work by several processes, with results in order; the input is inherited by fork, or sent to them.

Helpers are forked. Where that is not safe (outside Linux) all is done in the calling process; the results are the same.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")

_ITEMS_AHEAD = 8
_open_pool: ProcessPoolExecutor | None = None
_job: Callable[[range], Any] | None = None  # of this process, when it is a helper


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_ranges(job: Callable[[range], Result], total: int, size: int, processes: int) -> Iterator[Result]:
    """Call a function on consecutive ranges and yield what it returns, in order.

    Helpers are forked when this is called: they see everything that this process has in memory without a copy of it
    being sent. For a single range there are none.

    Args:
        job: must not change anything outside; what it returns or raises must be picklable.
        total: 0, 1, ... total - 1 are worked on.
        size: most numbers in one range.
        processes: number of helpers; below 2, none.

    Yields:
        One result per range.

    >>> list(map_ranges(sum, 10, 4, processes=1))
    [6, 22, 17]
    """
    ranges = [range(start, min(start + size, total)) for start in range(0, total, size)]
    processes = min(processes, len(ranges))
    if processes < 2 or sys.platform != "linux":
        yield from map(job, ranges)
        return
    pool = _pool(processes, job)
    try:
        yield from pool.map(_call, ranges)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def helpers(processes: int) -> Iterator[None]:
    """Fork helpers now, while this process is still small, for the calls of `map_sent` within the block.

    Args:
        processes: number of helpers; below 1, none.
    """
    global _open_pool
    if processes < 1 or sys.platform != "linux" or _open_pool is not None:
        yield
        return
    _open_pool = _pool(processes, None)
    try:
        _open_pool.submit(int).result()  # the first call is what forks
        yield
    finally:
        _open_pool.shutdown(cancel_futures=True)
        _open_pool = None


def map_sent(job: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Call a function on each item and yield what it returns, in order; by the helpers of the block around, if any.

    Items are taken a few ahead, so that making them and working on them overlap.

    Args:
        job: a function of a module; it, the items and the results are sent between processes.
        items: are taken in this process.

    Yields:
        One result per item.

    >>> list(map_sent(abs, [-1, 2]))
    [1, 2]
    """
    if _open_pool is None:
        yield from map(job, items)
        return
    under_way: deque[Future[Result]] = deque()
    for item in items:
        under_way.append(_open_pool.submit(job, item))
        if len(under_way) > _ITEMS_AHEAD:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def _pool(processes: int, job: Callable[[range], Any] | None) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("fork")
    return ProcessPoolExecutor(processes, mp_context=context, initializer=_become_helper, initargs=(job,))


def _become_helper(job: Callable[[range], Any] | None) -> None:
    global _job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process is interrupted too, and ends its helpers
    gc.disable()  # a search for cycles writes to every object, and so copies all the shared memory
    cv2.setNumThreads(0)  # OpenCV's own threads do not survive a fork
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()


def end_with(parent: int) -> None:
    """End this process when the one that it works for was killed, which nothing else would tell it; never returns."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _call(numbers: range) -> Any:
    assert _job is not None
    return _job(numbers)
