"""Completions of hold-out objects whose occluders are known, counted against the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..labelling.label import amodal_in_window, as_drawn
from ..labelling.plan import LabelPlan
from ..masks.boxed import in_common_box
from ..metrics.completion import Counts, count_instance
from .holdout import Case

Readings = Sequence[tuple[float, float]]
"""Pairs of probabilities above which a pixel belongs to an object: behind occluders, and where no object is."""


def count_completions(
    plan: LabelPlan,
    cases: Sequence[Case],
    occluders: Sequence[Mapping[int, Sequence[int]]],
    thresholds: Readings,
) -> list[list[list[Counts]]]:
    """Complete objects as labelling does, once, and count what each threshold makes of that.

    Args:
        plan: how objects are completed; its own thresholds are not used.
        cases: a few scenes with their truth.
        occluders: per scene, the objects behind which each is completed; objects that are not visible are left out.
        thresholds: what each reading counts as the object.

    Returns:
        For each pair and scene, the counts of each object.
    """
    shown = [case.scene.with_tight_masks_grown(plan.contour_inset_px) for case in cases]
    visible = [
        {target: group for target, group in groups.items() if case.scene.masks[target].any()}
        for case, groups in zip(cases, occluders, strict=True)
    ]
    counts: list[list[list[Counts]]] = [[[] for _ in cases] for _ in thresholds]
    for n, (case, found) in enumerate(zip(cases, plan.completing.predict_behind(shown, visible), strict=True)):
        for target, prediction in found.items():
            prediction, modal, truth = prediction.at_hand(), case.scene.masks[target], case.amodal[target]
            for of_threshold, (threshold, unmasked) in zip(counts, thresholds, strict=True):
                local = amodal_in_window(prediction, threshold, plan.behind_neighbours, unmasked)
                label = as_drawn(modal, prediction, local, plan.contour_inset_px)
                of_threshold[n].append(count_instance(*in_common_box(label, truth, modal)))
    return counts
