"""From the visible masks of images to their amodal labels: neighbours, order, completion, flags."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .completion import Answer, Query, Scene, View, ask
from .masks.neighbours import near_pairs
from .ordering import Pair, ancestors, growth_inside, growth_whole, order_pairs, parents
from .settings import LabelSettings
from .trained import TrainedCompleter


@dataclass(frozen=True)
class Label:
    """The answer for one object.

    Attributes:
        amodal: (H, W) bool, contains the visible mask.
        uncertainty: expected 1 - IoU with the truth, 0-1; 0 for objects that nothing can hide.
        occluders: indices of the objects taken to be in front.
        asked: whether the network was asked; False without a neighbour in front.
        runaway: whether the answer was refused, because it was more than `max_growth` times the visible area.
        grew_to_border: whether the answer reaches the edge of the crop the network saw, and may have been cut there.
    """

    amodal: np.ndarray
    uncertainty: float
    occluders: tuple[int, ...]
    asked: bool
    grew_to_border: bool
    runaway: bool = False


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

    PCNet-M first orders every pair of neighbours by completing each behind the other, then completes each object behind
    the union of its ancestors. ASBU completes each object behind all its neighbours and reads the order from that; then
    it completes again behind the ancestors, as the runs published with its paper do. With `settings.occluders`
    "neighbours" the first completion stands, as the paper's text has it.

    Args:
        trained: the completer.
        scenes: images with disjoint visible masks; kept in memory together.
        settings: neighbours, occluders, batches.
        true_order: use this order per scene instead of a recovered one.

    Returns:
        One result per scene.
    """
    method = trained.completer.method
    who = settings.occluders
    neighbours = [near_pairs(scene.masks, settings.gap_px) for scene in scenes]
    orders: list[list[Pair]] | None = None
    if true_order is not None:
        orders, who = [list(order) for order in true_order], "ancestors" if who == "neighbours" else who
    elif method.order_from_pairs:
        orders = _order_pairwise(trained, scenes, neighbours, settings)
    if orders is None or who == "neighbours":
        labels = _complete(trained, scenes, [neighbours_both_ways(pairs) for pairs in neighbours], settings)
        if orders is None:
            orders = [
                _order_completed(scene, pairs, answers, settings)
                for scene, pairs, answers in zip(scenes, neighbours, labels, strict=True)
            ]
    if who != "neighbours":
        in_front = parents if who == "parents" else ancestors
        labels = _complete(trained, scenes, [in_front(order) for order in orders], settings)
    return [SceneLabels(found, order) for found, order in zip(labels, orders, strict=True)]


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


def raw_doubt(answer: Answer, amodal: np.ndarray) -> float:
    """Return the doubt of an answer before calibration: doubtful area behind the occluders over the object's area."""
    doubtful = float(answer.doubt[answer.behind & ~answer.modal].sum())
    return min(1.0, doubtful / float(np.count_nonzero(amodal)))


def neighbours_both_ways(pairs: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
    """Return the neighbours of each object that has any, sorted."""
    groups: dict[int, list[int]] = defaultdict(list)
    for i, j in pairs:
        groups[i].append(j)
        groups[j].append(i)
    return {index: sorted(group) for index, group in sorted(groups.items())}


def pair_queries(neighbours: Sequence[Sequence[tuple[int, int]]]) -> list[Query]:
    """Return both questions for every pair of every scene: how far is i completed behind j alone, and j behind i."""
    return [
        Query(number, target, (occluder,))
        for number, pairs in enumerate(neighbours)
        for i, j in pairs
        for target, occluder in ((i, j), (j, i))
    ]


def _order_pairwise(
    trained: TrainedCompleter,
    scenes: Sequence[Scene],
    neighbours: Sequence[Sequence[tuple[int, int]]],
    settings: LabelSettings,
) -> list[list[Pair]]:
    view = view_for(trained.view, settings)
    growth: dict[tuple[int, int, int], float] = {}
    for answer in ask(trained.completer, scenes, pair_queries(neighbours), view, settings.batch_size):
        scene, target, (occluder,) = answer.query.scene, answer.query.target, answer.query.occluders
        growth[scene, target, occluder] = pair_growth_px(answer, trained.order_threshold)
    return [
        order_pairs(pairs, lambda i, j, number=number: growth[number, i, j])  # type: ignore[misc]
        for number, pairs in enumerate(neighbours)
    ]


def pair_growth_px(answer: Answer, threshold: float) -> float:
    """Return by how many image pixels an object grows into the one occluder it was asked about."""
    return float(np.count_nonzero((answer.probability > threshold) & answer.behind))


def view_for(view: View, settings: LabelSettings) -> View:
    """Return the training view with the label settings' tolerance for gaps."""
    return View(view.patch_px, view.enlarge_box, view.boundary_px, settings.gap_px)


def _complete(
    trained: TrainedCompleter,
    scenes: Sequence[Scene],
    occluders: Sequence[dict[int, list[int]]],
    settings: LabelSettings,
) -> list[list[Label | None]]:
    results: list[list[Label | None]] = [
        [Label(mask, 0.0, (), False, False) if mask.any() else None for mask in scene.masks] for scene in scenes
    ]
    queries = [
        Query(number, target, tuple(group))
        for number, in_front in enumerate(occluders)
        for target, group in in_front.items()
    ]
    for answer in ask(trained.completer, scenes, queries, view_for(trained.view, settings), settings.batch_size):
        masks = scenes[answer.query.scene].masks
        local = amodal_in_window(answer, trained.threshold, settings.behind_neighbours)
        visible = masks[answer.query.target]
        in_front, whole_px = answer.query.occluders, np.count_nonzero(local)
        if whole_px > settings.max_growth * np.count_nonzero(visible):
            results[answer.query.scene][answer.query.target] = Label(visible, 1.0, in_front, True, False, runaway=True)
            continue
        amodal = visible.copy()
        amodal[answer.window] |= local
        results[answer.query.scene][answer.query.target] = Label(
            amodal,
            trained.calibration.error(raw_doubt(answer, local)),
            in_front,
            True,
            _reaches_inner_edge(answer, local, masks.shape[1:]),
        )
    return results


def _reaches_inner_edge(answer: Answer, amodal: np.ndarray, size_hw: Sequence[int]) -> bool:
    """Whether growth touches an edge of the window that is not an edge of the image.

    The outermost two pixels are looked at, because the crop covers the last one in part only, so that its probability
    fades to zero.
    """
    grown = amodal & ~answer.modal
    rows, columns = answer.window
    return bool(
        (rows.start > 0 and grown[:2].any())
        or (rows.stop < size_hw[0] and grown[-2:].any())
        or (columns.start > 0 and grown[:, :2].any())
        or (columns.stop < size_hw[1] and grown[:, -2:].any())
    )


def _order_completed(
    scene: Scene, pairs: Sequence[tuple[int, int]], labels: Sequence[Label | None], settings: LabelSettings
) -> list[Pair]:
    nothing = np.zeros(scene.masks.shape[1:], dtype=bool)
    grown = [
        nothing if label is None or not label.asked else label.amodal & ~mask
        for label, mask in zip(labels, scene.masks, strict=True)
    ]
    growth = growth_inside(grown, scene.masks) if settings.order_rule == "inside" else growth_whole(grown)
    return order_pairs(pairs, growth)
