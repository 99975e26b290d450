"""A shared pixel has one owner: the smaller mask."""

from __future__ import annotations

import numpy as np
import pytest

from amodalpl.masks import rle
from amodalpl.masks.ownership import resolve

SIZE_HW = (12, 16)


def rectangle(rows, columns):
    mask = np.zeros(SIZE_HW, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def owned(*masks):
    return resolve([rle.encode(m) for m in masks], SIZE_HW)


@pytest.mark.parametrize(("table_at", "cup_at"), [(0, 1), (1, 0)], ids=["table first", "cup first"])
def test_smaller_wins_whatever_the_order_in_the_file(table_at, cup_at):
    table, cup = rectangle((4, 12), (0, 16)), rectangle((2, 6), (3, 6))
    masks = [table, table]
    masks[cup_at] = cup
    found = owned(*masks)
    np.testing.assert_array_equal(found.masks[table_at], table & ~cup)
    np.testing.assert_array_equal(found.masks[cup_at], cup)
    assert found.lost_px[table_at] == 2 * 3 and found.lost_px[cup_at] == 0


def test_of_equal_masks_the_later_one_wins():
    a = rectangle((0, 4), (0, 4))
    found = owned(a, a)
    assert found.lost_px.tolist() == [16, 0]
    assert not found.masks[0].any()


def test_three_deep_pixels_go_to_the_smallest():
    big, middle, small = rectangle((0, 12), (0, 16)), rectangle((2, 8), (2, 8)), rectangle((3, 5), (3, 5))
    found = owned(big, middle, small)
    assert found.lost_px.tolist() == [36, 4, 0]
    assert [found.takers(k) for k in range(3)] == [(1, 2), (2,), ()]


def test_nothing_to_do():
    assert resolve([], SIZE_HW).masks.shape == (0, *SIZE_HW)
    empty = owned(rectangle((0, 0), (0, 0)), rectangle((1, 3), (1, 3)))
    assert empty.lost_px.tolist() == [0, 0] and np.asarray(empty.masks).sum() == 4


@pytest.mark.parametrize("seed", range(5))
def test_random_masks_become_disjoint_and_lose_no_pixel(seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((6, *SIZE_HW)) < rng.uniform(0.05, 0.6, (6, 1, 1))
    found = owned(*masks)
    stack = np.asarray(found.masks)
    assert stack.sum(axis=0).max() == 1
    np.testing.assert_array_equal(stack.any(axis=0), masks.any(axis=0))
    assert not (stack & ~masks).any()
    np.testing.assert_array_equal(found.lost_px, masks.sum(axis=(1, 2)) - stack.sum(axis=(1, 2)))
    smallest = masks[np.argmin(masks.sum(axis=(1, 2)))]
    assert any((m == smallest).all() for m in stack)
