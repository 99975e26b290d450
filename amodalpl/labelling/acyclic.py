"""Orders without circles: which arrows to turn round, so that nothing hides itself.

Where one object is in front of another, and the other in front of it through a chain, an arrow is wrong. The lightest
set of arrows that leaves no circle is the weighted feedback arc set (Younger 1963): those that point backward in the
best line of all objects. It is exact for up to `EXACT_UP_TO` objects in circles, by dynamic programming over the sets
that may stand first (Lawler 1964); beyond, it is a greedy line (Eades, Lin and Smyth 1993, with weights) in which
single objects are moved as long as that helps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np

from .ordering import OcclusionEdge, cycles, one_way

Arrow = tuple[int, int]  # front, back

EXACT_UP_TO = 12  # objects; 4 096 sets take some 20 ms, each further object twice as long


def without_circles(pairs: Iterable[OcclusionEdge], settled: Set[Arrow] = frozenset()) -> list[OcclusionEdge]:
    """Return an order whose one-way pairs make no circle, by turning those round that have the least evidence.

    Two neighbours in contact do hide one the other, mostly; where a chain says that it is not this way, it is the other
    one. Two that hide each other in different places stay as they are: no line holds for them.

    Args:
        pairs: in any order, which is kept.
        settled: front and back of those that are never turned; they make no circle by themselves.

    Returns:
        The pairs; of those that were turned, evidence is below 0: what speaks against them.

    >>> order = [OcclusionEdge(0, 1, 50.0), OcclusionEdge(1, 2, 40.0), OcclusionEdge(2, 0, 5.0, 0.8)]
    >>> without_circles(order)[-1]
    OcclusionEdge(front=0, back=2, evidence_px=-5.0, score=0.2, chance=None)
    """
    pairs = list(pairs)
    wrong = feedback_arrows({(pair.front, pair.back): pair.evidence_px for pair in one_way(pairs)}, settled)
    return [turned(pair) if (pair.front, pair.back) in wrong else pair for pair in pairs]


def turned(pair: OcclusionEdge) -> OcclusionEdge:
    """Return a pair the other way round; what spoke for it speaks against it now."""
    return OcclusionEdge(pair.back, pair.front, -pair.evidence_px, round(1 - pair.score, 12))


def feedback_arrows(weights: Mapping[Arrow, float], settled: Set[Arrow] = frozenset()) -> set[Arrow]:
    """Return the lightest set of arrows without which, and with which turned round, no circle is left.

    Args:
        weights: (front, back) to what speaks for it, above 0; of two objects one direction only. The lightest set is
            found for circles of up to `EXACT_UP_TO` objects, a light one beyond.
        settled: those that are never left out, whatever they weigh; they make no circle by themselves.

    >>> feedback_arrows({(0, 1): 2.0, (1, 2): 3.0, (2, 0): 1.0, (2, 3): 0.5})
    {(2, 0)}
    """
    left_out: set[Arrow] = set()
    more_than_all = 1 + sum(abs(value) for value in weights.values())
    weights = {arrow: more_than_all if arrow in settled else value for arrow, value in weights.items()}
    for group in cycles(OcclusionEdge(front, back, weight) for (front, back), weight in weights.items()):
        place = {node: n for n, node in enumerate(group)}
        weight = np.zeros((len(group), len(group)))
        for (front, back), value in weights.items():
            if front in place and back in place:
                weight[place[front], place[back]] = value
        line = _best_line(weight) if len(group) <= EXACT_UP_TO else _good_line(weight, weight == more_than_all)
        rank = {group[k]: n for n, k in enumerate(line)}
        left_out |= {a for a in weights if a[0] in rank and a[1] in rank and rank[a[0]] > rank[a[1]]}
    return left_out


def _best_line(weight: np.ndarray) -> list[int]:
    """Return the line, front first, in which the least weight points backward.

    `cost[s]` is the least for the set `s` of objects standing first. Whoever joins it stands behind all of `s`, so his
    arrows to them point backward.

    Args:
        weight: (N, N) float, [front, back]; 0 without an arrow.
    """
    n = len(weight)
    cost = np.zeros(2**n)
    last = np.zeros(2**n, dtype=np.int64)
    backward = np.zeros((n, 2**n))  # [i, s]: weight of the arrows from i into s
    for j in range(n):
        backward[:, 2**j : 2 ** (j + 1)] = backward[:, : 2**j] + weight[:, j : j + 1]
    for s in range(1, 2**n):
        members = [i for i in range(n) if s >> i & 1]
        costs = [cost[s ^ 1 << i] + backward[i, s ^ 1 << i] for i in members]
        best = int(np.argmin(costs))
        cost[s], last[s] = costs[best], members[best]
    line, s = [], 2**n - 1
    while s:
        line.append(int(last[s]))
        s ^= 1 << line[-1]
    return line[::-1]


def _good_line(weight: np.ndarray, settled: np.ndarray) -> list[int]:
    """Return a line, front first, in which little weight points backward; see `_best_line`.

    Args:
        weight: (N, N) float, [front, back].
        settled: (N, N) bool, arrows that never point backward; each weighs more than all others together, so that no
            move that helps turns one.
    """
    left = list(range(len(weight)))
    line: list[int] = []
    while left:
        among = weight[np.ix_(left, left)]
        may_be_next = ~settled[np.ix_(left, left)].any(axis=0)
        line.append(left.pop(int(np.argmax(np.where(may_be_next, among.sum(axis=1) - among.sum(axis=0), -np.inf)))))
    improved = True
    while improved:
        improved = False
        for node in range(len(weight)):
            at = line.index(node)
            others = line[:at] + line[at + 1 :]
            backward = _backward_at_each_place(weight, node, others)
            best = int(np.argmin(backward))
            if backward[best] < backward[at] - 1e-9 * weight.sum():
                line, improved = [*others[:best], node, *others[best:]], True
    return line


def _backward_at_each_place(weight: np.ndarray, node: int, others: Sequence[int]) -> np.ndarray:
    """Return the weight of the arrows of a node that point backward, for each of its places in a line of others."""
    to_those_before = np.concatenate([[0.0], np.cumsum(weight[node, others])])
    from_those_behind = np.concatenate([np.cumsum(weight[others, node][::-1])[::-1], [0.0]])
    return to_those_before + from_those_behind
