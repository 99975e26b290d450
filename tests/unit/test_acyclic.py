"""Orders without circles: least weight turned round, checked against all lines there are."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from itertools import permutations

import numpy as np
import pytest

from amodalpl.labelling.acyclic import EXACT_UP_TO, feedback_arrows, without_circles
from amodalpl.labelling.ordering import OcclusionEdge, cycles, mutual, one_way


def random_arrows(seed, nodes, share):
    rng = np.random.default_rng(seed)
    arrows = {}
    for i in range(nodes):
        for j in range(i):
            if rng.random() < share:
                arrows[(i, j) if rng.random() < 0.5 else (j, i)] = float(rng.integers(1, 100))
    return arrows


def has_circle(arrows):
    graph = TopologicalSorter()
    for front, back in arrows:
        graph.add(back, front)
    try:
        graph.prepare()
    except CycleError:
        return True
    return False


def lightest_by_trying_all(arrows):
    nodes = sorted({node for arrow in arrows for node in arrow})
    return min(
        sum(weight for (front, back), weight in arrows.items() if line.index(front) > line.index(back))
        for line in permutations(nodes)
    )


@pytest.mark.parametrize("seed", range(20))
def test_least_weight_is_left_out(seed):
    arrows = random_arrows(seed, 6, 0.8)
    left_out = feedback_arrows(arrows)
    assert sum(arrows[a] for a in left_out) == lightest_by_trying_all(arrows)
    assert not has_circle(arrows.keys() - left_out)


def test_what_is_in_no_circle_stays():
    arrows = {(0, 1): 5.0, (1, 2): 4.0, (2, 0): 3.0, (2, 3): 0.1, (4, 0): 0.1, (7, 8): 0.1}
    assert feedback_arrows(arrows) == {(2, 0)}
    assert feedback_arrows({}) == set()
    assert feedback_arrows({(0, 1): 1.0, (1, 2): 1.0}) == set()


def test_two_light_arrows_before_a_heavy_one():
    """Both circles go through (0, 1); leaving out one arrow of each costs less."""
    arrows = {(0, 1): 5.0, (1, 2): 2.0, (2, 0): 9.0, (1, 3): 2.0, (3, 0): 9.0}
    assert feedback_arrows(arrows) == {(1, 2), (1, 3)}
    assert feedback_arrows({**arrows, (0, 1): 3.0}) == {(0, 1)}


@pytest.mark.parametrize("nodes", [EXACT_UP_TO, EXACT_UP_TO + 1, 40])
@pytest.mark.parametrize("seed", range(4))
def test_no_circle_is_left_in_larger_groups(nodes, seed):
    arrows = random_arrows(seed, nodes, 0.5)
    left_out = feedback_arrows(arrows)
    assert has_circle(arrows) and left_out and not has_circle(arrows.keys() - left_out)


def test_rule_for_large_groups_finds_a_planted_line():
    """A line of 30 with all its arrows, and three light ones against it."""
    arrows = {(i, j): 10.0 for i in range(30) for j in range(i + 1, 30) if (i, j) not in ((3, 20), (0, 29), (11, 14))}
    against = {(20, 3): 1.0, (29, 0): 1.0, (14, 11): 1.0}
    assert feedback_arrows(arrows | against) == set(against)


@pytest.mark.parametrize("seed", range(30))
def test_circles_that_are_left_are_mutual(seed):
    rng = np.random.default_rng(seed)
    arrows = random_arrows(seed, 9, 0.4)
    pairs = [OcclusionEdge(front, back, weight) for (front, back), weight in arrows.items()]
    twice = [pairs[int(k)] for k in rng.choice(len(pairs), 2, replace=False)]
    pairs += [OcclusionEdge(pair.back, pair.front, 1.0) for pair in twice]
    order = without_circles(pairs)
    assert mutual(order) == mutual(pairs) and cycles(order) == []
    assert not has_circle((pair.front, pair.back) for pair in one_way(order))
    assert [frozenset((p.front, p.back)) for p in order] == [frozenset((p.front, p.back)) for p in pairs]
    assert without_circles(order) == order


def test_turned_pairs_say_what_speaks_against_them():
    order = [
        OcclusionEdge(0, 1, 9.0, 0.9),
        OcclusionEdge(1, 2, 4.0, 0.75),
        OcclusionEdge(2, 0, 3.0, 1.0),
        OcclusionEdge(2, 3, 1.0),
    ]
    assert without_circles(order) == [*order[:2], OcclusionEdge(0, 2, -3.0, 0.0), order[3]]


def test_mutual_pairs_stay_although_a_chain_goes_one_way():
    order = [
        OcclusionEdge(0, 1, 1.0, 0.5),
        OcclusionEdge(1, 0, 1.0, 0.5),
        OcclusionEdge(1, 2, 9.0),
        OcclusionEdge(2, 0, 9.0),
    ]
    assert without_circles(order) == order


def test_the_same_whatever_the_objects_are_called():
    arrows = random_arrows(3, 7, 0.9)
    renamed = {(front + 100, back + 100): weight for (front, back), weight in reversed(arrows.items())}
    assert {(a - 100, b - 100) for a, b in feedback_arrows(renamed)} == feedback_arrows(arrows)
