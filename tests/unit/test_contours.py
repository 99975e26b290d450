"""Redrawn contours: tighter, looser, coarser, never gone."""

from __future__ import annotations

import numpy as np
import pytest

from amodalpl.masks.geometry import dilate
from amodalpl.synthesis.contours import redraw


class Chosen:
    """A generator that answers what the test wants: the way, then the amount."""

    def __init__(self, way, amount):
        self.answers = [way, amount]

    def integers(self, low, high=None):
        return self.answers.pop(0)


TIGHTER, LOOSER, COARSER, BOTH = range(4)


def square(side=12, size=32):
    mask = np.zeros((size, size), bool)
    mask[10 : 10 + side, 10 : 10 + side] = True
    return mask


@pytest.mark.parametrize("amount", [1, 2, 3])
def test_tighter_and_looser_squares(amount):
    tighter, looser = (redraw(square(), Chosen(way, amount), 3) for way in (TIGHTER, LOOSER))
    assert tighter.sum() == (12 - 2 * amount) ** 2 and looser.sum() == (12 + 2 * amount) ** 2
    assert tighter[10 + amount, 10 + amount] and not tighter[10, 10]
    assert looser[10 - amount, 10 - amount]


def test_a_square_is_a_polygon_already():
    np.testing.assert_array_equal(redraw(square(), Chosen(COARSER, 1), 1), square())
    np.testing.assert_array_equal(redraw(square(), Chosen(BOTH, 1), 1), redraw(square(), Chosen(TIGHTER, 1), 1))


def test_coarser_loses_teeth_but_not_holes():
    mask = square(20, 40)
    mask[15:25, 15:25] = False
    mask[9, 12::2] = True  # teeth a pixel high on the upper edge
    mask[9, 30:] = False
    coarse = redraw(mask, Chosen(COARSER, 2), 2)
    assert not coarse[9].any() or coarse[9, 12:29].all()
    assert coarse[12, 12:28].all() and not coarse[17:23, 17:23].any()


def test_a_round_mask_stays_within_the_deviation():
    ys, xs = np.mgrid[:64, :64]
    disc = np.hypot(xs - 32, ys - 32) <= 20
    for amount in (1, 2, 4):
        coarse = redraw(disc, Chosen(COARSER, amount), 4)
        assert (coarse != disc).any()
        assert not (coarse & ~dilate(disc, amount + 1)).any() and not (disc & ~dilate(coarse, amount + 1)).any()


@pytest.mark.parametrize("way", [TIGHTER, LOOSER, COARSER, BOTH])
@pytest.mark.parametrize("mask", [square(1), square(2), np.eye(32, dtype=bool)], ids=["pixel", "four", "diagonal"])
def test_a_mask_never_vanishes(way, mask):
    assert redraw(mask, Chosen(way, 3), 3).any()


def test_nothing_stays_nothing():
    for seed in range(8):
        assert not redraw(np.zeros((16, 16), bool), np.random.default_rng(seed), 3).any()


def test_every_way_is_taken_and_the_same_again():
    areas = [redraw(square(), np.random.default_rng(seed), 3).sum() for seed in range(60)]
    assert areas == [redraw(square(), np.random.default_rng(seed), 3).sum() for seed in range(60)]
    assert {(12 + d) ** 2 for d in (-6, -4, -2, 0, 2, 4, 6)} == set(areas)
