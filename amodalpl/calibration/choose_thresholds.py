"""Thresholds, calibration and guarantee of a completer, chosen on one half of the hold-out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from ..completion.checkpoint import CompleterBundle
from ..completion.predictor import CompletionRequest
from ..labelling.contact import CONTACT_CROPS
from ..labelling.label_features import count_pieces
from ..labelling.label_scenes import label_scenes
from ..labelling.order_recovery import orders_at, pair_growth_px, pair_requests
from ..labelling.ordering import ancestors, compare
from ..labelling.plan import LabelPlan, plan_labels
from ..masks.neighbours import near_pairs, neighbours_both_ways
from ..metrics.bootstrap import as_good_as_best, draw_photos, ratio_of_sums
from ..metrics.completion import Counts
from ..models.completer import remembering
from ..runtime.progress import SILENT, Progress
from ..settings import LabelSettings
from .collect import Calibrated, CalibrationSamples
from .completion_counts import Readings, count_completions
from .fit import Calibration
from .holdout import Case, Holdout, with_tolerance

THRESHOLDS = np.round(np.arange(0.1, 0.91, 0.05), 2)
NO_GROWTH = 1.0  # the threshold that no probability exceeds
COMPLETION_THRESHOLDS = THRESHOLDS[::2]  # for the order, which weighs every contact again for each
UNMASKED_DRAWS, UNMASKED_SHARE = 2, 0.5  # scenes again, with so many of their occluders unknown, for what features tell
FEWEST_SURE = 20  # objects that are sure to be whole, to tell what grows where no object is
MOST_GROWTH = 0.01  # of what is visible, by which objects that nothing hides may grow on average where no object is
F1_NOISE = 0.005  # F1 that differs by less says nothing: among 400 pairs its standard error is three times that


def choose(
    bundle: CompleterBundle,
    holdout: Holdout,
    settings: LabelSettings,
    progress: Progress = SILENT,
    learnt_unmasked: bool = False,
) -> CompleterBundle:
    """Choose thresholds, calibration and guarantee on the choosing half of the hold-out.

    1. The order threshold. Where each pair is completed alone, the threshold with the highest accuracy wins. Where the
       order is read from completions behind all neighbours, which may find both directions, the highest F1 of directed
       pairs wins. Of thresholds that differ by noise only, the one nearest to the middle is taken. Further crops of
       doubtful contacts are used where the best F1 is higher with them.
    2. The threshold of masks: the best micro invisible mIoU of objects completed behind their true occluders, or
       behind all neighbours if labels are made so.
    3. The thresholds where no object is, for a completer that has learnt of things without masks: the best micro mIoU
       of objects that are sure to be whole in their own photo, with half of what hides them unknown. Visible parts
       count here, so that what grows falsely weighs as much as what is found. An object that is seen in several pieces
       is most likely hidden; such objects have a threshold of their own. Of the others, those that nothing hides may
       grow by 1 % on average.
    4. Calibration and guarantee. The half is labelled with these thresholds as photos will be, by the recovered order,
       and the rest is fitted to these labels.

    A completer that was calibrated on other photos keeps its further crops, and what it knows of objects with nothing
    in front (`CalibrationSamples.calibrate`). Of the thresholds that are as good as the best but for the choice of
    photos, the one nearest to its own is taken.

    Args:
        bundle: a trained completer; one that was calibrated already has thresholds of its own.
        holdout: its hold-out.
        settings: how labels are made; what they give is not chosen from.
        progress: shows the scenes done.
        learnt_unmasked: whether its training had neighbours in front that it was not shown. The thresholds for what
            they hide are chosen once: other photos, where things lack masks, take hidden objects for whole ones.

    Returns:
        The bundle with what was chosen; what cannot be chosen for want of objects is left as it was.
    """
    asked = replace(bundle, completer=remembering(bundle.completer))  # each step completes much the same again
    return replace(_choose(asked, holdout, settings, progress, learnt_unmasked), completer=bundle.completer)


def _choose(
    bundle: CompleterBundle, holdout: Holdout, settings: LabelSettings, progress: Progress, learnt_unmasked: bool
) -> CompleterBundle:
    ids = holdout.cases("choose")
    settings = with_tolerance(holdout, ids, settings)
    plan = plan_labels(bundle, settings)
    fitted = bundle.calibration != Calibration()
    own = bundle.order_threshold if fitted else None
    if plan.order_rule == "pairs":
        bundle = replace(bundle, order_threshold=_choose_pair_threshold(plan, holdout, ids, own, progress))
    else:
        looks = [plan.contact_crops] if fitted or settings.contact_crops is not None else [(), CONTACT_CROPS]
        contact_crops, threshold = _choose_order_threshold(plan, holdout, ids, looks, own, progress)
        bundle = replace(bundle, contact_crops=contact_crops, order_threshold=threshold)
    amodal_threshold = _choose_threshold(plan, holdout, ids, bundle.threshold if fitted else None, progress)
    if amodal_threshold is not None:
        bundle = replace(bundle, threshold=amodal_threshold)
    elif not learnt_unmasked:
        return bundle
    if learnt_unmasked and not fitted:
        bundle = _choose_unmasked(bundle, holdout, ids, settings, progress)
    found = _calibrate(plan_labels(bundle, settings), holdout, ids, progress)
    return replace(bundle, calibration=found.calibration, promise=found.promise, judged=found.judged)


def _choose_order_threshold(
    plan: LabelPlan,
    holdout: Holdout,
    ids: Sequence[int],
    looks: Sequence[tuple[float, ...]],
    own: float | None,
    progress: Progress,
) -> tuple[tuple[float, ...], float]:
    """Return the further looks and the threshold with the best F1 of directed pairs."""
    tables = [_Table(len(COMPLETION_THRESHOLDS)) for _ in looks]
    with progress.task("choosing the order threshold", len(ids)) as advance:
        for chunk, photos in _with_photos(holdout, ids):
            truth = [{(p.front, p.back) for p in case.true_order()} for case in chunk]
            by_looks = orders_at(plan, [case.scene for case in chunk], looks, COMPLETION_THRESHOLDS)
            for table, by_threshold in zip(tables, by_looks, strict=True):
                for k, orders in enumerate(by_threshold):
                    for photo, order, pairs in zip(photos, orders, truth, strict=True):
                        hits = sum((edge.front, edge.back) in pairs for edge in order)
                        table.add(photo, k, 2 * hits, len(order) + len(pairs))
            advance(len(chunk))
    n = int(np.argmax([max(table.values) for table in tables]))
    return looks[n], tables[n].pick(COMPLETION_THRESHOLDS, own, F1_NOISE)


def _choose_pair_threshold(
    plan: LabelPlan, holdout: Holdout, ids: Sequence[int], own: float | None, progress: Progress
) -> float:
    """Return the threshold with which most pairs that are completed alone are ordered right."""
    table = _Table(len(THRESHOLDS))
    with progress.task("choosing the order threshold", len(ids)) as advance:
        for chunk, photos in _with_photos(holdout, ids):
            scenes = [case.scene.with_tight_masks_grown(plan.contour_inset_px) for case in chunk]
            near = [near_pairs(scene.masks, plan.ordering.gap_px) for scene in scenes]
            growth_px = {
                p.request: [pair_growth_px(p, threshold) for threshold in THRESHOLDS]
                for p in plan.ordering.stream(pair_requests(scenes, near))
            }
            for photo, case, scene, pairs in zip(photos, chunk, scenes, near, strict=True):
                truth = {(p.front, p.back) for p in case.true_order()}
                for i, j in pairs:
                    of_i, of_j = (growth_px[CompletionRequest(scene, a, (b,))] for a, b in ((i, j), (j, i)))
                    for k, grown in enumerate(zip(of_i, of_j, strict=True)):
                        table.add(photo, k, any((pair.front, pair.back) in truth for pair in compare(i, j, *grown)), 1)
            advance(len(chunk))
    return table.pick(THRESHOLDS, own)


def _choose_threshold(
    plan: LabelPlan, holdout: Holdout, ids: Sequence[int], own: float | None, progress: Progress
) -> float | None:
    """Return the threshold of the best completions; None where no object is completed."""
    table = _Table(len(THRESHOLDS))
    readings = [(threshold, NO_GROWTH) for threshold in THRESHOLDS.tolist()]
    with progress.task("choosing the threshold", len(ids)) as advance:
        for chunk, photos in _with_photos(holdout, ids):
            found = count_completions(plan, chunk, [_occluders(case, plan) for case in chunk], readings)
            for k, of_threshold in enumerate(found):
                for photo, counts in zip(photos, of_threshold, strict=True):
                    for c in counts:
                        table.add(photo, k, c.hidden_intersection_px, c.hidden_union_px)
            advance(len(chunk))
    return table.pick(THRESHOLDS, own) if table.photos else None


def _choose_unmasked(
    bundle: CompleterBundle, holdout: Holdout, ids: Sequence[int], settings: LabelSettings, progress: Progress
) -> CompleterBundle:
    """Return the bundle with the thresholds where no object is; its own stay where too few objects tell.

    Where too few objects in pieces tell and it has no threshold of its own for them, they have that of the others.
    """
    low = float(THRESHOLDS[0])
    plan = plan_labels(replace(bundle, unmasked_threshold=low, unmasked_threshold_in_pieces=low), settings)
    levels = [*THRESHOLDS.tolist(), NO_GROWTH]
    readings = [(plan.threshold, level) for level in levels]
    in_one_piece, in_pieces = _Growth(len(levels)), _Growth(len(levels))
    rng = np.random.default_rng(0)
    with progress.task("choosing the threshold where no object is", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            bitten = [case.with_unmasked_occluders(UNMASKED_SHARE, rng) for case in chunk]
            for growth, several in ((in_one_piece, False), (in_pieces, True)):
                growth.add_hidden(plan, bitten, [_sure(case, several) for case in bitten], readings)
            in_one_piece.add_whole(plan, chunk, [_sure(case, several=False) for case in chunk], readings)
            advance(len(chunk))
    if in_one_piece.occluded >= FEWEST_SURE:
        bundle = replace(bundle, unmasked_threshold=levels[in_one_piece.best()])
    own = bundle.unmasked_threshold_in_pieces
    of_others = bundle.unmasked_threshold if own == NO_GROWTH else own
    chosen = levels[in_pieces.best()] if in_pieces.occluded >= FEWEST_SURE else of_others
    return replace(bundle, unmasked_threshold_in_pieces=chosen)


def _sure(case: Case, several: bool) -> list[int]:
    """Return the objects whose whole is known, which are seen in several pieces or in one."""
    seen, whole = case.scene.masks, case.amodal
    return [
        k
        for k in sorted(case.sure or ())
        if seen[k].any() and (count_pieces(seen[k].crop) > 1) == several and count_pieces(whole[k].crop) < 2
    ]


class _Growth:
    """What growth where no object is does at each of several thresholds to objects whose whole is known."""

    def __init__(self, levels: int) -> None:
        self.found = np.zeros((2, levels))  # pixels of labels that are right, and of labels or truth
        self.grown: list[list[float]] = []  # per object that nothing hides, by which share of it the label grows
        self.occluded = 0

    def add_hidden(
        self, plan: LabelPlan, cases: Sequence[Case], asked: Sequence[Sequence[int]], readings: Readings
    ) -> None:
        """Count objects of scenes in which some occluders are unknown."""
        for of_object in self._counts(plan, cases, asked, readings):
            self.found += np.array([(c.intersection_px, c.union_px) for c in of_object]).T
            self.occluded += of_object[0].is_occluded

    def add_whole(
        self, plan: LabelPlan, cases: Sequence[Case], asked: Sequence[Sequence[int]], readings: Readings
    ) -> None:
        """Count objects that nothing hides, of scenes as they are."""
        whole = [
            [k for k in of_case if case.amodal[k].area_px == case.scene.masks[k].area_px]
            for case, of_case in zip(cases, asked, strict=True)
        ]
        for of_object in self._counts(plan, cases, whole, readings):
            self.grown.append([c.growth for c in of_object])

    def best(self) -> int:
        """Return the place of the best threshold, of equal ones the most careful."""
        allowed = np.ones(self.found.shape[1], bool)
        if len(self.grown) >= FEWEST_SURE:
            allowed = np.mean(self.grown, axis=0) <= MOST_GROWTH
        values = np.where(allowed, self.found[0] / np.maximum(self.found[1], 1), -1)
        return int(len(values) - 1 - np.argmax(values[::-1]))

    @staticmethod
    def _counts(
        plan: LabelPlan, cases: Sequence[Case], asked: Sequence[Sequence[int]], readings: Readings
    ) -> list[tuple[Counts, ...]]:
        """Return the counts of each object by threshold."""
        known = [_occluders(case, plan) for case in cases]
        groups = [{k: of_case.get(k, ()) for k in wanted} for of_case, wanted in zip(known, asked, strict=True)]
        by_reading = count_completions(plan, cases, groups, readings)
        return [of_object for by_scene in zip(*by_reading, strict=True) for of_object in zip(*by_scene, strict=True)]


def _with_photos(holdout: Holdout, ids: Sequence[int]) -> Iterator[tuple[list[Case], list[int]]]:
    """Decode scenes, a few at a time, with the photos that they were drawn on."""
    photos = map(holdout.photo_of, ids)
    for chunk in holdout.chunks(ids):
        yield chunk, list(islice(photos, len(chunk)))


class _Table:
    """A score that is a ratio of sums, of several choices, photo by photo."""

    def __init__(self, choices: int) -> None:
        self.choices = choices
        self.photos: dict[int, np.ndarray] = {}

    def add(self, photo: int, choice: int, above: float, below: float) -> None:
        """Add to what one choice has in a photo."""
        self.photos.setdefault(photo, np.zeros((2, self.choices)))[:, choice] += above, below

    @property
    def values(self) -> np.ndarray:
        """(choices,) float, over all photos."""
        above, below = sum(self.photos.values(), np.zeros((2, self.choices)))
        return above / np.maximum(below, 1)

    def pick(self, thresholds: np.ndarray, own: float | None, noise: float = 0.0) -> float:
        """Return the best threshold as `best` has it, or the nearest to an own one of those that may be as good."""
        if own is None or not self.photos:
            return float(thresholds[best(self.values, noise)])
        draws = draw_photos(len(self.photos))
        sums = np.array(list(self.photos.values()))  # (photos, 2, choices)
        ratios = [ratio_of_sums(sums[:, 0, k], sums[:, 1, k], draws) for k in range(self.choices)]
        return float(min(thresholds[as_good_as_best(ratios)], key=lambda threshold: abs(threshold - own)))


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
    return samples.calibrate(unmasked, own=plan.calibration.by_features)


def _add(samples: CalibrationSamples, plan: LabelPlan, cases: Sequence[Case]) -> None:
    samples.add(cases, label_scenes(plan, [case.scene for case in cases]), plan.gap_px)


def best(values: Sequence[float] | np.ndarray, noise: float = 0.0) -> int:
    """Return the index of the largest value; of those that differ by noise only, the one nearest to the middle.

    >>> best([0.1, 0.9, 0.9, 0.9, 0.2]), best([0.1, 0.9, 0.899, 0.8, 0.2], noise=0.005)
    (2, 2)
    """
    middle, least = (len(values) - 1) / 2, max(values) - noise
    return max(
        (k for k in range(len(values)) if values[k] >= least), key=lambda k: (-abs(k - middle), float(values[k]))
    )
