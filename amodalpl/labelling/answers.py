"""What is asked about the objects of scenes, each asked once, and how an answer is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from ..completion.asking import Answer, Query, Scene, View, ask
from ..completion.trained import TrainedCompleter
from ..masks.geometry import count_px
from ..settings import LabelSettings

Answers = dict[tuple[int, int], Answer]  # by scene and target


def ask_behind(
    trained: TrainedCompleter,
    scenes: Sequence[Scene],
    occluders: Sequence[Mapping[int, Sequence[int]]],
    settings: LabelSettings,
    known: Answers | None = None,
) -> Answers:
    """Return the answer for each object that has occluders, asking only where they are not those of a known answer.

    Args:
        trained: the completer.
        scenes: images with disjoint visible masks.
        occluders: per scene, the objects behind which each is completed.
        settings: tolerance for gaps, batches.
        known: earlier answers.
    """
    known = known or {}
    wanted = [
        Query(number, target, tuple(group))
        for number, in_front in enumerate(occluders)
        for target, group in in_front.items()
    ]
    kept = {(q.scene, q.target): known[q.scene, q.target] for q in wanted if _is_known(q, known)}
    missing = [q for q in wanted if not _is_known(q, known)]
    found = ask(trained.completer, scenes, missing, view_for(trained.view, settings), settings.batch_size)
    return kept | {(answer.query.scene, answer.query.target): answer for answer in found}


def _is_known(query: Query, known: Answers) -> bool:
    return (query.scene, query.target) in known and known[query.scene, query.target].query == query


def view_for(view: View, settings: LabelSettings) -> View:
    """Return the training view with the label settings' tolerance for gaps."""
    return View(view.patch_px, view.enlarge_box, view.boundary_px, settings.near_px)


def loosened(scenes: Sequence[Scene], settings: LabelSettings) -> tuple[Sequence[Scene], LabelSettings, LabelSettings]:
    """Return the scenes as the network sees them, and the settings that go with them: for the order, and to complete.

    Loosening brings nothing back that was too narrow, and leaves clefts along ragged contacts, where the contour of an
    object then seems to turn away from its occluder. To complete, they are closed; the order is better without.
    """
    if not settings.loosened_px:
        return scenes, settings, settings
    ordering = settings.of_loosened()
    completing = ordering.model_copy(update={"gap_px": ordering.near_px + settings.loosened_px})
    return [scene.loosened(settings.loosened_px) for scene in scenes], ordering, completing


def neighbours_both_ways(pairs: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
    """Return the neighbours of each object that has any, sorted."""
    groups: dict[int, list[int]] = defaultdict(list)
    for i, j in pairs:
        groups[i].append(j)
        groups[j].append(i)
    return {index: sorted(group) for index, group in sorted(groups.items())}


def amodal_in_window(answer: Answer, threshold: float, behind_neighbours: bool) -> np.ndarray:
    """Turn probabilities into the amodal mask within the answer's window; it always contains the visible mask.

    Args:
        answer: of the completer.
        threshold: probability above which a pixel belongs to the object.
        behind_neighbours: let the mask grow only where occluders are.

    Returns:
        (h, w) bool.
    """
    grown = answer.probability > threshold
    if behind_neighbours:
        grown &= answer.behind
    return grown | answer.modal


def runs_away(amodal: np.ndarray, visible: np.ndarray, settings: LabelSettings) -> bool:
    """Tell whether a label is more than `labels.max_growth` times what the network was shown of the object."""
    return count_px(amodal) > settings.max_growth * count_px(visible)
