"""Thresholds, calibration and guarantee of a completer, chosen on one half of the hold-out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..completion.checkpoint import TrainedCompleter
from ..completion.predictor import ask
from ..labelling.answers import view_for
from ..labelling.contact import CLOSE_LOOKS
from ..labelling.label_scenes import label_scenes
from ..labelling.loosening import loosened
from ..labelling.order_recovery import orders_at, orders_from_pairs, pair_growth_px, pair_queries
from ..labelling.ordering import ancestors, compare
from ..masks.neighbours import near_pairs, neighbours_both_ways
from ..metrics import completion as metrics
from ..runtime.progress import SILENT, Progress
from ..settings import LabelSettings
from .collect import CalibrationSamples
from .completion_counts import count_completions
from .holdout import Case, Holdout, with_tolerance

THRESHOLDS = np.round(np.arange(0.1, 0.91, 0.05), 2)
COMPLETION_THRESHOLDS = THRESHOLDS[::2]  # for the order, which weighs every contact again for each
F1_NOISE = 0.005  # F1 that differs by less says nothing: among 400 pairs its standard error is three times that


def choose(
    trained: TrainedCompleter, holdout: Holdout, settings: LabelSettings, progress: Progress = SILENT
) -> TrainedCompleter:
    """Choose thresholds, calibration and guarantee on the choosing half of the hold-out.

    The order threshold has the best order: accuracy over pairs with a true order where they are completed pair by pair,
    F1 of directed pairs where the order is read from completions behind all neighbours, which may find both directions;
    of those that are as good but for noise, the one nearest to the middle. Further looks at doubtful orders are kept
    where the best F1 with them is higher.
    The threshold has the best micro invisible mIoU over all objects that were asked about, told their true occluders
    (all neighbours, if labels are made so). With these, the half is labelled as photos will be, by the recovered order,
    and the rest is fitted to these labels.
    """
    ids = holdout.cases("choose")
    settings = with_tolerance(holdout, ids, settings)
    choose_order = _choose_pair_order if orders_from_pairs(trained, settings) else _choose_completed_order
    trained = choose_order(trained, holdout, ids, settings, progress)
    threshold = _choose_threshold(trained, holdout, ids, settings, progress)
    if threshold is None:
        return trained
    trained = replace(trained, threshold=threshold)
    samples = CalibrationSamples()
    with progress.task("calibrating", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            scenes = [case.scene for case in chunk]
            found = label_scenes(trained, scenes, settings)
            samples.add(trained, scenes, [case.amodal for case in chunk], found, settings)
            advance(len(chunk))
    calibration, guarantee = samples.calibrate()
    return replace(trained, calibration=calibration, promise=guarantee)


def _choose_threshold(
    trained: TrainedCompleter, holdout: Holdout, ids: Sequence[int], settings: LabelSettings, progress: Progress
) -> float | None:
    """Return the best threshold; None where no object is asked about."""
    counts: list[list[metrics.Counts]] = [[] for _ in THRESHOLDS]
    with progress.task("choosing the threshold", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            occluders = [_occluders(case, settings) for case in chunk]
            found = count_completions(trained.completer, trained.view, chunk, occluders, THRESHOLDS.tolist(), settings)
            for of_threshold, more in zip(counts, found, strict=True):
                of_threshold += more
            advance(len(chunk))
    if not counts[0]:
        return None
    return float(THRESHOLDS[best([metrics.compute_micro(rows)["invisible_miou"] or 0.0 for rows in counts])])


def _occluders(case: Case, settings: LabelSettings) -> Mapping[int, Sequence[int]]:
    if settings.occluders == "neighbours":
        return neighbours_both_ways(near_pairs(case.scene.masks, settings.near_px))
    return ancestors(case.true_order())


def _choose_completed_order(
    trained: TrainedCompleter, holdout: Holdout, ids: Sequence[int], settings: LabelSettings, progress: Progress
) -> TrainedCompleter:
    """Return it with the best threshold for the order, and with further looks where they make the order better."""
    looks = [(), CLOSE_LOOKS] if settings.close_looks is None else [settings.close_looks]
    hits, predicted = np.zeros((2, len(looks), len(COMPLETION_THRESHOLDS)))
    true = 0
    with progress.task("choosing the order threshold", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            scenes = [case.scene for case in chunk]
            truth = [{(p.front, p.back) for p in case.true_order()} for case in chunk]
            true += sum(len(pairs) for pairs in truth)
            by_looks = orders_at(trained, scenes, settings, looks, COMPLETION_THRESHOLDS)
            for n, by_threshold in enumerate(by_looks):
                for k, orders in enumerate(by_threshold):
                    for order, pairs in zip(orders, truth, strict=True):
                        hits[n, k] += sum((pair.front, pair.back) in pairs for pair in order)
                        predicted[n, k] += len(order)
            advance(len(chunk))
    f1 = 2 * hits / np.maximum(predicted + true, 1)
    n = int(f1.max(axis=1).argmax())
    threshold = float(COMPLETION_THRESHOLDS[best(f1[n], F1_NOISE)])
    return replace(trained, close_looks=looks[n], order_threshold=threshold)


def _choose_pair_order(
    trained: TrainedCompleter, holdout: Holdout, ids: Sequence[int], settings: LabelSettings, progress: Progress
) -> TrainedCompleter:
    correct = np.zeros(len(THRESHOLDS))
    with progress.task("choosing the order threshold", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            scenes, own, _ = loosened([case.scene for case in chunk], settings)
            near = [near_pairs(scene.masks, own.near_px) for scene in scenes]
            truth = [{(p.front, p.back) for p in case.true_order()} for case in chunk]
            growth: dict[tuple[int, int, int], list[float]] = {}
            view = view_for(trained.view, own)
            for answer in ask(trained.completer, scenes, pair_queries(near), view, own.batch_size):
                key = (answer.query.scene, answer.query.target, answer.query.occluders[0])
                growth[key] = [pair_growth_px(answer, threshold) for threshold in THRESHOLDS]
            for n, pairs in enumerate(near):
                for i, j in pairs:
                    for k in range(len(THRESHOLDS)):
                        ordered = compare(i, j, growth[n, i, j][k], growth[n, j, i][k])
                        correct[k] += any((pair.front, pair.back) in truth[n] for pair in ordered)
            advance(len(chunk))
    return replace(trained, order_threshold=float(THRESHOLDS[best(correct)]))


def best(values: Sequence[float] | np.ndarray, noise: float = 0.0) -> int:
    """Return the index of the largest value; of those that differ by noise only, the one nearest to the middle.

    >>> best([0.1, 0.9, 0.9, 0.9, 0.2]), best([0.1, 0.9, 0.899, 0.8, 0.2], noise=0.005)
    (2, 2)
    """
    middle, least = (len(values) - 1) / 2, max(values) - noise
    return max(
        (k for k in range(len(values)) if values[k] >= least), key=lambda k: (-abs(k - middle), float(values[k]))
    )
