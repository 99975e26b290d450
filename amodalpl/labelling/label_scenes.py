"""From the visible masks of images to their amodal labels: neighbours, order, completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..completion.predictor import NONE_KNOWN, Predictions, Scene
from ..masks.neighbours import near_pairs, neighbours_both_ways
from .label import Label, label_object
from .order_recovery import recover_orders
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

    Returns:
        One result per scene.
    """
    shown = [scene.with_tight_masks_grown(plan.contour_inset_px) for scene in scenes]
    neighbours = [near_pairs(scene.masks, plan.ordering.gap_px) for scene in shown]
    around = [neighbours_both_ways(pairs) for pairs in neighbours]
    if true_order is None:
        orders, known = recover_orders(plan, shown, neighbours)
    else:
        orders = [list(order) for order in true_order]
    orders = [_with_chances(plan, order) for order in orders]
    if plan.occluders == "neighbours" and true_order is None:
        occluders = around
    else:
        occluders = [(parents if plan.occluders == "parents" else ancestors)(order) for order in orders]
    if plan.completing.beyond_masks:  # anything may be hidden by something that nobody annotated
        occluders = [
            {target: groups.get(target, []) for target in range(len(scene.masks)) if scene.masks[target].any()}
            for scene, groups in zip(shown, occluders, strict=True)
        ]
    kept_modal = [plan.rules.kept(scene.classes) for scene in scenes]
    occluders = [
        {target: group for target, group in groups.items() if target not in kept}
        for groups, kept in zip(occluders, kept_modal, strict=True)
    ]
    predictions = plan.completing.predict_behind(shown, occluders, known)

    return [
        SceneLabels(
            [
                label_object(plan, scene, target, found.get(target), target in near, target in kept)
                for target in range(len(scene.masks))
            ],
            order,
        )
        for scene, found, near, kept, order in zip(scenes, predictions, around, kept_modal, orders, strict=True)
    ]


def _with_chances(plan: LabelPlan, order: list[OcclusionEdge]) -> list[OcclusionEdge]:
    chance = plan.calibration.order
    return order if chance is None else [replace(pair, chance=chance(pair)) for pair in order]
