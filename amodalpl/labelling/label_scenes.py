"""From the visible masks of images to their amodal labels: neighbours, order, completion, flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..calibration.fit import evidence_of
from ..completion.checkpoint import TrainedCompleter
from ..completion.predictor import Answer, Scene, reaches_inner_edge
from ..masks.geometry import dilate
from ..masks.neighbours import near_pairs, neighbours_both_ways
from ..settings import LabelSettings
from .answers import Answers, amodal_in_window, ask_behind, runs_away
from .loosening import loosened
from .order_recovery import order_pairwise, orders_completed, orders_from_pairs
from .ordering import Pair, ancestors, parents
from .uncertainty_map import Doubt, doubt_of


@dataclass(frozen=True)
class Label:
    """The answer for one object.

    Attributes:
        amodal: (H, W) bool, contains the visible mask.
        uncertainty: expected 1 - IoU with the truth, 0-1; 0 for objects without a neighbour that could hide them.
        occluders: indices of the objects taken to be in front.
        asked: whether the network was asked; False without a neighbour in front.
        runaway: whether the answer was refused, because it was more than `max_growth` times the visible area
            that the network was shown.
        grew_to_border: whether the answer reaches the edge of the crop the network saw, and may have been cut there.
        doubt: where the answer may be wrong; None without one.
    """

    amodal: np.ndarray
    uncertainty: float
    occluders: tuple[int, ...]
    asked: bool
    grew_to_border: bool
    runaway: bool = False
    doubt: Doubt | None = None


@dataclass(frozen=True)
class SceneLabels:
    """The answers for one image: one label per mask (None for empty masks), and the order."""

    labels: list[Label | None]
    order: list[Pair]


def label_scenes(
    trained: TrainedCompleter,
    scenes: Sequence[Scene],
    settings: LabelSettings,
    true_order: Sequence[Sequence[Pair]] | None = None,
) -> list[SceneLabels]:
    """Label the objects of a few images together.

    PCNet-M and ASBU's code first order every pair of neighbours by completing each behind the other, then complete each
    object behind the union of its ancestors. Ours, and with `settings.order_from` "completions" any, completes each
    object behind all its neighbours and reads the order from that; those whose neighbours are not all in front are
    completed again behind their ancestors. With `settings.occluders` "neighbours" too the first completion stands, as
    the ASBU paper's text has it.

    Masks that are drawn too tight (`settings.tight_px`) are loosened before all this; labels keep the contour as drawn.

    Args:
        trained: the completer.
        scenes: images with disjoint visible masks; kept in memory together.
        settings: neighbours, occluders, batches.
        true_order: use this order per scene instead of a recovered one.

    Returns:
        One result per scene.
    """
    trained = trained.overridden_by(settings)
    drawn, tight_px = scenes, settings.loosened_px
    scenes, settings, completing = loosened(scenes, settings)
    who = settings.occluders
    neighbours = [near_pairs(scene.masks, settings.near_px) for scene in scenes]
    answers: Answers = {}
    if true_order is not None:
        orders, who = [list(order) for order in true_order], "ancestors" if who == "neighbours" else who
    elif orders_from_pairs(trained, settings):
        orders = order_pairwise(trained, scenes, neighbours, settings)
    else:
        answers = ask_behind(trained, scenes, [neighbours_both_ways(pairs) for pairs in neighbours], settings)
        (orders,) = orders_completed(trained, scenes, neighbours, answers, settings, [trained.order_threshold])
    if who == "neighbours":
        occluders = [neighbours_both_ways(pairs) for pairs in neighbours]
    else:
        occluders = [(parents if who == "parents" else ancestors)(order) for order in orders]
    answers = ask_behind(trained, scenes, occluders, completing, answers if completing == settings else None)
    return [
        SceneLabels(_labels(trained, number, scene, {i for p in pairs for i in p}, answers, settings, tight_px), order)
        for number, (scene, pairs, order) in enumerate(zip(drawn, neighbours, orders, strict=True))
    ]


def as_drawn(visible: np.ndarray, answer: Answer, local: np.ndarray, tight_px: int) -> np.ndarray:
    """Return the amodal mask with the visible contour as it was drawn, not as it was loosened.

    Args:
        visible: (H, W) bool, the mask as it was drawn.
        answer: about the loosened mask.
        local: (h, w) bool, the amodal mask within the answer's window.
        tight_px: by how much the mask was loosened; what that added stays only beside what has grown.

    Returns:
        (H, W) bool.
    """
    amodal = visible.copy()
    within = amodal[answer.window]
    within |= local & dilate(local & ~answer.modal, tight_px) if tight_px else local
    return amodal


def _labels(
    trained: TrainedCompleter,
    number: int,
    drawn: Scene,
    near: set[int],
    answers: Answers,
    settings: LabelSettings,
    tight_px: int,
) -> list[Label | None]:
    labels: list[Label | None] = []
    for target, visible in enumerate(drawn.masks):
        answer = answers.get((number, target))
        if answer is None:
            uncertainty = trained.calibration.unasked if target in near else 0.0
            labels.append(Label(visible, uncertainty, (), False, False) if visible.any() else None)
            continue
        local = amodal_in_window(answer, trained.threshold, settings.behind_neighbours)
        in_front = answer.query.occluders
        doubt = doubt_of(answer, trained.calibration, settings.behind_neighbours)
        if runs_away(local, answer.modal, settings):
            labels.append(Label(visible, 1.0, in_front, True, False, runaway=True, doubt=doubt))
            continue
        uncertainty = trained.calibration.uncertainty(evidence_of(answer, local))
        cut_off = reaches_inner_edge(answer, local, visible.shape)
        amodal = as_drawn(visible, answer, local, tight_px)
        labels.append(Label(amodal, uncertainty, in_front, True, cut_off, doubt=doubt))
    return labels
