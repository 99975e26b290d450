"""Who hides whom in an image: recovered from what a completer predicts of each object.

PCNet-M and ASBU's code complete each of two neighbours behind the other alone. Ours completes each object behind all
its neighbours at once and reads the order from that; `layered` looks again, and more closely, where two objects meet
and neither clearly gives way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ..completion.predictor import NONE_KNOWN, CompletionPrediction, CompletionRequest, OfObjects, Predictions, Scene
from ..masks.boxed import BoxedMask, BoxedMasks
from ..masks.geometry import count_px
from ..masks.neighbours import near_pairs, neighbours_both_ways
from .acyclic import without_circles
from .class_rules import in_settled_directions
from .contact import Neighbours, orders_by_contact
from .label import amodal_in_window
from .ordering import OcclusionEdge, growth_inside, growth_whole, order_pairs
from .plan import LabelPlan


def recover_orders(
    plan: LabelPlan, scenes: Sequence[Scene], neighbours: Neighbours
) -> tuple[list[list[OcclusionEdge]], Predictions]:
    """Recover who hides whom, as the rules of classes say, and without circles.

    Args:
        plan: order rule, predictor, threshold, further looks, and what is settled of classes.
        scenes: images with disjoint visible masks.
        neighbours: of each scene.

    Returns:
        The order of each scene, and what was predicted for it that labels may be read from too.
    """
    if plan.order_rule == "pairs":
        orders, known = order_pairwise(plan, scenes, neighbours), NONE_KNOWN
    else:
        predictions = predict_behind_neighbours(plan, scenes, neighbours)
        (orders,) = orders_completed(plan, scenes, neighbours, predictions, [plan.order_threshold])
        known = {prediction.request: prediction for of_scene in predictions for prediction in of_scene.values()}
    return [_settled(plan, scene, order) for scene, order in zip(scenes, orders, strict=True)], known


def _settled(plan: LabelPlan, scene: Scene, order: Sequence[OcclusionEdge]) -> list[OcclusionEdge]:
    """Return an order without circles that goes as the settings of classes say."""
    arrows = set() if scene.classes is None else plan.rules.settled(scene.classes, order)
    return without_circles(in_settled_directions(order, arrows), arrows)


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


def predict_behind_neighbours(plan: LabelPlan, scenes: Sequence[Scene], neighbours: Neighbours) -> list[OfObjects]:
    """Complete each object that has neighbours behind all of them."""
    return plan.ordering.predict_behind(scenes, [neighbours_both_ways(pairs) for pairs in neighbours])


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
    predictions: Sequence[OfObjects],
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
        return orders_by_contact(plan, scenes, neighbours, predictions, thresholds)
    return [
        [
            _order_by_growth(plan, scene, pairs, found, threshold)
            for scene, pairs, found in zip(scenes, neighbours, predictions, strict=True)
        ]
        for threshold in thresholds
    ]


def _order_by_growth(
    plan: LabelPlan, scene: Scene, pairs: Sequence[tuple[int, int]], predictions: OfObjects, threshold: float
) -> list[OcclusionEdge]:
    size_hw = scene.masks.size_hw
    grown = [BoxedMask.nothing(size_hw)] * len(scene.masks)
    for target, prediction in predictions.items():
        local = amodal_in_window(prediction, threshold, plan.behind_neighbours)
        rows, columns = prediction.window
        grown[target] = BoxedMask.cut(local & ~prediction.modal, (columns.start, rows.start), size_hw)
    of_all = BoxedMasks(grown, size_hw)
    rule = growth_inside(of_all, scene.masks) if plan.order_rule == "inside" else growth_whole(of_all)
    return order_pairs(pairs, rule)
