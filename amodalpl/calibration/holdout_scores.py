"""How a completer does on the frozen hold-out: thresholds and calibration chosen on one half, scores from the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from ..completion.checkpoint import CompleterBundle as TrainedCompleter
from ..completion.predictor import CompletionPrediction, CompletionPredictor, CompletionRequest, CropSpec, Scene
from ..data.records import AnnotationSet
from ..io.images import image_path, read_image
from ..labelling.contact import CLOSE_LOOKS
from ..labelling.label import amodal_in_window, as_drawn
from ..labelling.label_scenes import SceneLabels, label_scenes
from ..labelling.loosening import gaps_of_loosened
from ..labelling.order_recovery import orders_at, pair_growth_px, pair_requests, requests_behind
from ..labelling.ordering import Pair, ancestors, compare
from ..labelling.plan import plan_labels
from ..masks import rle
from ..masks.gaps import derive_tolerance, pair_gaps
from ..masks.geometry import count_px, dilate
from ..masks.neighbours import near_pairs, neighbours_both_ways
from ..metrics import baselines, ordering
from ..metrics import completion as metrics
from ..models.completer import Completer
from ..runtime.progress import SILENT, Progress
from ..settings import LabelSettings
from .collect import Tally, Trust, examine

THRESHOLDS = np.round(np.arange(0.1, 0.91, 0.05), 2)
COMPLETION_THRESHOLDS = THRESHOLDS[::2]  # for the order, which weighs every contact again for each
F1_NOISE = 0.005  # F1 that differs by less says nothing: among 400 pairs its standard error is three times that
SCENES_AT_ONCE = 8
ERODED_PX = (1, 2, 3)  # contours drawn too tight, or predicted: they leave gaps of twice as many pixels
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
                shared_px = count_px(hidden & self.scene.masks[front])
                if front != back and shared_px:
                    pairs.append(Pair(front, back, float(shared_px)))
        return pairs

    def eroded(self, radius_px: int) -> Scene:
        """Return the scene with every visible mask shrunk by a square of side 2 * radius + 1."""
        shrunk = [~dilate(~mask, radius_px) for mask in self.scene.masks]
        return Scene(np.stack(shrunk), self.scene.image)


class Holdout:
    """The scenes of a hold-out, decoded as they are needed."""

    def __init__(self, data: AnnotationSet, images: Path | None) -> None:
        self.data = data
        self.images = images

    def cases(self, part: str) -> list[int]:
        """Return the image ids of a part ("choose" or "report"); scenes of one part only serve as both."""
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


def quick_score(completer: Completer, crop: CropSpec, holdout: Holdout, settings: LabelSettings) -> dict[str, float]:
    """Score a completer in training on some scenes of the choosing half, told the true occluders, at threshold 0.5."""
    counts = []
    for chunk in holdout.chunks(holdout.cases("choose")[:QUICK_SCENES]):
        groups = [ancestors(case.true_order()) for case in chunk]
        for case, prediction in _predict(completer, crop, chunk, groups, settings):
            counts.append(_count(prediction, case, 0.5, settings))
    scores = metrics.compute_micro(counts)
    return {f"hold-out {name}": float(scores[name] or 0.0) for name in ("miou", "invisible_miou")}


def choose(
    trained: TrainedCompleter, holdout: Holdout, settings: LabelSettings, progress: Progress = SILENT
) -> TrainedCompleter:
    """Choose thresholds, calibration and promise on the choosing half of the hold-out.

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
    by_pairs = plan_labels(trained, settings).order_rule == "pairs"
    choose_order = _choose_pair_order if by_pairs else _choose_completed_order
    trained = choose_order(trained, holdout, ids, settings, progress)
    threshold = _choose_threshold(trained, holdout, ids, settings, progress)
    if threshold is None:
        return trained
    trained = replace(trained, threshold=threshold)
    tally, plan = Tally(), plan_labels(trained, settings)
    with progress.task("calibrating", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            scenes = [case.scene for case in chunk]
            found = label_scenes(plan, scenes)
            tally.add(scenes, [case.amodal for case in chunk], found, settings)
            advance(len(chunk))
    calibration, promise = tally.calibrate()
    return replace(trained, calibration=calibration, promise=promise)


def score(trained: TrainedCompleter, holdout: Holdout, settings: LabelSettings, progress: Progress = SILENT) -> Trust:
    """Score labels and free baselines on the reporting half.

    Completion: the two baselines, the labels as `amodalpl pseudolabel` would make them, and those given the true order;
    each protocol over all objects, and over those with at least 1 % hidden. Again without the last with every visible
    mask eroded, the truth left as it is, so that what is predicted outside the true visible mask is counted as before.
    Order: the recovered one and rules that cost nothing, against the truth without a rim, since the hold-out's masks
    are exact. Uncertainty: see `tally.examine`.

    Returns:
        The scores, and the curves of the uncertainty.
    """
    ids = holdout.cases("report")
    own_settings = {radius_px: with_tolerance(holdout, ids, settings, radius_px) for radius_px in (0, *ERODED_PX)}
    completion: dict[int, dict[str, list[metrics.Counts]]] = {radius_px: {} for radius_px in (0, *ERODED_PX)}
    order: dict[str, list[ordering.OrderCounts]] = {}
    tally = Tally()
    with progress.task("scoring on the hold-out", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            for radius_px, rows in completion.items():
                settings = own_settings[radius_px]
                scenes = [case.eroded(radius_px) if radius_px else case.scene for case in chunk]
                plan = plan_labels(trained, settings)
                found = {"labels": label_scenes(plan, scenes)}
                if radius_px == 0:
                    tally.add(scenes, [case.amodal for case in chunk], found["labels"], settings)
                    true_order = [case.true_order() for case in chunk]
                    found["labels, true order"] = label_scenes(plan, scenes, true_order)
                for n, (case, scene) in enumerate(zip(chunk, scenes, strict=True)):
                    for name, counts in _count_case(case, scene, {k: v[n] for k, v in found.items()}, settings):
                        rows.setdefault(name, []).append(counts)
                    for name, pairs in _count_order(case, found["labels"][n], radius_px, settings):
                        order.setdefault(name, []).append(pairs)
            advance(len(chunk))
    scores: dict[str, dict[str, metrics.Scores]] = {}
    for name, all_counts in completion[0].items():
        for subset, members in (("all", all_counts), ("occluded", [c for c in all_counts if c.is_occluded])):
            for protocol, values in metrics.compute(members).items():
                scores.setdefault(f"hold-out {protocol}: {subset}", {})[name] = values
    for radius_px in ERODED_PX:
        scores[f"hold-out {metrics.MICRO}: all{_eroded_by(radius_px)}"] = {
            name: metrics.compute_micro(members) for name, members in completion[radius_px].items()
        }
    for name, of_scenes in order.items():
        for protocol, values in ordering.compute(of_scenes).items():
            scores.setdefault(f"hold-out {protocol}", {})[name] = values
    trust = examine(tally, trained.calibration, trained.promise)
    return replace(trust, scores={**scores, **trust.scores})


def with_tolerance(
    holdout: Holdout, image_ids: Sequence[int], settings: LabelSettings, eroded_px: int = 0
) -> LabelSettings:
    """Return the settings with what is measured of the gaps of these scenes, where they leave it open.

    Args:
        holdout: the scenes.
        image_ids: which of them.
        settings: kept as they are when `gap_px` and `tight_px` are given.
        eroded_px: measure with every visible mask shrunk by so many pixels.
    """
    if settings.gap_px is not None and settings.tight_px is not None:
        return settings
    gaps: list[int] = []
    for case in holdout.read(image_ids):
        gaps += pair_gaps((case.eroded(eroded_px) if eroded_px else case.scene).masks)
    tolerance = derive_tolerance(gaps)
    return settings.measured(tolerance.gap_px, tolerance.tight_px)


def _eroded_by(radius_px: int) -> str:
    return f", visible masks eroded by {radius_px} px" if radius_px else ""


def _count_case(
    case: Case, scene: Scene, found: Mapping[str, SceneLabels], settings: LabelSettings
) -> Iterator[tuple[str, metrics.Counts]]:
    near = neighbours_both_ways(near_pairs(scene.masks, settings.near_px))
    for index, (truth, modal) in enumerate(zip(case.amodal, case.scene.masks, strict=True)):
        visible = scene.masks[index]
        around: np.ndarray = np.any(scene.masks[near.get(index, [])], axis=0)
        for name, baseline in baselines.COMPLETION.items():
            yield name, metrics.count_instance(baseline(visible, around), truth, modal)
        for name, labels in found.items():
            label = labels.labels[index]
            yield name, metrics.count_instance(visible if label is None else label.amodal, truth, modal)


def _count_order(
    case: Case, found: SceneLabels, radius_px: int, settings: LabelSettings
) -> Iterator[tuple[str, ordering.OrderCounts]]:
    modal = case.scene.masks
    truth_one_way = ordering.one_way_order_from_masks(modal, case.amodal)
    truth = ordering.order_from_masks(modal, case.amodal, settings.near_px, rim_px=0)
    bordering = {frozenset(pair) for pair in ordering.bordering_pairs(modal)}
    evidence_px = {(p.front, p.back): p.evidence_px for p in found.order}
    rows = {f"labels{_eroded_by(radius_px)}": (ordering.make_one_way(evidence_px), set(evidence_px))}
    if radius_px == 0:
        near = near_pairs(modal, settings.near_px)
        rules = {name: rule(modal, near) for name, rule in baselines.ORDER.items()}
        rows = {name: (pairs, pairs) for name, pairs in rules.items()} | rows
    for name, (one_way, directed) in rows.items():
        forced = {pair for pair in one_way if frozenset(pair) in bordering}
        yield name, ordering.count_image(len(modal), truth_one_way, truth, forced, directed)


def _occluders(case: Case, settings: LabelSettings) -> dict[int, list[int]]:
    if settings.occluders == "neighbours":
        groups = neighbours_both_ways(near_pairs(case.scene.masks, settings.near_px))
    else:
        groups = ancestors(case.true_order())
    return {target: group for target, group in groups.items() if case.scene.masks[target].any()}


def _count(prediction: CompletionPrediction, case: Case, threshold: float, settings: LabelSettings) -> metrics.Counts:
    target = prediction.request.target
    visible = case.scene.masks[target]
    local = amodal_in_window(prediction, threshold, settings.behind_neighbours)
    amodal = as_drawn(visible, prediction, local, settings.loosened_px)
    return metrics.count_instance(amodal, case.amodal[target], visible)


def _choose_threshold(
    trained: TrainedCompleter, holdout: Holdout, ids: Sequence[int], settings: LabelSettings, progress: Progress
) -> float | None:
    """Return the best threshold; None where no object is asked about."""
    counts: list[list[metrics.Counts]] = [[] for _ in THRESHOLDS]
    with progress.task("choosing the threshold", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            groups = [_occluders(case, settings) for case in chunk]
            for case, prediction in _predict(trained.completer, trained.crop, chunk, groups, settings):
                for k, threshold in enumerate(THRESHOLDS):
                    counts[k].append(_count(prediction, case, threshold, settings))
            advance(len(chunk))
    if not counts[0]:
        return None
    return float(THRESHOLDS[_best([metrics.compute_micro(rows)["invisible_miou"] or 0.0 for rows in counts])])


def _predict(
    completer: Completer,
    crop: CropSpec,
    cases: Sequence[Case],
    occluders: Sequence[Mapping[int, Sequence[int]]],
    settings: LabelSettings,
) -> Iterator[tuple[Case, CompletionPrediction]]:
    """Complete objects behind those given, as labelling does."""
    _, gap_px = gaps_of_loosened(settings.near_px, settings.loosened_px)
    case_of: dict[CompletionRequest, Case] = {}
    for case, groups in zip(cases, occluders, strict=True):
        scene = case.scene.loosened(settings.loosened_px)
        case_of |= dict.fromkeys(requests_behind(scene, groups).values(), case)
    for prediction in CompletionPredictor(completer, crop, gap_px, settings.batch_size).stream(case_of):
        yield case_of[prediction.request], prediction


def _choose_completed_order(
    trained: TrainedCompleter, holdout: Holdout, ids: Sequence[int], settings: LabelSettings, progress: Progress
) -> TrainedCompleter:
    """Return it with the best threshold for the order, and with further looks where they make the order better."""
    looks = [(), CLOSE_LOOKS] if settings.close_looks is None else [settings.close_looks]
    hits, predicted = np.zeros((2, len(looks), len(COMPLETION_THRESHOLDS)))
    true, plan = 0, plan_labels(trained, settings)
    with progress.task("choosing the order threshold", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            scenes = [case.scene for case in chunk]
            truth = [{(p.front, p.back) for p in case.true_order()} for case in chunk]
            true += sum(len(pairs) for pairs in truth)
            by_looks = orders_at(plan, scenes, looks, COMPLETION_THRESHOLDS)
            for n, by_threshold in enumerate(by_looks):
                for k, orders in enumerate(by_threshold):
                    for order, pairs in zip(orders, truth, strict=True):
                        hits[n, k] += sum((pair.front, pair.back) in pairs for pair in order)
                        predicted[n, k] += len(order)
            advance(len(chunk))
    f1 = 2 * hits / np.maximum(predicted + true, 1)
    n = int(f1.max(axis=1).argmax())
    threshold = float(COMPLETION_THRESHOLDS[_best(f1[n], F1_NOISE)])
    return replace(trained, close_looks=looks[n], order_threshold=threshold)


def _choose_pair_order(
    trained: TrainedCompleter, holdout: Holdout, ids: Sequence[int], settings: LabelSettings, progress: Progress
) -> TrainedCompleter:
    correct, plan = np.zeros(len(THRESHOLDS)), plan_labels(trained, settings)
    with progress.task("choosing the order threshold", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            scenes = [case.scene.loosened(plan.tight_px) for case in chunk]
            near = [near_pairs(scene.masks, plan.ordering.gap_px) for scene in scenes]
            truth = [{(p.front, p.back) for p in case.true_order()} for case in chunk]
            growth = {
                p.request: [pair_growth_px(p, threshold) for threshold in THRESHOLDS]
                for p in plan.ordering.stream(pair_requests(scenes, near))
            }
            for n, pairs in enumerate(near):
                for i, j in pairs:
                    of_i, of_j = (growth[CompletionRequest(scenes[n], a, (b,))] for a, b in ((i, j), (j, i)))
                    for k in range(len(THRESHOLDS)):
                        ordered = compare(i, j, of_i[k], of_j[k])
                        correct[k] += any((pair.front, pair.back) in truth[n] for pair in ordered)
            advance(len(chunk))
    return replace(trained, order_threshold=float(THRESHOLDS[_best(correct)]))


def _best(values: Sequence[float] | np.ndarray, noise: float = 0.0) -> int:
    """Index of the largest value; of those that differ from it by noise only, the one nearest to the middle."""
    middle, least = (len(values) - 1) / 2, max(values) - noise
    return max(
        (k for k in range(len(values)) if values[k] >= least), key=lambda k: (-abs(k - middle), float(values[k]))
    )
