"""Who hides whom in an image, recovered from the completions of its objects.

PCNet-M and ASBU's code complete each of two neighbours behind the other alone. Ours completes each object behind all
its neighbours at once and reads the order from that; `layered` looks again, and more closely, where two objects meet
and neither clearly gives way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..completion.checkpoint import TrainedCompleter
from ..completion.predictor import Answer, Query, Scene, Window, ask
from ..masks.geometry import count_px
from ..masks.neighbours import near_pairs, neighbours_both_ways
from ..settings import LabelSettings
from .answers import Answers, amodal_in_window, ask_behind, runs_away, view_for
from .contact import GOES_ON, Contact, contact_of, is_doubtful, order_by_contact
from .loosening import loosened
from .ordering import Pair, growth_inside, growth_whole, order_pairs

Neighbours = Sequence[Sequence[tuple[int, int]]]  # pairs of object indices, per scene


def orders_from_pairs(trained: TrainedCompleter, settings: LabelSettings) -> bool:
    """Tell whether the order is found by completing each pair alone; settings come before the method's default."""
    if settings.order_from is None:
        return trained.completer.method.order_from_pairs
    return settings.order_from == "pairs"


def order_pairwise(
    trained: TrainedCompleter, scenes: Sequence[Scene], neighbours: Neighbours, settings: LabelSettings
) -> list[list[Pair]]:
    """Order every pair of neighbours by completing each behind the other, as PCNet-M does.

    Args:
        trained: the completer.
        scenes: images with disjoint visible masks.
        neighbours: of each scene.
        settings: tolerance for gaps, batches.

    Returns:
        The order of each scene.
    """
    view = view_for(trained.view, settings)
    growth: dict[tuple[int, int, int], float] = {}
    for answer in ask(trained.completer, scenes, pair_queries(neighbours), view, settings.batch_size):
        scene, target, (occluder,) = answer.query.scene, answer.query.target, answer.query.occluders
        growth[scene, target, occluder] = pair_growth_px(answer, trained.order_threshold)
    return [
        order_pairs(pairs, lambda i, j, number=number: growth[number, i, j])  # type: ignore[misc]
        for number, pairs in enumerate(neighbours)
    ]


def pair_queries(neighbours: Neighbours) -> list[Query]:
    """Return both questions for every pair of every scene: how far is i completed behind j alone, and j behind i."""
    return [
        Query(number, target, (occluder,))
        for number, pairs in enumerate(neighbours)
        for i, j in pairs
        for target, occluder in ((i, j), (j, i))
    ]


def pair_growth_px(answer: Answer, threshold: float) -> float:
    """Return by how many image pixels an object grows into the one occluder it was asked about."""
    return float(count_px((answer.probability > threshold) & answer.behind))


def orders_at(
    trained: TrainedCompleter,
    scenes: Sequence[Scene],
    settings: LabelSettings,
    looks: Iterable[tuple[float, ...]],
    thresholds: Collection[float],
) -> list[list[list[list[Pair]]]]:
    """Return the order that completions behind all neighbours give, for each choice of further looks and threshold.

    Args:
        trained: the completer; neither its further looks nor its threshold are used.
        scenes: images with disjoint visible masks.
        settings: neighbours, order rule, batches.
        looks: each as `close_looks` of a completer.
        thresholds: probabilities above which a pixel counts as grown.

    Returns:
        The order, for each of the looks, threshold and scene.
    """
    scenes, settings, _ = loosened(scenes, settings)
    neighbours = [near_pairs(scene.masks, settings.near_px) for scene in scenes]
    answers = ask_behind(trained, scenes, [neighbours_both_ways(pairs) for pairs in neighbours], settings)
    return [
        orders_completed(replace(trained, close_looks=close_looks), scenes, neighbours, answers, settings, thresholds)
        for close_looks in looks
    ]


def orders_completed(
    trained: TrainedCompleter,
    scenes: Sequence[Scene],
    neighbours: Neighbours,
    answers: Answers,
    settings: LabelSettings,
    thresholds: Iterable[float],
) -> list[list[list[Pair]]]:
    """Find the order from completions behind all neighbours; the rule is that of the settings, else of the method.

    Args:
        trained: the completer; its further looks are used, its threshold is not.
        scenes: images with disjoint visible masks.
        neighbours: of each scene.
        answers: about each object that has neighbours, behind all of them.
        settings: order rule, batches.
        thresholds: probabilities above which a pixel counts as grown.

    Returns:
        The order, for each threshold and scene.
    """
    rule = settings.order_rule or trained.completer.method.order_rule
    if rule == "contact":
        meetings = _look_where_they_meet(trained, scenes, neighbours, answers, settings)
        return [
            [
                [pair for m in of_scene for pair in order_by_contact(m.contact, m.first, m.second, threshold)]
                for of_scene in meetings
            ]
            for threshold in thresholds
        ]
    orders: list[list[list[Pair]]] = []
    for threshold in thresholds:
        orders.append([])
        for number, (scene, pairs) in enumerate(zip(scenes, neighbours, strict=True)):
            grown = _grown(number, scene, {index for pair in pairs for index in pair}, answers, threshold, settings)
            orders[-1].append(
                order_pairs(pairs, growth_inside(grown, scene.masks) if rule == "inside" else growth_whole(grown))
            )
    return orders


def _grown(
    number: int, scene: Scene, targets: Iterable[int], answers: Answers, threshold: float, settings: LabelSettings
) -> np.ndarray:
    """Return by what each object grows, nothing where it runs away, (N, H, W) bool."""
    grown = np.zeros_like(scene.masks)
    for target in targets:
        answer = answers[number, target]
        local = amodal_in_window(answer, threshold, settings.behind_neighbours)
        if not runs_away(local, answer.modal, settings):
            grown[target][answer.window] = local & ~answer.modal
    return grown


@dataclass
class _Meeting:
    """Two neighbours, and the probability that each goes on within the other, as `order_by_contact` takes it."""

    contact: Contact
    first: np.ndarray
    second: np.ndarray


def _look_where_they_meet(
    trained: TrainedCompleter,
    scenes: Sequence[Scene],
    neighbours: Neighbours,
    answers: Answers,
    settings: LabelSettings,
) -> list[list[_Meeting]]:
    """Return what is known of every contact of every scene.

    A crop around a large object shows little of its contact with a small one. So if an order is uncertain, both objects
    are completed again in crops of the contact, and the mean of all answers counts.
    """
    meetings = []
    for number, (scene, pairs) in enumerate(zip(scenes, neighbours, strict=True)):
        contacts = [contact_of(scene.masks, pair, settings.near_px) for pair in pairs]
        meetings.append(
            [
                _Meeting(c, *(_far(answers[number, k], c, other, settings) for k, other in _each_in_other(c)))
                for c in contacts
            ]
        )
    if not trained.close_looks:
        return meetings
    around = [neighbours_both_ways(pairs) for pairs in neighbours]
    doubtful = [
        (number, meeting)
        for number, of_scene in enumerate(meetings)
        for meeting in of_scene
        if is_doubtful(meeting.contact, meeting.first, meeting.second)
    ]
    queries = [
        Query(number, target, tuple(around[number][target]), meeting.contact.square(sides))
        for number, meeting in doubtful
        for target in meeting.contact.pair
        for sides in trained.close_looks
    ]
    found = ask(trained.completer, scenes, queries, view_for(trained.view, settings), settings.batch_size)
    for _, meeting in doubtful:
        window = meeting.contact.window
        meeting.first, meeting.second = (
            np.mean([far, *(_unseen_in(window, next(found))[other] for _ in trained.close_looks)], axis=0)
            for far, (_, other) in zip((meeting.first, meeting.second), _each_in_other(meeting.contact), strict=True)
        )
    return meetings


def _each_in_other(contact: Contact) -> Iterable[tuple[int, np.ndarray]]:
    """Return each object's index with what is visible of the other one."""
    return zip(contact.pair, contact.visible[::-1], strict=True)


def _far(answer: Answer, contact: Contact, other: np.ndarray, settings: LabelSettings) -> np.ndarray:
    """Return what the answer about an object alone says of its contact, nothing where it runs away, (K,) float32."""
    local = amodal_in_window(answer, GOES_ON, settings.behind_neighbours)
    if runs_away(local, answer.modal, settings):
        return np.zeros(np.count_nonzero(other), dtype=np.float32)
    return _unseen_in(contact.window, answer)[other]


def _unseen_in(window: Window, answer: Answer) -> np.ndarray:
    """Return the probability that the object goes on behind its occluders, (h, w) float32 within another window."""
    rows, columns = window
    found = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.float32)
    own_rows, own_columns = answer.window
    top, bottom = max(rows.start, own_rows.start), min(rows.stop, own_rows.stop)
    left, right = max(columns.start, own_columns.start), min(columns.stop, own_columns.stop)
    if top < bottom and left < right:
        own = np.s_[
            top - own_rows.start : bottom - own_rows.start, left - own_columns.start : right - own_columns.start
        ]
        unseen = answer.probability[own] * (answer.behind[own] & ~answer.modal[own])
        found[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start] = unseen
    return found
