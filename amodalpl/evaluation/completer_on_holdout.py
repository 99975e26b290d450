"""A completer on a frozen hold-out: quickly while it trains, in full at its end, and by `evaluate completer`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from ..builtin import completer_folder, is_builtin
from ..calibration.collect import CalibrationSamples
from ..calibration.completion_counts import count_completions
from ..calibration.holdout import HOLDOUT, Case, Holdout, read_holdout, with_tolerance
from ..completion.checkpoint import CARD, CompleterBundle, load_completer
from ..completion.predictor import CropSpec, Predictions, Scene
from ..errors import DataError
from ..labelling.label_scenes import SceneLabels, label_scenes
from ..labelling.ordering import ancestors
from ..labelling.plan import plan_labels
from ..masks.boxed import common_window
from ..masks.neighbours import near_pairs, neighbours_both_ways
from ..metrics import baselines, ordering
from ..metrics import completion as metrics
from ..metrics.hidden_parts import HIDDEN, HiddenParts
from ..models.completer import Completer
from ..runtime.distributed import pick_device
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import finished_run
from ..runtime.summary import Summary
from ..settings import LabelSettings
from .scores_file import Digest, write_evaluation
from .uncertainty_report import UncertaintyReport, report_uncertainty

ERODED_PX = (1, 2, 3)  # contours drawn too tight, or predicted: they leave gaps of twice as many pixels
QUICK_SCENES = 24  # hold-out scenes scored while training; enough to see a curve, few enough not to slow it


def evaluate_completer(
    completer: Path,
    synth_dir: Path,
    labels: LabelSettings,
    *,
    out: Path | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Summary:
    """Score a completer on the reporting half of a hold-out, as `amodalpl complete` does, with what it chose there.

    The hold-out may have other occluders than the one it was trained beside (more of them, placed otherwise), but must
    be made of the same photos: any other could hold photos that it was trained on. The completer of the package takes
    every hold-out; what it learnt from, docs/builtin_completer.md says.

    Args:
        completer: output folder of `amodalpl complete`, or `builtin`.
        synth_dir: output folder of `amodalpl synth`.
        labels: how labels are made.
        out: folder for `evaluation_completer.json`; nothing is written when None.
        device: "auto", "cpu" or "cuda".
        progress: shows the scenes done.

    Returns:
        The scores that `amodalpl complete` prints.

    Raises:
        OutputError: a folder is of another stage, or unfinished.
        DataError: the completer was trained on cut-outs other than those beside this hold-out.
        CheckpointError: the completer is damaged.
    """
    of_package, folder = is_builtin(completer), completer_folder(completer)
    trained_on = None if of_package else (finished_run(folder, "complete").get("inputs") or {}).get("bank")
    beside = (finished_run(synth_dir, "synth").get("outputs") or {}).get("bank/table.npy")
    if not of_package and (trained_on != beside or beside is None):
        raise DataError(
            f"{synth_dir}: expected a hold-out of the photos that {completer} was trained without, got one beside "
            "other cut-outs; run `amodalpl synth` on the same annotations, with the same seed, changing only "
            "synthesis.holdout_scenes, _placement, _size, _hidden, _occluded and _whole"
        )
    trained = load_completer(folder, pick_device(device))
    holdout = read_holdout(synth_dir, with_images=trained.completer.uses_image)
    report = score(trained, holdout, labels, progress)
    scored, scenes = Digest(), holdout.cases("report")
    for image_id in scenes:
        for instance in holdout.data.by_image[image_id]:
            scored.add(image_id, instance.id)
    counts = {"hold-out scenes": len(scenes), "instances": scored.objects}
    summary = Summary("evaluate completer", out, counts=counts, scores=report.scores)
    options = labels.model_dump(mode="json")
    return write_evaluation(
        summary,
        "evaluation_completer.json",
        options,
        scored,
        truth=synth_dir / HOLDOUT,
        labels=folder / CARD,
    )


def quick_score(completer: Completer, crop: CropSpec, holdout: Holdout, settings: LabelSettings) -> dict[str, float]:
    """Score a completer in training on some scenes of the choosing half, told the true occluders, at threshold 0.5."""
    plan = plan_labels(CompleterBundle(completer, crop), settings)
    counts: list[metrics.Counts] = []
    for chunk in holdout.chunks(holdout.cases("choose")[:QUICK_SCENES]):
        occluders = [ancestors(case.true_order()) for case in chunk]
        counts += chain.from_iterable(count_completions(plan, chunk, occluders, [(0.5, 1.0)])[0])
    scores = metrics.compute_micro(counts)
    return {f"hold-out {name}": float(scores[name] or 0.0) for name in ("miou", "invisible_miou")}


def score(
    bundle: CompleterBundle,
    holdout: Holdout,
    settings: LabelSettings,
    progress: Progress = SILENT,
    eroded_px: Sequence[int] = ERODED_PX,
) -> UncertaintyReport:
    """Score labels and free baselines on the reporting half.

    Completion: the two baselines, the labels as `amodalpl pseudolabel` would make them, and those given the true order;
    each protocol over all objects, and over those with at least 1 % hidden; hidden parts also with intervals over
    photos. Again without the last with every visible mask eroded by `eroded_px`, the truth left as it is, so that what
    is predicted outside the true visible mask is counted as before.
    Order: the recovered one and rules that cost nothing, against the truth without a rim, since the hold-out's masks
    are exact. Uncertainty: see `report_uncertainty`.

    Returns:
        The scores, and the curves of the uncertainty.
    """
    ids = holdout.cases("report")
    plans = {px: plan_labels(bundle, with_tolerance(holdout, ids, settings, px)) for px in (0, *eroded_px)}
    counts, samples = _Counts(), CalibrationSamples()
    photos = iter([holdout.photo_of(image_id) for image_id in ids])
    with progress.task("scoring on the hold-out", len(ids)) as advance:
        for chunk in holdout.chunks(ids):
            of_photo = list(islice(photos, len(chunk)))
            for radius_px, plan in plans.items():
                scenes = [case.eroded(radius_px) if radius_px else case.scene for case in chunk]
                found = {"labels": label_scenes(plan, scenes)}
                if radius_px == 0:
                    samples.add(chunk, found["labels"], plan.gap_px)
                    true_order = [case.true_order() for case in chunk]
                    found["labels, true order"] = label_scenes(
                        plan, scenes, true_order, _predictions_of(found["labels"])
                    )
                for n, (case, scene) in enumerate(zip(chunk, scenes, strict=True)):
                    of_scene = {name: labels[n] for name, labels in found.items()}
                    counts.add(radius_px, of_photo[n], case, scene, of_scene, plan.gap_px)
            advance(len(chunk))
    report = report_uncertainty(samples, bundle.calibration, bundle.promise)
    return replace(report, scores={**counts.compute(), **report.scores}, hidden=counts.hidden)


def _predictions_of(scenes: Iterable[SceneLabels]) -> Predictions:
    """Return what labels were read from, so that it is not predicted again."""
    known = (label.prediction for scene in scenes for label in scene.labels if label is not None)
    return {prediction.request: prediction for prediction in known if prediction is not None}


@dataclass
class _Counts:
    """Counts of all scenes so far.

    Attributes:
        completion: by radius of erosion and row, of each object.
        order: by row, of each scene.
        hidden: of masks that are not eroded, by photo.
    """

    completion: defaultdict[tuple[int, str], list[metrics.Counts]] = field(default_factory=lambda: defaultdict(list))
    order: defaultdict[str, list[ordering.OrderCounts]] = field(default_factory=lambda: defaultdict(list))
    hidden: HiddenParts = field(default_factory=HiddenParts)

    def add(
        self, radius_px: int, photo_id: int, case: Case, scene: Scene, found: Mapping[str, SceneLabels], near_px: int
    ) -> None:
        for name, objects in _count_case(case, scene, found, near_px):
            self.completion[radius_px, name].append(objects)
            if radius_px == 0:
                self.hidden.add(photo_id, name, [objects])
        for name, pairs in count_order(case, found["labels"], radius_px, near_px):
            self.order[name].append(pairs)

    def compute(self) -> dict[str, dict[str, metrics.Scores]]:
        """Return protocol -> row -> metric -> value."""
        scores: defaultdict[str, dict[str, metrics.Scores]] = defaultdict(dict)
        for (radius_px, name), of_all in self.completion.items():
            if radius_px:
                scores[f"hold-out {metrics.MICRO}: all{_eroded_by(radius_px)}"][name] = metrics.compute_micro(of_all)
                continue
            for subset, members in (("all", of_all), ("occluded", [c for c in of_all if c.is_occluded])):
                for protocol, values in metrics.compute(members).items():
                    scores[f"hold-out {protocol}: {subset}"][name] = values
        scores[f"hold-out {HIDDEN}"] = self.hidden.scores()
        for name, of_scenes in self.order.items():
            for protocol, values in ordering.compute(of_scenes).items():
                scores[f"hold-out {protocol}"][name] = values
        return dict(scores)


def _eroded_by(radius_px: int) -> str:
    return f", visible masks eroded by {radius_px} px" if radius_px else ""


def _count_case(
    case: Case, scene: Scene, found: Mapping[str, SceneLabels], near_px: int
) -> Iterator[tuple[str, metrics.Counts]]:
    near = neighbours_both_ways(near_pairs(scene.masks, near_px))
    for index, (truth, modal) in enumerate(zip(case.amodal, case.scene.masks, strict=True)):
        visible = scene.masks[index]
        rows = {name: labels.labels[index] for name, labels in found.items()}
        whole = {name: visible if label is None else label.whole for name, label in rows.items()}
        predicted = {name: case.judged(index, label) for name, label in whole.items()}
        window = common_window(visible, truth, modal, *predicted.values())  # nothing is true outside
        around = scene.masks.any_of(near.get(index, []), window)
        for name, baseline in baselines.COMPLETION.items():
            yield name, metrics.count_instance(baseline(visible[window], around), truth[window], modal[window])
        for name, label in predicted.items():
            yield name, metrics.count_instance(label[window], truth[window], modal[window])


def count_order(
    case: Case, found: SceneLabels, radius_px: int, near_px: int
) -> Iterator[tuple[str, ordering.OrderCounts]]:
    """Compare the order of a scene with the truth; of masks that are not eroded, also that of simple rules.

    Args:
        case: the scene, with its whole objects.
        found: labels of it.
        radius_px: by how much visible masks were eroded.
        near_px: tolerance for gaps between neighbours.

    Yields:
        Name of a row, and its counts.
    """
    modal = case.scene.masks
    count = ordering.counting_by_masks(modal, case.amodal, near_px, rim_px=0)
    evidence_px = {(p.front, p.back): p.evidence_px for p in found.order}
    rows = {f"labels{_eroded_by(radius_px)}": (ordering.make_one_way(evidence_px), set(evidence_px))}
    if radius_px == 0:
        near = near_pairs(modal, near_px)
        rules = {name: rule(modal, near) for name, rule in baselines.ORDER.items()}
        rows = {name: (pairs, pairs) for name, pairs in rules.items()} | rows
    for name, (one_way, directed) in rows.items():
        yield name, count(one_way, directed)
