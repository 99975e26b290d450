"""Time left: warm-up does not count, and the first estimates are not many times too long."""

import pytest

from amodalpl_cli.pace import Pace


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def run(seconds, units=1, done=0, total=None):
    """Do pieces of work that take so long each; return what was told after each, beside what was truly left."""
    clock = Clock()
    pace = Pace(total or done + units * len(seconds), done, clock)
    told = []
    for number, took in enumerate(seconds, start=1):
        clock.now += took
        pace.advance(units)
        told.append((pace.seconds_left(), sum(seconds[number:])))
    return told


def test_the_demo_detector():
    """The first step loads and tunes, the next ones allocate; half a minute's work is not told to take twelve."""
    told = run([9.0, 3.0, 1.0, *[0.15] * 197])
    assert [left for left, _ in told[:3]] == [None, None, None]
    for left, truly in told[3:-1]:
        assert left is not None and left <= 10 * truly
    assert all(left == pytest.approx(truly, rel=0.2) for left, truly in told[6:-1])


def test_even_work_is_told_exactly():
    assert all(left == pytest.approx(truly) for left, truly in run([2.0] * 60)[3:-1])


def test_slow_pieces_now_and_then_count_once_the_work_has_settled():
    """A validation of 20 seconds every 25 steps of one second."""
    seconds = ([1.0] * 24 + [20.0]) * 8
    told = run(seconds)
    left, truly = told[99]
    assert left == pytest.approx(truly, rel=0.15)


def test_few_long_pieces_are_told_early():
    told = run([30.0] * 5, units=16)
    assert told[0][0] is None and told[1][0] == pytest.approx(90.0)


def test_units_that_finish_together_are_one_piece():
    """A photo that loads and tunes, then batches of 16 photos, each told one by one."""
    clock = Clock()
    pace = Pace(72, 0, clock)
    clock.now += 40.0
    pace.advance(1)
    clock.now += 32.0
    for _ in range(16):
        pace.advance(1)
    assert pace.seconds_left() == pytest.approx(55 * 2.0)
    clock.now += 32.0
    for _ in range(16):
        pace.advance(1)
    assert pace.seconds_left() == pytest.approx(39 * 2.0, rel=0.25)


def test_a_batch_whose_units_are_told_slowly_is_not_taken_for_quick_work():
    """Parts of 16 photos on a busy machine: 90 seconds each, then 16 photos are told, six milliseconds apart."""
    told = run([90.0, *[0.006] * 15] * 5)
    assert not any(left is not None and left < 0.4 * truly for left, truly in told)
    assert all(0.5 * truly < left < 2.1 * truly for left, truly in told[19:63])


def test_a_long_start_of_quick_work_is_not_told_as_long():
    assert all(left is None or left < 2 * truly for left, truly in run([10.0, *[0.02] * 300])[:-1])


def test_what_an_earlier_run_did_is_not_counted():
    told = run([1.0] * 40, done=1000)
    assert told[10] == (pytest.approx(29.0), 29.0)


def test_it_counts_down_between_pieces():
    clock = Clock()
    pace = Pace(10, 0, clock)
    for _ in range(4):
        clock.now += 5.0
        pace.advance(1)
    clock.now += 3.0
    assert pace.seconds_left() == pytest.approx(27.0)
    clock.now += 100.0
    assert pace.seconds_left() == 0.0


def test_nothing_is_told_before_the_start_and_after_the_end():
    assert Pace(3).seconds_left() is None
    assert run([1.0] * 5)[-1][0] is None
