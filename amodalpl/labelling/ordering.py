"""Who hides whom: directed pairs, how the growth of two objects orders them, and what follows for each object."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from ..masks.boxed import BoxedMasks, all_boxed
from ..masks.geometry import count_px


@dataclass(frozen=True)
class OcclusionEdge:
    """A directed pair of objects. Two that hide parts of each other are two pairs.

    Attributes:
        front: index of the object that hides.
        back: index of the object that is hidden.
        evidence_px: image pixels by which the back's extension exceeds the front's; of mutual pairs, the back's own.
            Below 0 where a chain of others says that it is this way all the same.
        score: the back's share of both extensions, in [0, 1].
        chance: that it is so, in [0, 1], as the completer's hold-out says; None where it says nothing.
    """

    front: int
    back: int
    evidence_px: float
    score: float = 1.0
    chance: float | None = None


def compare(
    first: int, second: int, first_growth_px: float, second_growth_px: float, mutual_px: float = math.inf
) -> list[OcclusionEdge]:
    """Order a pair by how far each is completed: the one that grows more is behind.

    ASBU eq. (3): O(j, k) = 0 if neither grows, 1 ("j occludes k") if j grows less, -1 otherwise. There -1 also stands
    for equal growth above zero, which would put `second` in front by its number alone; here a tie gives no order, as in
    the reference codes. Neither knows objects that hide each other; ours are those that both grow.

    Args:
        first: index of an object.
        second: index of the other.
        first_growth_px: image pixels by which the first is completed.
        second_growth_px: the same of the second.
        mutual_px: the lesser growth from which on each is in front of the other.

    >>> compare(0, 1, 5, 35)
    [OcclusionEdge(front=0, back=1, evidence_px=30, score=0.875, chance=None)]
    >>> compare(0, 1, 7, 7)
    []
    >>> [(pair.front, pair.back) for pair in compare(0, 1, 60, 40, mutual_px=30)]
    [(1, 0), (0, 1)]
    """
    total = first_growth_px + second_growth_px
    if total <= 0:
        return []
    first_behind = OcclusionEdge(second, first, first_growth_px, first_growth_px / total)
    second_behind = OcclusionEdge(first, second, second_growth_px, second_growth_px / total)
    if min(first_growth_px, second_growth_px) >= mutual_px:
        return [first_behind, second_behind]
    if first_growth_px == second_growth_px:
        return []
    stronger, weaker = sorted((first_behind, second_behind), key=lambda pair: -pair.evidence_px)
    return [replace(stronger, evidence_px=stronger.evidence_px - weaker.evidence_px)]


def order_pairs(neighbours: Iterable[tuple[int, int]], growth_px: Callable[[int, int], float]) -> list[OcclusionEdge]:
    """Order every pair of neighbours one way.

    Args:
        neighbours: unordered pairs of object indices.
        growth_px: (i, j) to the pixels by which i is completed with respect to j: inside j's visible mask (the codes),
            or anywhere (ASBU eq. 3).
    """
    return [pair for i, j in neighbours for pair in compare(i, j, growth_px(i, j), growth_px(j, i))]


def mutual(pairs: Iterable[OcclusionEdge]) -> list[tuple[int, int]]:
    """Return the unordered pairs (i < j) of objects that hide each other, sorted.

    >>> mutual([OcclusionEdge(0, 1, 3.0), OcclusionEdge(1, 0, 2.0), OcclusionEdge(1, 2, 1.0)])
    [(0, 1)]
    """
    directed = {(pair.front, pair.back) for pair in pairs}
    return sorted((i, j) for i, j in directed if i < j and (j, i) in directed)


def one_way(pairs: Iterable[OcclusionEdge]) -> list[OcclusionEdge]:
    """Return the pairs of which only one hides the other.

    Two that hide each other in different places stand in no line with others: a chain or a circle through both says
    nothing of them.
    """
    pairs = list(pairs)
    both_ways = {frozenset(pair) for pair in mutual(pairs)}
    return [pair for pair in pairs if frozenset((pair.front, pair.back)) not in both_ways]


def parents(pairs: Iterable[OcclusionEdge]) -> dict[int, list[int]]:
    """Return for each hidden object the objects directly in front of it, sorted."""
    fronts: dict[int, set[int]] = defaultdict(set)
    for pair in pairs:
        fronts[pair.back].add(pair.front)
    return {back: sorted(group) for back, group in sorted(fronts.items())}


def ancestors(pairs: Iterable[OcclusionEdge]) -> dict[int, list[int]]:
    """Return for each hidden object all objects in front of it, directly or through others, sorted.

    The occluder set of PCNet-M (Zhan et al. 2020, section 3.3). Chains go through pairs of which one hides the other;
    who hides each other is in front directly only. Circles end where they began: an object is never its own ancestor.

    >>> ancestors([OcclusionEdge(0, 1, 1.0), OcclusionEdge(1, 2, 1.0)])
    {1: [0], 2: [0, 1]}
    """
    pairs = list(pairs)
    direct, in_line = parents(pairs), parents(one_way(pairs))
    reached = {}
    for back, group in direct.items():
        seen = set(group)
        frontier = list(in_line.get(back, ()))
        while frontier:
            for front in in_line.get(frontier.pop(), ()):
                if front not in seen:
                    seen.add(front)
                    frontier.append(front)
        reached[back] = sorted(seen - {back})
    return reached


def cycles(pairs: Iterable[OcclusionEdge]) -> list[list[int]]:
    """Return the groups of objects that hide one another in a circle, each sorted.

    Two objects are in one group when each is in front of the other through a chain of pairs of which one hides the
    other. Objects that hide each other directly are `mutual` and no circle, nor is one that goes through them: an arm
    around a bottle is in front of it and behind it, and so may be what the hand holds.

    >>> cycles([OcclusionEdge(0, 1, 1.0), OcclusionEdge(1, 2, 1.0), OcclusionEdge(2, 0, 1.0), OcclusionEdge(2, 3, 1.0)])
    [[0, 1, 2]]
    """
    above = {back: set(group) for back, group in ancestors(one_way(pairs)).items()}
    groups: list[list[int]] = []
    placed: set[int] = set()
    for node in sorted(above):
        group = sorted({node, *(other for other in above[node] if node in above.get(other, ()))})
        if len(group) > 1 and node not in placed:
            groups.append(group)
            placed.update(group)
    return groups


def growth_inside(grown: np.ndarray | BoxedMasks, masks: np.ndarray | BoxedMasks) -> Callable[[int, int], float]:
    """Return the measure of the reference codes: pixels by which i is completed within j's visible mask.

    Args:
        grown: N, or their (N, H, W) bool stack: amodal minus modal.
        masks: the same, visible.
    """
    grown, masks = all_boxed(grown), all_boxed(masks)
    return lambda i, j: float(count_px(grown[i].crop & masks[j][grown[i].window]))


def growth_whole(grown: np.ndarray | BoxedMasks) -> Callable[[int, int], float]:
    """Return the measure of ASBU eq. (3): all pixels by which i is completed, whoever is there.

    Args:
        grown: N, or their (N, H, W) bool stack: amodal minus modal.
    """
    areas_px = [float(mask.area_px) for mask in all_boxed(grown)]
    return lambda i, j: areas_px[i]
