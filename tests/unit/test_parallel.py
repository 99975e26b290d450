"""Ranges of work: in order, whole, and the same with and without helpers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amodalpl.errors import DataError
from amodalpl.io.parallel import helpers, map_ranges, map_sent


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize(("total", "size"), [(0, 4), (1, 4), (8, 4), (11, 4)])
def test_every_number_is_worked_on_once_and_in_order(processes, total, size):
    found = list(map_ranges(list, total, size, processes))
    assert [number for part in found for number in part] == list(range(total))
    assert all(len(part) <= size for part in found)


def test_helpers_are_other_processes_that_share_memory_without_copies_being_sent():
    unpicklable = {"weight": 3, "why": lambda: None}

    def work(numbers):
        return os.getpid(), [unpicklable["weight"] * number for number in numbers]

    found = list(map_ranges(work, 6, 2, processes=2))
    assert [values for _, values in found] == [[0, 3], [6, 9], [12, 15]]
    assert os.getpid() not in {pid for pid, _ in found}
    assert {pid for pid, _ in map_ranges(work, 2, 2, processes=2)} == {os.getpid()}  # one range needs no helper


def test_an_error_of_a_helper_arrives():
    def work(numbers):
        if 5 in numbers:
            raise DataError("photo 5: expected a photo")
        return len(numbers)

    results = map_ranges(work, 9, 2, processes=2)
    assert [next(results), next(results)] == [2, 2]
    with pytest.raises(DataError, match="photo 5: expected a photo"):
        next(results)


def pid_and_square(number):
    if number == 99:
        raise DataError("mask 99: expected a mask")
    return os.getpid(), number**2


@pytest.mark.parametrize("processes", [0, 2])
def test_what_is_sent_comes_back_in_order(processes):
    with helpers(processes):
        found = list(map_sent(pid_and_square, iter(range(30))))
        assert list(map_sent(pid_and_square, [])) == []
    assert [square for _, square in found] == [number**2 for number in range(30)]
    assert (os.getpid() in {pid for pid, _ in found}) == (processes == 0)


def test_items_are_taken_only_a_few_ahead():
    taken = []
    with helpers(1):
        results = map_sent(pid_and_square, (taken.append(number) or number for number in range(1000)))
        next(results)
        assert len(taken) < 20


def test_an_error_of_what_was_sent_arrives_and_helpers_end():
    with pytest.raises(DataError, match="mask 99: expected a mask"), helpers(2):
        list(map_sent(pid_and_square, [1, 99, 2]))
    assert next(map_sent(pid_and_square, [3])) == (os.getpid(), 9)  # done here again


@pytest.mark.skipif(sys.platform != "linux", reason="helpers are forked on Linux only")
def test_helpers_do_not_outlive_a_killed_process():
    program = """
import os, sys
from amodalpl.io.parallel import helpers, map_sent
with helpers(1):
    print(next(map_sent(eval, ["__import__('os').getpid()"])), flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    helper = int(process.stdout.readline())
    process.kill()
    process.communicate()
    for _ in range(300):
        if not is_running(helper):
            break
        time.sleep(0.1)
    assert not is_running(helper)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
