"""Bootstrap intervals over photos."""

from __future__ import annotations

import numpy as np
import pytest

from amodalpl.metrics.bootstrap import DRAWS, as_good_as_best, draw_photos, ratio_of_sums


def test_each_draw_has_as_many_photos_as_there_are():
    draws = draw_photos(7)
    assert draws.shape == (DRAWS, 7) and (draws.sum(axis=1) == 7).all()
    assert draw_photos(0).shape == (DRAWS, 0)
    np.testing.assert_array_equal(draw_photos(7, seed=3), draw_photos(7, seed=3))


def test_every_photo_alike_leaves_no_doubt():
    half = ratio_of_sums([2, 4, 6], [4, 8, 12], draw_photos(3))
    assert half.as_scores("x") == {"x": 0.5, "x_low": 0.5, "x_high": 0.5}


def test_whole_photos_are_drawn():
    """Two photos of a hundred objects each, all good in one and all bad in the other, tell next to nothing."""
    scores = ratio_of_sums([100, 0], [100, 100], draw_photos(2)).as_scores("x")
    assert scores == {"x": 0.5, "x_low": 0.0, "x_high": 1.0}


def test_nothing_to_stand_on():
    empty = ratio_of_sums([], [], draw_photos(0))
    assert empty.as_scores("x") == {"x": None, "x_low": None, "x_high": None}
    some = ratio_of_sums([1], [2], draw_photos(1))
    assert some.minus(ratio_of_sums([0], [0], draw_photos(1))).value is None


def test_difference_is_taken_draw_by_draw():
    """Two rows that differ by a tenth in every photo differ by that in every draw, however much both vary."""
    draws = draw_photos(20)
    rng = np.random.default_rng(0)
    good = rng.random(20)
    first, second = ratio_of_sums(good + 0.1, np.ones(20), draws), ratio_of_sums(good, np.ones(20), draws)
    lead = first.minus(second).as_scores("lead")
    assert list(lead.values()) == pytest.approx([0.1, 0.1, 0.1])
    assert first.as_scores("x")["x_high"] - first.as_scores("x")["x_low"] > 0.1


def test_what_is_worse_in_every_photo_is_not_as_good():
    draws, ones = draw_photos(20), np.ones(20)
    noise = np.random.default_rng(0).normal(0, 0.1, 20)
    best, clearly, perhaps = (ratio_of_sums(row, ones, draws) for row in (ones * 0.8, ones * 0.79, 0.79 + noise))
    assert as_good_as_best([clearly, best, perhaps]) == [1, 2]


@pytest.mark.slow
def test_intervals_hold_the_truth():
    """Of 300 made samples of 60 photos, at least 90 % of the intervals hold the true share."""
    held = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        objects = rng.integers(1, 6, 60)
        share = np.clip(rng.normal(0.7, 0.15, 60), 0, 1)  # photos differ; the mean is 0.6987
        good = rng.binomial(objects, share)
        scores = ratio_of_sums(good, objects, draw_photos(60, seed)).as_scores("x")
        held += scores["x_low"] <= 0.6987 <= scores["x_high"]
    assert held >= 270
