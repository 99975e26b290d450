import numpy as np
import pytest

from amodalpl.errors import DataError
from amodalpl.metrics import baselines


def square(y, x, side, frame=(12, 12)):
    mask = np.zeros(frame, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def l_shape(side=5):
    """One column and one row of `side` pixels that share a corner."""
    mask = np.zeros((12, 12), bool)
    mask[2 : 2 + side, 3] = True
    mask[1 + side, 3 : 3 + side] = True
    return mask


def test_hull_of_an_l_is_the_triangle():
    whole = baselines.convex_hull(l_shape(5), np.ones((12, 12), bool))
    assert whole.sum() == 5 * 6 // 2  # 1 + 2 + 3 + 4 + 5 pixels: the lattice triangle, its edge included
    assert not (l_shape(5) & ~whole).any()


def test_hull_grows_only_where_neighbours_are():
    neighbour = square(5, 4, 1)
    whole = baselines.convex_hull(l_shape(5), neighbour)
    assert np.array_equal(whole, l_shape(5) | neighbour)


def test_hull_without_neighbours_is_the_modal_mask():
    assert np.array_equal(baselines.convex_hull(l_shape(), np.zeros((12, 12), bool)), l_shape())


def test_hull_of_two_parts_spans_the_gap():
    modal = square(2, 0, 3) | square(2, 9, 3)
    assert baselines.convex_hull(modal, np.ones((12, 12), bool)).sum() == 3 * 12


@pytest.mark.parametrize("modal", [np.zeros((4, 4), bool), np.eye(4, dtype=bool)], ids=["empty", "line"])
def test_hull_of_flat_masks(modal):
    assert np.array_equal(baselines.convex_hull(modal, np.ones((4, 4), bool)), modal)


def test_hull_contains_modal_and_stays_within_reach():
    rng = np.random.default_rng(3)
    for _ in range(20):
        modal, near = rng.random((20, 30)) < 0.05, rng.random((20, 30)) < 0.5
        whole = baselines.convex_hull(modal, near)
        assert not (modal & ~whole).any()
        assert not (whole & ~(modal | near)).any()


def test_hull_leaves_its_input_alone():
    modal = l_shape()
    baselines.convex_hull(modal, np.ones((12, 12), bool))
    assert np.array_equal(modal, l_shape())


def test_hull_refuses_other_shapes():
    with pytest.raises(DataError, match=r"one shape, got modal \(4, 4\) and neighbours \(4, 5\)"):
        baselines.convex_hull(np.ones((4, 4), bool), np.ones((4, 5), bool))


def test_modal_mask_is_itself():
    assert np.array_equal(baselines.modal_mask(l_shape(), square(0, 0, 3)), l_shape())


SMALL_HIGH, LARGE_LOW = square(0, 0, 2), square(2, 0, 4)


@pytest.mark.parametrize(
    ("rule", "front"),
    [("smaller in front", 0), ("larger in front", 1), ("lower in front", 1)],
)
def test_order_rules_of_a_small_square_above_a_large_one(rule, front):
    assert baselines.ORDER[rule](np.stack([SMALL_HIGH, LARGE_LOW]), [(0, 1)]) == {(front, 1 - front)}
    assert baselines.ORDER[rule](np.stack([LARGE_LOW, SMALL_HIGH]), [(0, 1)]) == {(1 - front, front)}


def test_hull_order_puts_the_notch_filler_in_front():
    filler = square(3, 5, 2)
    notched = square(2, 2, 6) & ~filler
    assert baselines.order_by_hull(np.stack([notched, filler]), [(0, 1)]) == {(1, 0)}
    apart = np.stack([square(0, 0, 3), square(0, 3, 3)])
    assert baselines.order_by_hull(apart, [(0, 1)]) == set()  # neither reaches into the other


@pytest.mark.parametrize("rule", baselines.ORDER)
def test_rules_order_the_pairs_asked_for_and_no_others(rule):
    """A square with two holes, each filled by another: every rule has a word on either pair."""
    fillers = square(3, 5, 2), square(5, 3, 2)
    modal = np.stack([square(2, 2, 6) & ~fillers[0] & ~fillers[1], *fillers])
    for pairs in ([(0, 1)], [(0, 2)], [(0, 1), (0, 2)], []):
        found = baselines.ORDER[rule](modal, pairs)
        assert sorted(tuple(sorted(pair)) for pair in found) == pairs
