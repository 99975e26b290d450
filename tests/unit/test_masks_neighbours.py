"""Who stands next to whom, with a tolerance for gaps."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from amodalpl.masks.geometry import dilate
from amodalpl.masks.neighbours import near_pairs


def rectangle(rows, columns, size_hw=(40, 40)):
    mask = np.zeros(size_hw, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


@pytest.mark.parametrize("free_px", [0, 1, 2, 3])
@pytest.mark.parametrize("gap_px", [0, 1, 2, 3])
@pytest.mark.parametrize("axis", ["across", "down", "diagonal"])
def test_gap_is_counted_in_free_pixels(free_px, gap_px, axis):
    start = 20 + free_px
    second = {
        "across": rectangle((10, 20), (start, 30)),
        "down": rectangle((start, 30), (10, 20)),
        "diagonal": rectangle((start, 30), (start, 30)),
    }[axis]
    masks = np.stack([rectangle((10, 20), (10, 20)), second])
    expected = [(0, 1)] if free_px <= gap_px else []
    assert near_pairs(masks, gap_px) == expected
    assert near_pairs(masks[::-1], gap_px) == expected


def test_near_boxes_are_not_near_masks():
    bracket = rectangle((5, 35), (5, 35)) & ~rectangle((10, 35), (10, 35))  # an L
    inside = rectangle((20, 30), (20, 30))
    assert near_pairs(np.stack([bracket, inside]), 2) == []
    assert near_pairs(np.stack([bracket, inside]), 10) == [(0, 1)]


def test_empty_masks_have_no_neighbours():
    masks = np.stack([rectangle((0, 10), (0, 10)), rectangle((0, 0), (0, 0)), rectangle((0, 10), (10, 20))])
    assert near_pairs(masks, 2) == [(0, 2)]
    assert near_pairs(masks[:2], 2) == []
    assert near_pairs(np.zeros((0, 5, 5), bool), 2) == []


@pytest.mark.parametrize("seed", range(3))
def test_same_as_growing_whole_frames(seed):
    rng = np.random.default_rng(seed)
    masks = np.zeros((8, 30, 34), bool)
    for mask in masks:
        y, x = rng.integers(0, 28, 2)
        mask[y : y + rng.integers(1, 8), x : x + rng.integers(1, 8)] = True
    for gap in (0, 1, 4):
        slow = [(i, j) for i, j in combinations(range(8), 2) if (dilate(masks[i], gap + 1) & masks[j]).any()]
        assert near_pairs(masks, gap) == slow
