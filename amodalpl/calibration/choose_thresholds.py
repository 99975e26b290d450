"""Thresholds, calibration and guarantee of a completer, chosen on one half of the hold-out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..completion.checkpoint import CompleterBundle
from ..completion.predictor import CompletionRequest
from ..labelling.contact import CONTACT_CROPS
from ..labelling.label_scenes import label_scenes
from ..labelling.order_recovery import orders_at, pair_growth_px, pair_requests
from ..labelling.ordering import ancestors, compare
from ..labelling.plan import LabelPlan, plan_labels
from ..masks.neighbours import near_pairs, neighbours_both_ways
from ..metrics import completion as metrics
from ..runtime.progress import SILENT, Progress
from ..settings import LabelSettings
from .collect import Calibrated, CalibrationSamples
from .completion_counts import count_completions
from .holdout import Case, Holdout, with_tolerance

THRESHOLDS = np.round(np.arange(0.1, 0.91, 0.05), 2)
NO_GROWTH = 1.0  # the threshold that no probability exceeds
COMPLETION_THRESHOLDS = THRESHOLDS[::2]  # for the order, which weighs every contact again for each
UNMASKED_DRAWS, UNMASKED_SHARE = 2, 0.5  # scenes again, with so many of their occluders unknown, for what looks tell
F1_NOISE = 0.005  # F1 that differs by less says nothing: among 400 pairs its standard error is three times that


def choose(
    bundle: CompleterBundle,
    holdout: Holdout,
    settings: LabelSettings,
    progress: Progress = SILENT,
    learnt_unmasked: bool = False,
) -> CompleterBundle:
    """Choose thresholds, calibration and guarantee on the choosing half of the hold-out.

    The order threshold has the best order: accuracy over pairs with a true order where they are completed pair by pair,
    F1 of directed pairs where the order is read from completions behind all neighbours, which may find both directions;
    of those that are as good but for noise, the one nearest to the middle. Further looks at doubtful orders are kept
    where the best F1 with them is higher.
    The threshold has the best micro invisible mIoU over all objects that were completed behind their true occluders
    (all neighbours, if labels are made so). A completer that has learnt of things without masks gets a threshold of its
    own where no object is, by the same score over all visible objects, among those that cost no mIoU; without such
    things in the hold-out nothing speaks for growing there. With these, the half is labelled as photos will be, by the
    recovered order, and the rest is fitted to these labels.

    Args:
        bundle: a trained completer.
        holdout: its hold-out.
        settings: how labels are made; what they give is not chosen from.
        progress: shows the scenes done.
        learnt_unmasked: whether its training had neighbours in front that it was not shown.

    Returns:
        The bundle with what was chosen; what cannot be chosen for want of objects is left as it was.
    """
    ids = holdout.cases("choose")
    settings = with_tolerance(holdout, ids, settings)
    plan = plan_labels(bundle, settings)
    if plan.order_rule == "pairs":
        bundle = replace(bundle, order_threshold=_choose_pair_threshold(plan, holdout, ids, progress))
    else:
        looks = [(), CONTACT_CROPS] if settings.contact_crops is None else [settings.contact_crops]
        contact_crops, threshold = _choose_order_threshold(plan, holdout, ids, looks, progress)
        bundle = replace(bundle, contact_crops=contact_crops, order_threshold=threshold)
    amodal_threshold = _choose_threshold(plan, holdout, ids, progress)
    if amodal_threshold is not None:
        bundle = replace(bundle, threshold=amodal_threshold)
    elif not learnt_unmasked:
        return bundle
    if learnt_unmasked:
        bundle = replace(bundle, unmasked_threshold=_choose_unmasked(bundle, holdout, ids, settings, progress))
    found = _calibrate(plan_labels(bundle, settings), holdout, ids, progress)
    return replace(bundle, calibration=found.calibration, promise=found.promise, judged=found.judged)


def _choose_order_threshold(
    plan: LabelPlan, holdout: Holdout, ids: Sequence[int], looks: Sequence[tuple[float, ...]], progress: Progress
) -> tuple[tuple[float, ...], float]:
    """Return the further looks and the threshold with the best F1 of directed pairs."""
    hits, predicted = np.zeros((2, len(looks), len(COMPLETION_THRESHOLDS)))
    true = 0
    with progress.task("choosing the order threshold", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            truth = [{(p.front, p.back) for p in case.true_order()} for case in chunk]
            true += sum(len(pairs) for pairs in truth)
            by_looks = orders_at(plan, [case.scene for case in chunk], looks, COMPLETION_THRESHOLDS)
            for n, by_threshold in enumerate(by_looks):
                for k, orders in enumerate(by_threshold):
                    for order, pairs in zip(orders, truth, strict=True):
                        hits[n, k] += sum((pair.front, pair.back) in pairs for pair in order)
                        predicted[n, k] += len(order)
            advance(len(chunk))
    f1 = 2 * hits / np.maximum(predicted + true, 1)
    n = int(f1.max(axis=1).argmax())
    return looks[n], float(COMPLETION_THRESHOLDS[best(f1[n], F1_NOISE)])


def _choose_pair_threshold(plan: LabelPlan, holdout: Holdout, ids: Sequence[int], progress: Progress) -> float:
    """Return the threshold with which most pairs that are completed alone are ordered right."""
    correct = np.zeros(len(THRESHOLDS))
    with progress.task("choosing the order threshold", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            scenes = [case.scene.with_tight_masks_grown(plan.contour_inset_px) for case in chunk]
            near = [near_pairs(scene.masks, plan.ordering.gap_px) for scene in scenes]
            growth_px = {
                p.request: [pair_growth_px(p, threshold) for threshold in THRESHOLDS]
                for p in plan.ordering.stream(pair_requests(scenes, near))
            }
            for case, scene, pairs in zip(chunk, scenes, near, strict=True):
                truth = {(p.front, p.back) for p in case.true_order()}
                for i, j in pairs:
                    of_i, of_j = (growth_px[CompletionRequest(scene, a, (b,))] for a, b in ((i, j), (j, i)))
                    for k, grown in enumerate(zip(of_i, of_j, strict=True)):
                        correct[k] += any((pair.front, pair.back) in truth for pair in compare(i, j, *grown))
            advance(len(chunk))
    return float(THRESHOLDS[best(correct)])


def _choose_threshold(plan: LabelPlan, holdout: Holdout, ids: Sequence[int], progress: Progress) -> float | None:
    """Return the threshold of the best completions; None where no object is completed."""
    counts: list[list[metrics.Counts]] = [[] for _ in THRESHOLDS]
    readings = [(threshold, NO_GROWTH) for threshold in THRESHOLDS.tolist()]
    with progress.task("choosing the threshold", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            found = count_completions(plan, chunk, [_occluders(case, plan) for case in chunk], readings)
            for of_threshold, more in zip(counts, found, strict=True):
                of_threshold += more
            advance(len(chunk))
    if not counts[0]:
        return None
    return float(THRESHOLDS[best([metrics.compute_micro(rows)["invisible_miou"] or 0.0 for rows in counts])])


def _choose_unmasked(
    bundle: CompleterBundle, holdout: Holdout, ids: Sequence[int], settings: LabelSettings, progress: Progress
) -> float:
    """Return the threshold where no object is: of those that cost no mIoU the one of the best invisible mIoU, or 1.

    The second condition keeps whole objects whole: their false growth is small beside what is hidden of others.
    """
    plan = plan_labels(replace(bundle, unmasked_threshold=float(THRESHOLDS[0])), settings)
    levels = [*THRESHOLDS.tolist(), NO_GROWTH]
    counts: list[list[metrics.Counts]] = [[] for _ in levels]
    with progress.task("choosing the threshold where no object is", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            occluders = [
                {target: known.get(target, ()) for target in range(len(case.amodal))}
                for case, known in ((case, _occluders(case, plan)) for case in chunk)
            ]
            found = count_completions(plan, chunk, occluders, [(plan.threshold, level) for level in levels])
            for of_level, more in zip(counts, found, strict=True):
                of_level += more
            advance(len(chunk))
    scores = [metrics.compute_micro(rows) for rows in counts]
    without = scores[-1]["miou"] or 0.0
    harmless = [
        (s["invisible_miou"] or 0.0, at) for s, at in zip(scores, levels, strict=True) if (s["miou"] or 0.0) >= without
    ]
    return max(harmless)[1]  # of equal ones the most careful


def _occluders(case: Case, plan: LabelPlan) -> Mapping[int, Sequence[int]]:
    if plan.occluders == "neighbours":
        return neighbours_both_ways(near_pairs(case.scene.masks, plan.gap_px))
    return ancestors(case.true_order())


def _calibrate(plan: LabelPlan, holdout: Holdout, ids: Sequence[int], progress: Progress) -> Calibrated:
    samples, *unmasked = [CalibrationSamples() for _ in range(1 + UNMASKED_DRAWS)]
    rng = np.random.default_rng(0)
    with progress.task("calibrating", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            _add(samples, plan, chunk)
            for draw in unmasked:
                _add(draw, plan, [case.with_unmasked_occluders(UNMASKED_SHARE, rng) for case in chunk])
            advance(len(chunk))
    return samples.calibrate(unmasked)


def _add(samples: CalibrationSamples, plan: LabelPlan, cases: Sequence[Case]) -> None:
    scenes = [case.scene for case in cases]
    samples.add(scenes, [case.amodal for case in cases], label_scenes(plan, scenes), plan.gap_px)


def best(values: Sequence[float] | np.ndarray, noise: float = 0.0) -> int:
    """Return the index of the largest value; of those that differ by noise only, the one nearest to the middle.

    >>> best([0.1, 0.9, 0.9, 0.9, 0.2]), best([0.1, 0.9, 0.899, 0.8, 0.2], noise=0.005)
    (2, 2)
    """
    middle, least = (len(values) - 1) / 2, max(values) - noise
    return max(
        (k for k in range(len(values)) if values[k] >= least), key=lambda k: (-abs(k - middle), float(values[k]))
    )
