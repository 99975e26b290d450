"""Stated uncertainty and true error of hold-out labels: to fit a calibration, and to check one.

Labels are kept as they are made in use, behind the occluders of the recovered order, so that mistakes of the order
count in everything that is learnt here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..labelling.label import Label
from ..labelling.label_features import LabelFeatures, count_pieces
from ..labelling.label_scenes import SceneLabels
from ..labelling.ordering import OcclusionEdge
from ..masks.boxed import BoxedMask, in_common_box
from ..masks.geometry import count_px
from ..masks.neighbours import near_pairs, neighbours_both_ways
from .choose_calibration import features_help, labels_help, pixels_help, promise_of_draws
from .error_model import ErrorModel, fit_errors
from .fit import Calibration, Evidence, PixelCounts, RiskGuarantee, fit_labels, fit_pixels
from .holdout import Case
from .likeness import JudgedLabels
from .order_chance import fit_order_chance


@dataclass(frozen=True)
class LabelSample:
    """A label with its truth.

    Attributes:
        uncertainty: as stated.
        iou: with the truth.
        evidence: what its pixels say; None when the network was not asked.
        asked: whether something was taken to be in front.
        scene: number of its scene.
        near: whether it has a neighbour, so that its order may be wrong.
        features: of the object and its label; None where its class is never completed.
        in_pieces: whether the truth is in several pieces: an object that something hid before it came into the
            hold-out, so that its whole is not known.
    """

    uncertainty: float
    iou: float
    evidence: Evidence | None
    asked: bool
    scene: int = 0
    near: bool = True
    features: LabelFeatures | None = None
    in_pieces: bool = False


@dataclass(frozen=True)
class Calibrated:
    """What was learnt of a completer's labels.

    Attributes:
        calibration: from its probabilities, and the features of its labels, to their expected error.
        promise: None where the labels allow none.
        judged: what it was judged on, to compare others with; None without a promise.
    """

    calibration: Calibration
    promise: RiskGuarantee | None
    judged: JudgedLabels | None


@dataclass
class CalibrationSamples:
    """What is kept of labels: pixels as counts per scene, a sample for each, and for each pair whether it is right."""

    by_scene: list[PixelCounts] = field(default_factory=list)
    labels: list[LabelSample] = field(default_factory=list)
    pairs: list[tuple[OcclusionEdge, bool]] = field(default_factory=list)

    @property
    def pixels(self) -> PixelCounts:
        """Of all scenes together."""
        total = PixelCounts()
        for counts in self.by_scene:
            total.pixels += counts.pixels
            total.inside += counts.inside
        return total

    def add(
        self,
        cases: Sequence[Case],
        found: Sequence[SceneLabels],
        near_px: int,
    ) -> None:
        """Keep the labels of a few scenes, with what the predictions say that they were read from.

        Args:
            cases: what was labelled, and the truth.
            found: per scene, of `label_scenes`.
            near_px: free pixels between neighbours at most, as they were labelled.
        """
        for case, of_scene in zip(cases, found, strict=True):
            true_order = {(pair.front, pair.back) for pair in case.true_order()}
            self.pairs += [(pair, (pair.front, pair.back) in true_order) for pair in of_scene.order]
            near = neighbours_both_ways(near_pairs(case.scene.masks, near_px))
            pixels = PixelCounts()
            for target, (label, truth) in enumerate(zip(of_scene.labels, case.amodal, strict=True)):
                if label is not None:
                    judged = case.judged(target, label.whole)
                    self.labels.append(_sample_of(label, judged, truth, len(self.by_scene), target in near))
                    if label.prediction is not None:
                        local = truth[label.prediction.window]
                        pixels.add(label.prediction, local, judge_unmasked=case.is_known_everywhere(target))
            self.by_scene.append(pixels)

    def calibrate(self, unmasked: Sequence[CalibrationSamples] = (), own: ErrorModel | None = None) -> Calibrated:
        """Fit both maps to what was kept, each only where it helps, then choose what can be promised with them.

        The promise is about labels for which something was taken to be in front.

        Args:
            unmasked: labels of the same scenes with a part of their occluders unknown, for what is learnt of features.
            own: what the completer learnt of features on other photos. What it knows of labels with nothing in front is
                kept: here an object of yours that something without a mask hides counts as whole, and would teach that
                such objects are.
        """
        pixels = fit_pixels(self.pixels) if pixels_help(self.by_scene) else Calibration()
        weighed = [label for label in self.labels if label.evidence is not None]
        doubt = [pixels.implied_error(label.evidence) for label in weighed if label.evidence is not None]
        error = [1 - label.iou for label in weighed]
        helps = labels_help(doubt, error, [label.scene for label in weighed])
        unasked = [1 - s.iou for s in self.labels if s.near and not s.asked and s.evidence is None]
        calibration = replace(
            fit_labels(doubt, error) if helps else Calibration(),
            probability=pixels.probability,
            belongs=pixels.belongs,
            unasked=round(float(np.mean(unasked)), 6) if unasked else 0.0,
        )
        labels = [sample for samples in (self, *unmasked) for sample in samples.labels]
        order = fit_order_chance([pair for pair, _ in self.pairs], [right for _, right in self.pairs])
        by_features = _fit_by_features(labels, calibration)
        if by_features is not None and own is not None:
            by_features = replace(by_features, alone=own.alone)
        calibration = replace(calibration, by_features=by_features, order=order)
        asked = [label for label in self.labels if label.asked]  # once each: copies would feign that there are more
        stated = [_stated(label, calibration) for label in asked]
        promise = promise_of_draws(stated, [s.iou for s in asked], [s.scene for s in asked])
        return Calibrated(calibration, promise, _judged(asked, stated, calibration, promise))


def _fit_by_features(labels: Sequence[LabelSample], calibration: Calibration) -> ErrorModel | None:
    """Return the expected error by features, where it is nearer to the error on other scenes than what labels state."""
    described = [(label, label.features) for label in labels if label.features is not None and not label.in_pieces]
    if not described:
        return None
    features = np.array([_features_under(sample, of_it, calibration).as_row() for sample, of_it in described])
    asked, scene, error = (
        np.array(column)
        for column in zip(*((sample.asked, sample.scene, 1 - sample.iou) for sample, _ in described), strict=True)
    )
    stated = np.array([_stated(sample, calibration) for sample, _ in described])
    return fit_errors(features, asked, error) if features_help(features, asked, stated, error, scene) else None


def _judged(
    asked: Sequence[LabelSample], stated: Sequence[float], calibration: Calibration, promise: RiskGuarantee | None
) -> JudgedLabels | None:
    described = [(s, s.features, doubt) for s, doubt in zip(asked, stated, strict=True) if s.features is not None]
    if promise is None or not described:
        return None
    return JudgedLabels(
        np.array([_features_under(sample, features, calibration).as_row() for sample, features, _ in described]),
        np.array([doubt for _, _, doubt in described]),
        np.array([sample.iou > promise.iou_above for sample, _, _ in described]),
    )


def _features_under(sample: LabelSample, features: LabelFeatures, calibration: Calibration) -> LabelFeatures:
    implied = 0.0 if sample.evidence is None else calibration.implied_error(sample.evidence)
    return replace(features, implied=implied)


def _sample_of(label: Label, judged: BoxedMask, truth: BoxedMask, scene: int, near: bool) -> LabelSample:
    found, true = in_common_box(judged, truth)
    iou = count_px(found & true) / count_px(found | true)
    prediction, evidence = label.prediction, None
    if prediction is not None:
        evidence = Evidence.of(prediction, label.whole[prediction.window] | prediction.modal)
    in_pieces = count_pieces(truth.crop) > 1
    return LabelSample(label.uncertainty, iou, evidence, bool(label.occluders), scene, near, label.features, in_pieces)


def _stated(sample: LabelSample, calibration: Calibration) -> float:
    """Return the uncertainty that a label would carry under another calibration."""
    if calibration.by_features is not None and sample.features is not None:
        return calibration.by_features.error(_features_under(sample, sample.features, calibration), sample.asked)
    if sample.evidence is not None:
        return calibration.uncertainty(sample.evidence)
    return calibration.unasked if sample.near else 0.0
