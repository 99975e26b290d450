"""From the visible masks of images to their amodal labels: neighbours, order, completion, flags."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..completion.asking import Answer, Query, Scene, View, ask, reaches_inner_edge
from ..completion.calibration import weigh
from ..completion.trained import TrainedCompleter
from ..masks.geometry import count_px, dilate
from ..masks.neighbours import near_pairs
from ..settings import LabelSettings
from .doubt import Doubt, doubt_of
from .ordering import Pair, ancestors, growth_inside, growth_whole, order_by_contact, order_pairs, parents


@dataclass(frozen=True)
class Label:
    """The answer for one object.

    Attributes:
        amodal: (H, W) bool, contains the visible mask.
        uncertainty: expected 1 - IoU with the truth, 0-1; 0 for objects without a neighbour that could hide them.
        occluders: indices of the objects taken to be in front.
        asked: whether the network was asked; False without a neighbour in front.
        runaway: whether the answer was refused, because it was more than `max_growth` times the visible area.
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


_Answers = dict[tuple[int, int], Answer]  # by scene and target


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
    trained = trained.with_thresholds(settings.threshold, settings.order_threshold)
    drawn, tight_px = scenes, settings.loosened_px
    scenes, settings = loosened(scenes, settings)
    who = settings.occluders
    neighbours = [near_pairs(scene.masks, settings.near_px) for scene in scenes]
    answers: _Answers = {}
    if true_order is not None:
        orders, who = [list(order) for order in true_order], "ancestors" if who == "neighbours" else who
    elif orders_from_pairs(trained, settings):
        orders = _order_pairwise(trained, scenes, neighbours, settings)
    else:
        answers = _ask_behind_all(trained, scenes, neighbours, settings)
        orders = _orders_completed(trained, scenes, neighbours, answers, settings)
    if who == "neighbours":
        occluders = [neighbours_both_ways(pairs) for pairs in neighbours]
    else:
        occluders = [(parents if who == "parents" else ancestors)(order) for order in orders]
    answers = _ask_again(trained, scenes, occluders, answers, settings)
    return [
        SceneLabels(_labels(trained, number, scene, {i for p in pairs for i in p}, answers, settings, tight_px), order)
        for number, (scene, pairs, order) in enumerate(zip(drawn, neighbours, orders, strict=True))
    ]


def loosened(scenes: Sequence[Scene], settings: LabelSettings) -> tuple[Sequence[Scene], LabelSettings]:
    """Return the scenes as the network and the order see them, and the settings that go with them."""
    if not settings.loosened_px:
        return scenes, settings
    return [scene.loosened(settings.loosened_px) for scene in scenes], settings.of_loosened()


def orders_from_pairs(trained: TrainedCompleter, settings: LabelSettings) -> bool:
    """Tell whether each pair is completed alone to find its order; the settings' word, else the method's."""
    if settings.order_from is None:
        return trained.completer.method.order_from_pairs
    return settings.order_from == "pairs"


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
    return float(count_px((answer.probability > threshold) & answer.behind))


def view_for(view: View, settings: LabelSettings) -> View:
    """Return the training view with the label settings' tolerance for gaps."""
    return View(view.patch_px, view.enlarge_box, view.boundary_px, settings.near_px)


def _ask_again(
    trained: TrainedCompleter,
    scenes: Sequence[Scene],
    occluders: Sequence[dict[int, list[int]]],
    known: _Answers,
    settings: LabelSettings,
) -> _Answers:
    """Return the answer for each object that has occluders, asking only where they are not those of a known answer."""
    wanted = [
        Query(number, target, tuple(group))
        for number, in_front in enumerate(occluders)
        for target, group in in_front.items()
    ]
    kept = {(q.scene, q.target): known[q.scene, q.target] for q in wanted if _is_known(q, known)}
    missing = [q for q in wanted if not _is_known(q, known)]
    found = ask(trained.completer, scenes, missing, view_for(trained.view, settings), settings.batch_size)
    return kept | {(answer.query.scene, answer.query.target): answer for answer in found}


def _is_known(query: Query, known: _Answers) -> bool:
    return (query.scene, query.target) in known and known[query.scene, query.target].query == query


def _labels(
    trained: TrainedCompleter,
    number: int,
    drawn: Scene,
    near: set[int],
    answers: _Answers,
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
        amodal = as_drawn(visible, answer, local, tight_px)
        if _runs_away(amodal, visible, settings):
            labels.append(Label(visible, 1.0, in_front, True, False, runaway=True, doubt=doubt))
            continue
        uncertainty = trained.calibration.uncertainty(weigh(answer, local))
        cut_off = reaches_inner_edge(answer, local, visible.shape)
        labels.append(Label(amodal, uncertainty, in_front, True, cut_off, doubt=doubt))
    return labels


def _runs_away(amodal: np.ndarray, visible: np.ndarray, settings: LabelSettings) -> bool:
    return count_px(amodal) > settings.max_growth * count_px(visible)


def orders_at(
    trained: TrainedCompleter, scenes: Sequence[Scene], settings: LabelSettings, thresholds: Iterable[float]
) -> list[list[list[Pair]]]:
    """Return the order that completions behind all neighbours give, for each threshold and scene.

    Args:
        trained: the completer; its own threshold is not used.
        scenes: images with disjoint visible masks.
        settings: neighbours, order rule, batches.
        thresholds: probabilities above which a pixel counts as grown.
    """
    scenes, settings = loosened(scenes, settings)
    neighbours = [near_pairs(scene.masks, settings.near_px) for scene in scenes]
    answers = _ask_behind_all(trained, scenes, neighbours, settings)
    return [
        _orders_completed(replace(trained, order_threshold=threshold), scenes, neighbours, answers, settings)
        for threshold in thresholds
    ]


def _ask_behind_all(
    trained: TrainedCompleter,
    scenes: Sequence[Scene],
    neighbours: Sequence[Sequence[tuple[int, int]]],
    settings: LabelSettings,
) -> _Answers:
    return _ask_again(trained, scenes, [neighbours_both_ways(pairs) for pairs in neighbours], {}, settings)


def _orders_completed(
    trained: TrainedCompleter,
    scenes: Sequence[Scene],
    neighbours: Sequence[Sequence[tuple[int, int]]],
    answers: _Answers,
    settings: LabelSettings,
) -> list[list[Pair]]:
    return [
        _order_completed(trained, number, scene, pairs, answers, settings)
        for number, (scene, pairs) in enumerate(zip(scenes, neighbours, strict=True))
    ]


def _order_completed(
    trained: TrainedCompleter,
    number: int,
    scene: Scene,
    pairs: Sequence[tuple[int, int]],
    answers: _Answers,
    settings: LabelSettings,
) -> list[Pair]:
    grown = np.zeros_like(scene.masks)
    for target in {index for pair in pairs for index in pair}:
        answer = answers[number, target]
        local = amodal_in_window(answer, trained.order_threshold, settings.behind_neighbours)
        if not _runs_away(local, answer.modal, settings):
            grown[target][answer.window] = local & ~answer.modal
    rule = settings.order_rule or trained.completer.method.order_rule
    if rule == "contact":
        return order_by_contact(pairs, grown, scene.masks, settings.near_px)
    return order_pairs(pairs, growth_inside(grown, scene.masks) if rule == "inside" else growth_whole(grown))
