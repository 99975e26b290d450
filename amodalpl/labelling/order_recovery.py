"""Who hides whom in an image: recovered from what a completer predicts of each object.

PCNet-M and ASBU's code complete each of two neighbours behind the other alone. Ours completes each object behind all
its neighbours at once and reads the order from that; `layered` looks again, and more closely, where two objects meet
and neither clearly gives way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..completion.predictor import CompletionPrediction, CompletionRequest, Predictions, Scene
from ..masks.boxed import BoxedMask, BoxedMasks, Window
from ..masks.geometry import count_px
from ..masks.neighbours import near_pairs, neighbours_both_ways
from .contact import GOES_ON, Contact, contact_of, is_doubtful, order_by_contact
from .label import amodal_in_window, runs_away
from .ordering import OcclusionEdge, growth_inside, growth_whole, order_pairs
from .plan import LabelPlan

Neighbours = Sequence[Sequence[tuple[int, int]]]  # pairs of object indices, per scene


def requests_behind(scene: Scene, occluders: Mapping[int, Sequence[int]]) -> dict[int, CompletionRequest]:
    """Return the request for each object that something may be in front of, by object.

    Args:
        scene: the image.
        occluders: by object, those behind which it is completed.
    """
    return {target: CompletionRequest(scene, target, tuple(group)) for target, group in occluders.items()}


def order_pairwise(plan: LabelPlan, scenes: Sequence[Scene], neighbours: Neighbours) -> list[list[OcclusionEdge]]:
    """Order every pair of neighbours by completing each behind the other, as PCNet-M does.

    Args:
        plan: predictor and threshold.
        scenes: images with disjoint visible masks.
        neighbours: of each scene.

    Returns:
        The order of each scene.
    """
    growth_px = {
        prediction.request: pair_growth_px(prediction, plan.order_threshold)
        for prediction in plan.ordering.stream(pair_requests(scenes, neighbours))
    }

    def order(scene: Scene, pairs: Sequence[tuple[int, int]]) -> list[OcclusionEdge]:
        return order_pairs(pairs, lambda i, j: growth_px[CompletionRequest(scene, i, (j,))])

    return [order(scene, pairs) for scene, pairs in zip(scenes, neighbours, strict=True)]


def pair_requests(scenes: Sequence[Scene], neighbours: Neighbours) -> list[CompletionRequest]:
    """Return both requests for every pair of every scene: how far is i completed behind j alone, and j behind i."""
    return [
        CompletionRequest(scene, target, (occluder,))
        for scene, pairs in zip(scenes, neighbours, strict=True)
        for i, j in pairs
        for target, occluder in ((i, j), (j, i))
    ]


def pair_growth_px(prediction: CompletionPrediction, threshold: float) -> float:
    """Return by how many image pixels an object grows into the one occluder it was asked about."""
    return float(count_px((prediction.probability > threshold) & prediction.behind))


def predict_behind_neighbours(plan: LabelPlan, scenes: Sequence[Scene], neighbours: Neighbours) -> Predictions:
    """Complete each object that has neighbours behind all of them."""
    return plan.ordering.predict(
        request
        for scene, pairs in zip(scenes, neighbours, strict=True)
        for request in requests_behind(scene, neighbours_both_ways(pairs)).values()
    )


def orders_at(
    plan: LabelPlan,
    scenes: Sequence[Scene],
    looks: Iterable[tuple[float, ...]],
    thresholds: Sequence[float] | np.ndarray,
) -> list[list[list[list[OcclusionEdge]]]]:
    """Return the order that completions behind all neighbours give, for each choice of further looks and threshold.

    Args:
        plan: how; neither its further looks nor its threshold are used.
        scenes: images with disjoint visible masks.
        looks: each as `contact_crops` of a plan.
        thresholds: probabilities above which a pixel counts as grown.

    Returns:
        The order, for each of the looks, threshold and scene.
    """
    scenes = [scene.with_tight_masks_grown(plan.contour_inset_px) for scene in scenes]
    neighbours = [near_pairs(scene.masks, plan.ordering.gap_px) for scene in scenes]
    predictions = predict_behind_neighbours(plan, scenes, neighbours)
    return [
        orders_completed(replace(plan, contact_crops=contact_crops), scenes, neighbours, predictions, thresholds)
        for contact_crops in looks
    ]


def orders_completed(
    plan: LabelPlan,
    scenes: Sequence[Scene],
    neighbours: Neighbours,
    predictions: Predictions,
    thresholds: Sequence[float] | np.ndarray,
) -> list[list[list[OcclusionEdge]]]:
    """Read the order from completions behind all neighbours.

    Args:
        plan: order rule and further looks; its threshold is not used.
        scenes: images with disjoint visible masks.
        neighbours: of each scene.
        predictions: of `predict_behind_neighbours`.
        thresholds: probabilities above which a pixel counts as grown.

    Returns:
        The order, for each threshold and scene.
    """
    if plan.order_rule == "contact":
        meetings = _meetings(plan, scenes, neighbours, predictions)
        return [
            [
                [pair for m in of_scene for pair in order_by_contact(m.contact, *m.unseen, threshold)]
                for of_scene in meetings
            ]
            for threshold in thresholds
        ]
    return [
        [
            _order_by_growth(plan, scene, pairs, predictions, threshold)
            for scene, pairs in zip(scenes, neighbours, strict=True)
        ]
        for threshold in thresholds
    ]


def _order_by_growth(
    plan: LabelPlan, scene: Scene, pairs: Sequence[tuple[int, int]], predictions: Predictions, threshold: float
) -> list[OcclusionEdge]:
    size_hw = scene.masks.size_hw
    grown = [BoxedMask.nothing(size_hw)] * len(scene.masks)  # nothing where an object runs away
    for target, request in requests_behind(scene, neighbours_both_ways(pairs)).items():
        prediction = predictions[request]
        local = amodal_in_window(prediction, threshold, plan.behind_neighbours)
        if not runs_away(local, prediction.modal, plan.max_growth):
            rows, columns = prediction.window
            grown[target] = BoxedMask.cut(local & ~prediction.modal, (columns.start, rows.start), size_hw)
    of_all = BoxedMasks(grown, size_hw)
    rule = growth_inside(of_all, scene.masks) if plan.order_rule == "inside" else growth_whole(of_all)
    return order_pairs(pairs, rule)


@dataclass
class _Meeting:
    """Two neighbours where they meet.

    Attributes:
        contact: of the two.
        requests: about either, behind all its neighbours.
        unseen: the probability that each goes on within the other, as `order_by_contact` takes it.
    """

    contact: Contact
    requests: tuple[CompletionRequest, CompletionRequest]
    unseen: tuple[np.ndarray, np.ndarray]


def _meetings(
    plan: LabelPlan, scenes: Sequence[Scene], neighbours: Neighbours, predictions: Predictions
) -> list[list[_Meeting]]:
    """Return what is known of every contact of every scene."""
    meetings: list[list[_Meeting]] = []
    for scene, pairs in zip(scenes, neighbours, strict=True):
        requests = requests_behind(scene, neighbours_both_ways(pairs))
        meetings.append([])
        for i, j in pairs:
            contact = contact_of(scene.masks, (i, j), plan.ordering.gap_px)
            unseen = (
                _unseen_from_afar(plan, contact, predictions[requests[i]], contact.visible[1]),
                _unseen_from_afar(plan, contact, predictions[requests[j]], contact.visible[0]),
            )
            meetings[-1].append(_Meeting(contact, (requests[i], requests[j]), unseen))
    if plan.contact_crops:
        _refine_contacts(plan, [m for of_scene in meetings for m in of_scene if is_doubtful(m.contact, *m.unseen)])
    return meetings


def _refine_contacts(plan: LabelPlan, doubtful: Sequence[_Meeting]) -> None:
    """Complete both objects again in crops of their contact; the mean of all predictions counts.

    The crop around a large object shows little of its contact with a small one, and any one crop may mislead.
    """
    answers = [tuple([afar] * (1 + len(plan.contact_crops)) for afar in meeting.unseen) for meeting in doubtful]
    asked_for: defaultdict[CompletionRequest, list[tuple[int, int, int]]] = defaultdict(list)  # where answers go
    for m, meeting in enumerate(doubtful):
        for k, request in enumerate(meeting.requests):
            for n, sides in enumerate(plan.contact_crops, 1):
                asked_for[replace(request, crop=meeting.contact.square(sides))].append((m, k, n))
    for prediction in plan.ordering.stream(asked_for):
        for m, k, n in asked_for[prediction.request]:
            contact = doubtful[m].contact
            answers[m][k][n] = _unseen_in(contact.window, prediction)[contact.visible[1 - k]]
    for meeting, (first, second) in zip(doubtful, answers, strict=True):
        meeting.unseen = np.mean(first, axis=0), np.mean(second, axis=0)


def _unseen_from_afar(
    plan: LabelPlan, contact: Contact, prediction: CompletionPrediction, other: np.ndarray
) -> np.ndarray:
    """Return what the prediction of an object alone says of its contact, nothing where it runs away, (K,) float32."""
    local = amodal_in_window(prediction, GOES_ON, plan.behind_neighbours)
    if runs_away(local, prediction.modal, plan.max_growth):
        return np.zeros(np.count_nonzero(other), dtype=np.float32)
    return _unseen_in(contact.window, prediction)[other]


def _unseen_in(window: Window, prediction: CompletionPrediction) -> np.ndarray:
    """Return the probability that the object goes on behind its occluders, (h, w) float32 within another window."""
    rows, columns = window
    found = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.float32)
    own_rows, own_columns = prediction.window
    top, bottom = max(rows.start, own_rows.start), min(rows.stop, own_rows.stop)
    left, right = max(columns.start, own_columns.start), min(columns.stop, own_columns.stop)
    if top < bottom and left < right:
        own = np.s_[
            top - own_rows.start : bottom - own_rows.start, left - own_columns.start : right - own_columns.start
        ]
        unseen = prediction.probability[own] * (prediction.behind[own] & ~prediction.modal[own])
        found[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start] = unseen
    return found
