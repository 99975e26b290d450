"""Completions of hold-out objects whose occluders are known, counted against the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..completion.predictor import Query, View, ask
from ..labelling.answers import amodal_in_window, view_for
from ..labelling.label_scenes import as_drawn
from ..labelling.loosening import loosened
from ..metrics.completion import Counts, count_instance
from ..models.completer import Completer
from ..settings import LabelSettings
from .holdout import Case


def count_completions(
    completer: Completer,
    view: View,
    cases: Sequence[Case],
    occluders: Sequence[Mapping[int, Sequence[int]]],
    thresholds: Sequence[float],
    settings: LabelSettings,
) -> list[list[Counts]]:
    """Complete objects as labelling does, once, and count what each threshold makes of that.

    Args:
        completer: in eval mode.
        view: how objects are shown.
        cases: a few scenes with their truth.
        occluders: per scene, the objects behind which each is completed; objects that are not visible are left out.
        thresholds: probabilities above which a pixel belongs to the object.
        settings: tolerance for gaps, batches, where labels may grow.

    Returns:
        For each threshold, the counts of each object.
    """
    queries = [
        Query(number, target, tuple(group))
        for number, (case, groups) in enumerate(zip(cases, occluders, strict=True))
        for target, group in groups.items()
        if case.scene.masks[target].any()
    ]
    scenes, _, own = loosened([case.scene for case in cases], settings)
    counts: list[list[Counts]] = [[] for _ in thresholds]
    for answer in ask(completer, scenes, queries, view_for(view, own), own.batch_size):
        case, target = cases[answer.query.scene], answer.query.target
        visible = case.scene.masks[target]
        for of_threshold, threshold in zip(counts, thresholds, strict=True):
            local = amodal_in_window(answer, threshold, settings.behind_neighbours)
            amodal = as_drawn(visible, answer, local, settings.loosened_px)
            of_threshold.append(count_instance(amodal, case.amodal[target], visible))
    return counts
