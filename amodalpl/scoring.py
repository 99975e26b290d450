"""How a completer does on the frozen hold-out: thresholds and calibration chosen on one half, scores from the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from . import baselines
from .calibration import fit_calibration
from .completion import Answer, Query, Scene, View, ask
from .images import image_path, read_image
from .masks import rle
from .masks.neighbours import near_pairs
from .metrics import completion as metrics
from .models.completer import Completer
from .ordering import Pair, ancestors, compare
from .progress import SILENT, Progress
from .pseudolabels import (
    SceneLabels,
    amodal_in_window,
    label_scenes,
    neighbours_both_ways,
    pair_growth_px,
    pair_queries,
    raw_doubt,
    view_for,
)
from .records import AnnotationSet
from .settings import LabelSettings
from .trained import TrainedCompleter

THRESHOLDS = np.round(np.arange(0.1, 0.91, 0.05), 2)
SCENES_AT_ONCE = 8
QUICK_SCENES = 24  # hold-out scenes scored while training; enough to see a curve, few enough not to slow it


@dataclass(frozen=True)
class Case:
    """A hold-out scene with its truth.

    Attributes:
        scene: visible masks (and photo).
        amodal: (N, H, W) bool, true whole objects.
    """

    scene: Scene
    amodal: np.ndarray

    def true_order(self) -> list[Pair]:
        """Return who hides whom: the pixels of the back's hidden part that the front shows."""
        pairs = []
        for back, hidden in enumerate(self.amodal & ~self.scene.masks):
            for front in range(len(self.amodal)) if hidden.any() else ():
                shared_px = np.count_nonzero(hidden & self.scene.masks[front])
                if front != back and shared_px:
                    pairs.append(Pair(front, back, float(shared_px)))
        return pairs


class Holdout:
    """The scenes of a hold-out, decoded as they are needed."""

    def __init__(self, data: AnnotationSet, images: Path | None) -> None:
        self.data = data
        self.images = images

    def cases(self, part: str) -> list[int]:
        """Return the image ids of a part ("choose" or "report"); a hold-out of one photo serves as both."""
        return [r.id for r in self.data.images if r.raw.get("part") in (part, "both")]

    def read(self, image_ids: Iterable[int]) -> Iterator[Case]:
        """Decode scenes."""
        for image_id in image_ids:
            record = self.data.image_by_id[image_id]
            instances = self.data.by_image[image_id]
            modal = np.stack([rle.decode(i.modal) for i in instances if i.modal is not None])
            amodal = np.stack([rle.decode(i.amodal) for i in instances if i.amodal is not None])
            image = read_image(image_path(self.images, record.file_name)) if self.images else None
            yield Case(Scene(modal, image), amodal)

    def chunks(self, image_ids: Sequence[int]) -> Iterator[list[Case]]:
        """Decode scenes, a few at a time."""
        cases = self.read(image_ids)
        while chunk := list(islice(cases, SCENES_AT_ONCE)):
            yield chunk


def quick_score(completer: Completer, view: View, holdout: Holdout, settings: LabelSettings) -> dict[str, float]:
    """Score a completer in training on some scenes of the choosing half, told the true occluders, at threshold 0.5."""
    counts = []
    for chunk in holdout.chunks(holdout.cases("choose")[:QUICK_SCENES]):
        queries = [
            Query(n, target, tuple(group))
            for n, case in enumerate(chunk)
            for target, group in ancestors(case.true_order()).items()
        ]
        for answer in ask(completer, [c.scene for c in chunk], queries, view_for(view, settings), settings.batch_size):
            counts.append(_count(answer, chunk, 0.5, settings))
    scores = metrics.compute_micro(counts)
    return {f"hold-out {name}": float(scores[name] or 0.0) for name in ("miou", "invisible_miou")}


def choose(
    trained: TrainedCompleter, holdout: Holdout, settings: LabelSettings, progress: Progress = SILENT
) -> TrainedCompleter:
    """Choose thresholds and calibration on the choosing half of the hold-out.

    The order threshold has the best accuracy over pairs with a true order; the threshold has the best micro invisible
    mIoU over all objects that were asked about, told their true occluders (all neighbours, if labels are made so).
    """
    ids = holdout.cases("choose")
    if trained.completer.method.order_from_pairs:
        trained = replace(trained, order_threshold=_choose_order_threshold(trained, holdout, ids, settings, progress))
    collected: list[list[tuple[metrics.Counts, float]]] = [[] for _ in THRESHOLDS]
    view = view_for(trained.view, settings)
    with progress.task("choosing the threshold", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            queries = [q for n, case in enumerate(chunk) for q in _queries(n, case, settings)]
            for answer in ask(trained.completer, [c.scene for c in chunk], queries, view, settings.batch_size):
                for k, threshold in enumerate(THRESHOLDS):
                    local = amodal_in_window(answer, threshold, settings.behind_neighbours)
                    collected[k].append((_count(answer, chunk, threshold, settings), raw_doubt(answer, local)))
            advance(len(chunk))
    if not collected[0]:
        return trained
    invisible = [metrics.compute_micro([c for c, _ in rows])["invisible_miou"] or 0.0 for rows in collected]
    best = _best(invisible)
    doubts = [doubt for _, doubt in collected[best]]
    errors = [1 - c.iou for c, _ in collected[best]]
    return replace(trained, threshold=float(THRESHOLDS[best]), calibration=fit_calibration(doubts, errors))


def score(
    trained: TrainedCompleter, holdout: Holdout, settings: LabelSettings, progress: Progress = SILENT
) -> dict[str, dict[str, metrics.Scores]]:
    """Score labels and free baselines on the reporting half: protocol -> row -> metric -> value.

    Rows: the two baselines, the labels as `amodalpl pseudolabel` would make them, and those given the true order. Each
    protocol comes twice: over all objects, and over those with at least 1 % hidden.
    """
    ids = holdout.cases("report")
    rows: dict[str, list[metrics.Counts]] = {
        name: [] for name in (*baselines.COMPLETION, "labels", "labels, true order")
    }
    with progress.task("scoring on the hold-out", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            scenes = [case.scene for case in chunk]
            own = label_scenes(trained, scenes, settings)
            told = label_scenes(trained, scenes, settings, [case.true_order() for case in chunk])
            for case, found, known in zip(chunk, own, told, strict=True):
                _count_case(case, found, known, rows, settings)
            advance(len(chunk))
    scores: dict[str, dict[str, metrics.Scores]] = {}
    for name, counts in rows.items():
        for subset, members in (("all", counts), ("occluded", [c for c in counts if c.is_occluded])):
            for protocol, values in metrics.compute(members).items():
                scores.setdefault(f"hold-out {protocol}: {subset}", {})[name] = values
    return scores


def _count_case(
    case: Case,
    own: SceneLabels,
    told: SceneLabels,
    rows: dict[str, list[metrics.Counts]],
    settings: LabelSettings,
) -> None:
    masks = case.scene.masks
    near = neighbours_both_ways(near_pairs(masks, settings.gap_px))
    for index, truth in enumerate(case.amodal):
        around: np.ndarray = np.any(masks[near.get(index, [])], axis=0)
        for name, baseline in baselines.COMPLETION.items():
            rows[name].append(metrics.count_instance(baseline(masks[index], around), truth, masks[index]))
        for name, found in (("labels", own), ("labels, true order", told)):
            label = found.labels[index]
            amodal = masks[index] if label is None else label.amodal
            rows[name].append(metrics.count_instance(amodal, truth, masks[index]))


def _queries(number: int, case: Case, settings: LabelSettings) -> list[Query]:
    if settings.occluders == "neighbours":
        groups = neighbours_both_ways(near_pairs(case.scene.masks, settings.gap_px))
    else:
        groups = ancestors(case.true_order())
    return [Query(number, target, tuple(group)) for target, group in groups.items()]


def _count(answer: Answer, chunk: Sequence[Case], threshold: float, settings: LabelSettings) -> metrics.Counts:
    case, target = chunk[answer.query.scene], answer.query.target
    amodal = case.scene.masks[target].copy()
    amodal[answer.window] |= amodal_in_window(answer, threshold, settings.behind_neighbours)
    return metrics.count_instance(amodal, case.amodal[target], case.scene.masks[target])


def _choose_order_threshold(
    trained: TrainedCompleter, holdout: Holdout, ids: Sequence[int], settings: LabelSettings, progress: Progress
) -> float:
    correct = np.zeros(len(THRESHOLDS))
    view = view_for(trained.view, settings)
    with progress.task("choosing the order threshold", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            near = [near_pairs(case.scene.masks, settings.gap_px) for case in chunk]
            truth = [{(p.front, p.back) for p in case.true_order()} for case in chunk]
            growth: dict[tuple[int, int, int], list[float]] = {}
            queries = pair_queries(near)
            for answer in ask(trained.completer, [c.scene for c in chunk], queries, view, settings.batch_size):
                key = (answer.query.scene, answer.query.target, answer.query.occluders[0])
                growth[key] = [pair_growth_px(answer, threshold) for threshold in THRESHOLDS]
            for n, pairs in enumerate(near):
                for i, j in pairs:
                    for k in range(len(THRESHOLDS)):
                        pair = compare(i, j, growth[n, i, j][k], growth[n, j, i][k])
                        correct[k] += pair is not None and (pair.front, pair.back) in truth[n]
            advance(len(chunk))
    return float(THRESHOLDS[_best(correct)])


def _best(values: Sequence[float] | np.ndarray) -> int:
    """Index of the largest value; of equal ones the one nearest to the middle of the range."""
    middle = (len(values) - 1) / 2
    return max(range(len(values)), key=lambda k: (float(values[k]), -abs(k - middle)))
