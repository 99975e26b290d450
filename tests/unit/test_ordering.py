"""Who hides whom: ASBU eq. (3), ancestors, circles."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from amodalpl.labelling.ordering import (
    OcclusionEdge,
    ancestors,
    compare,
    cycles,
    growth_inside,
    growth_whole,
    mutual,
    one_way,
    order_pairs,
    parents,
)


def edges(*pairs):
    return [OcclusionEdge(front, back, 1.0) for front, back in pairs]


@pytest.mark.parametrize(
    ("first_px", "second_px", "expected"),
    [
        pytest.param(0, 0, [], id="neither grows: 0"),
        pytest.param(3, 10, [OcclusionEdge(4, 7, 7, 10 / 13)], id="first grows less: it occludes"),
        pytest.param(0, 10, [OcclusionEdge(4, 7, 10, 1.0)], id="only second grows"),
        pytest.param(10, 3, [OcclusionEdge(7, 4, 7, 10 / 13)], id="first grows more: it is occluded"),
        pytest.param(5, 5, [], id="true tie: no order, not the lower number"),
    ],
)
def test_equation_3(first_px, second_px, expected):
    assert compare(4, 7, first_px, second_px) == expected
    assert compare(7, 4, second_px, first_px) == expected


@pytest.mark.parametrize(
    ("growth_px", "expected"),
    [
        pytest.param((60, 40), {(1, 0): 0.6, (0, 1): 0.4}, id="both grow: mutual"),
        pytest.param((70, 30), {(1, 0): 0.7, (0, 1): 0.3}, id="just enough"),
        pytest.param((71, 29), {(1, 0): 0.71}, id="just too little"),
        pytest.param((50, 50), {(1, 0): 0.5, (0, 1): 0.5}, id="a tie of growth is mutual"),
        pytest.param((0, 0), {}, id="nothing grows"),
    ],
)
def test_mutual_pairs_have_a_score_each(growth_px, expected):
    found = {(pair.front, pair.back): pair.score for pair in compare(0, 1, *growth_px, mutual_px=30)}
    assert found == pytest.approx(expected)


def test_mutual_pairs_are_no_cycle():
    order = edges((0, 1), (1, 0))
    assert mutual(order) == [(0, 1)] and cycles(order) == []
    assert ancestors(order) == {0: [1], 1: [0]}


def test_chains_and_circles_do_not_go_through_those_who_hide_each_other():
    order = edges((0, 1), (1, 0), (1, 2), (3, 0), (2, 4))
    assert one_way(order) == edges((1, 2), (3, 0), (2, 4))
    assert ancestors(order) == {0: [1, 3], 1: [0], 2: [1], 4: [1, 2]}
    assert cycles(edges((0, 1), (1, 0), (1, 2), (2, 0))) == []
    assert cycles(edges((0, 1), (1, 0), (1, 2), (2, 3), (3, 1))) == [[1, 2, 3]]


def test_only_neighbours_are_ordered():
    growth = {(0, 1): 2.0, (1, 0): 9.0, (1, 2): 4.0, (2, 1): 4.0}
    assert order_pairs([(0, 1), (1, 2)], lambda i, j: growth[i, j]) == [OcclusionEdge(0, 1, 7.0, 9 / 11)]


def test_parents_are_sorted_and_unique():
    assert parents(edges((5, 1), (2, 1), (5, 1), (0, 3))) == {1: [2, 5], 3: [0]}


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        pytest.param([], {}, id="none"),
        pytest.param([(0, 1), (1, 2), (2, 3)], {1: [0], 2: [0, 1], 3: [0, 1, 2]}, id="chain"),
        pytest.param([(0, 1), (0, 2), (1, 3), (2, 3)], {1: [0], 2: [0], 3: [0, 1, 2]}, id="diamond"),
        pytest.param([(0, 1), (1, 0)], {0: [1], 1: [0]}, id="mutual"),
        pytest.param([(0, 1), (1, 2), (2, 0), (2, 3)], {0: [1, 2], 1: [0, 2], 2: [0, 1], 3: [0, 1, 2]}, id="circle"),
    ],
)
def test_ancestors(order, expected):
    assert ancestors(edges(*order)) == expected


@pytest.mark.parametrize("seed", range(5))
def test_ancestors_are_the_transitive_closure(seed):
    rng = np.random.default_rng(seed)
    above = rng.random((7, 7)) < 0.2
    np.fill_diagonal(above, False)
    above &= ~above.T  # of two objects one is in front
    found = ancestors(edges(*zip(*np.nonzero(above), strict=True)))
    closure = above.copy()
    for k, i, j in product(range(7), repeat=3):  # Warshall
        closure[i, j] |= closure[i, k] & closure[k, j]
    for back in range(7):
        assert found.get(back, []) == [front for front in range(7) if closure[front, back] and front != back]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        pytest.param([(0, 1), (1, 2)], [], id="none"),
        pytest.param([(0, 1), (1, 0), (1, 2)], [], id="mutual, no circle"),
        pytest.param(
            [(0, 1), (1, 2), (2, 0), (5, 6), (6, 7), (7, 5), (2, 5)], [[0, 1, 2], [5, 6, 7]], id="two circles"
        ),
        pytest.param([(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 2)], [[0, 1, 2, 3, 4]], id="joined circles"),
    ],
)
def test_cycles(order, expected):
    assert cycles(edges(*order)) == expected


def test_growth_inside_and_whole_by_counting():
    masks = np.zeros((2, 10, 10), bool)
    masks[0, :, :4], masks[1, :, 4:8] = True, True
    grown = np.zeros((2, 10, 10), bool)
    grown[0, :3, 4:] = True  # 12 pixels behind the other, 6 beyond it
    inside, whole = growth_inside(grown, masks), growth_whole(grown)
    assert (inside(0, 1), inside(1, 0)) == (12, 0)
    assert (whole(0, 1), whole(1, 0)) == (18, 0)
