"""Ranges of work: in order, whole, and the same with and without helpers."""

from __future__ import annotations

import os

import pytest

from amodalpl.errors import DataError
from amodalpl.processes import map_ranges


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
