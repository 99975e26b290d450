"""Predictions for the objects of scenes, each made once, and the masks that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..completion.checkpoint import TrainedCompleter
from ..completion.predictor import Answer, Query, Scene, View, ask
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
