"""Parts: each is made once, in order, by whoever's share it is."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import pytest

from amodalpl.data.records import ImageRecord
from amodalpl.errors import DataError
from amodalpl.runtime.distributed import Ranks
from amodalpl.runtime.parts import Parts, read_parts
from amodalpl.runtime.progress import Progress

PHOTOS = [ImageRecord(number, f"{number}.png", (4, 4), {}) for number in range(1, 6)]


class Counting(Progress):
    """Counts the units of the one task."""

    def __init__(self):
        self.total = self.done = 0

    @contextmanager
    def task(self, label, total, done=0):
        self.total, self.done = total, done

        def advance(units):
            self.done += units

        yield advance


def make(folder, made, progress, **more):
    parts = Parts(folder, PHOTOS, 2)
    for part in parts.missing("working", progress, **more):
        made.append([r.id for r in part.photos])
        part.write({"photo": r.id} for r in part.photos)
    return parts.files


def test_parts_are_made_once_and_read_in_order(tmp_path):
    made, progress = [], Counting()
    files = make(tmp_path / "parts", made, progress)
    assert made == [[1, 2], [3, 4], [5]] and (progress.done, progress.total) == (5, 5)
    assert [line["photo"] for line in read_parts(files)] == [1, 2, 3, 4, 5]
    files[1].unlink()
    made.clear()
    assert make(tmp_path / "parts", made, progress) == files
    assert made == [[3, 4]] and progress.done == 5


def test_a_part_that_fails_is_not_there(tmp_path):
    def work():
        yield {"photo": 1}
        raise DataError("a damaged photo")

    progress = Counting()
    with pytest.raises(DataError, match="damaged"):
        for part in Parts(tmp_path / "parts", PHOTOS, 5).missing("working", progress):
            part.write(work())
    assert not list((tmp_path / "parts").glob("[0-9]*")) and progress.done == 0


def test_each_process_makes_its_share(tmp_path):
    second, first = [], []
    make(tmp_path, second, Counting(), ranks=Ranks(1, 2, 2))
    assert second == [[3, 4]]
    progress = Counting()
    files = make(tmp_path, first, progress, ranks=Ranks(0, 2, 2))
    assert first == [[1, 2], [5]] and progress.done == 5
    assert [line["photo"] for line in read_parts(files)] == [1, 2, 3, 4, 5]


def test_what_helpers_do_not_make_is_made_here(tmp_path):
    asked, made, progress = [], [], Counting()

    def helped(parts):
        asked.append(parts)
        return nullcontext(1)  # one that dies at once

    files = make(tmp_path, made, progress, helped=helped)
    assert asked == [3] and sorted(made) == [[1, 2], [3, 4], [5]] and progress.done == 5
    assert [line["photo"] for line in read_parts(files)] == [1, 2, 3, 4, 5]
