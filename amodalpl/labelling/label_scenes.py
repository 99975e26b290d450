"""From the visible masks of images to their amodal labels: neighbours, order, completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..completion.predictor import NONE_KNOWN, Predictions, Scene
from ..masks.neighbours import near_pairs, neighbours_both_ways
from .acyclic import without_circles
from .class_rules import in_settled_directions
from .label import Label, read_label
from .order_recovery import Neighbours, order_pairwise, orders_completed, predict_behind_neighbours, requests_behind
from .ordering import OcclusionEdge, ancestors, parents
from .plan import LabelPlan


@dataclass(frozen=True)
class SceneLabels:
    """The labels of one image: one per mask (None for empty masks), and the order."""

    labels: list[Label | None]
    order: list[OcclusionEdge]


def label_scenes(
    plan: LabelPlan,
    scenes: Sequence[Scene],
    true_order: Sequence[Sequence[OcclusionEdge]] | None = None,
    known: Predictions = NONE_KNOWN,
    classes: Sequence[Sequence[int] | None] | None = None,
) -> list[SceneLabels]:
    """Label the objects of a few images together.

    PCNet-M and ASBU's code first order every pair of neighbours by completing each behind the other, then complete each
    object behind the union of its ancestors. Ours, and with `settings.order_from` "completions" any, completes each
    object behind all its neighbours and reads the order from that; those whose neighbours are not all in front are
    completed again behind their ancestors. With `settings.occluders` "neighbours" too the first completion stands, as
    the ASBU paper's text has it.

    Masks that are drawn too tight (`plan.contour_inset_px`) are grown first; labels keep the contour as drawn.

    Args:
        plan: how.
        scenes: images with disjoint visible masks; kept in memory together.
        true_order: use this order per scene instead of a recovered one.
        known: what was predicted of these scenes before; used with a true order.
        classes: of the objects of each scene, for the rules of the plan; None where nobody knows.

    Returns:
        One result per scene.
    """
    shown = [scene.with_tight_masks_grown(plan.contour_inset_px) for scene in scenes]
    neighbours = [near_pairs(scene.masks, plan.ordering.gap_px) for scene in shown]
    around = [neighbours_both_ways(pairs) for pairs in neighbours]
    classes = [None] * len(scenes) if classes is None else classes
    if true_order is None:
        orders, known = _recover_orders(plan, shown, neighbours, classes)
    else:
        orders = [list(order) for order in true_order]
    if plan.occluders == "neighbours" and true_order is None:
        occluders = around
    else:
        occluders = [(parents if plan.occluders == "parents" else ancestors)(order) for order in orders]
    if plan.completing.beyond_masks:  # anything may be hidden by something that nobody annotated
        occluders = [
            {target: groups.get(target, []) for target in range(len(scene.masks)) if scene.masks[target].any()}
            for scene, groups in zip(shown, occluders, strict=True)
        ]
    kept_modal = [
        set() if of_scene is None else {k for k, c in enumerate(of_scene) if c in plan.rules.kept_modal}
        for of_scene in classes
    ]
    occluders = [
        {target: group for target, group in groups.items() if target not in kept}
        for groups, kept in zip(occluders, kept_modal, strict=True)
    ]
    requests = [requests_behind(scene, groups) for scene, groups in zip(shown, occluders, strict=True)]
    predictions = plan.completing.predict((r for of_scene in requests for r in of_scene.values()), known)

    def label(number: int, target: int) -> Label | None:
        visible = scenes[number].masks[target]
        if target in requests[number]:
            of_scene = classes[number]
            threshold = plan.threshold_of(None if of_scene is None else of_scene[target])
            return read_label(plan, visible, predictions[requests[number][target]], threshold)
        uncertainty = plan.calibration.unasked if target in around[number] else 0.0
        kept = target in kept_modal[number]
        return Label(visible, uncertainty, kept_modal=kept) if visible.any() else None

    return [
        SceneLabels([label(number, target) for target in range(len(scene.masks))], order)
        for number, (scene, order) in enumerate(zip(scenes, orders, strict=True))
    ]


def _recover_orders(
    plan: LabelPlan, scenes: Sequence[Scene], neighbours: Neighbours, classes: Sequence[Sequence[int] | None]
) -> tuple[list[list[OcclusionEdge]], Predictions]:
    """Return the order of each scene, and what was predicted for it that labels may be read from too."""
    predictions: Predictions = {}
    if plan.order_rule == "pairs":
        orders = order_pairwise(plan, scenes, neighbours)
    else:
        predictions = predict_behind_neighbours(plan, scenes, neighbours)
        (orders,) = orders_completed(plan, scenes, neighbours, predictions, [plan.order_threshold])
    settled = [set() if c is None else plan.rules.settled(c, order) for c, order in zip(classes, orders, strict=True)]
    return [
        without_circles(in_settled_directions(order, arrows), arrows)
        for order, arrows in zip(orders, settled, strict=True)
    ], predictions
