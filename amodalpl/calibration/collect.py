"""Stated uncertainty and true error of hold-out labels: to fit a calibration, and to check one.

Labels are kept as they are made in use, behind the occluders of the recovered order, so that mistakes of the order
count in everything that is learnt here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..completion.predictor import Scene
from ..labelling.label import Label
from ..labelling.label_scenes import SceneLabels
from ..masks.boxed import BoxedMask, BoxedMasks, all_boxed, in_common_box
from ..masks.geometry import count_px
from ..masks.neighbours import near_pairs, neighbours_both_ways
from .choose_calibration import labels_help, pixels_help, promise_of_draws
from .fit import Calibration, Evidence, PixelCounts, RiskGuarantee, evidence_of, fit_labels, fit_pixels


@dataclass(frozen=True)
class LabelSample:
    """A label with its truth.

    Attributes:
        uncertainty: as stated.
        iou: with the truth.
        evidence: what its pixels say; None when the network was not asked, or its answer was refused as a runaway.
        asked: whether something was taken to be in front.
        scene: number of its scene.
    """

    uncertainty: float
    iou: float
    evidence: Evidence | None
    asked: bool
    scene: int = 0


@dataclass
class CalibrationSamples:
    """Everything that is kept of labels: pixels as counts per scene, and a sample for each label with a neighbour."""

    by_scene: list[PixelCounts] = field(default_factory=list)
    labels: list[LabelSample] = field(default_factory=list)

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
        scenes: Sequence[Scene],
        amodal: Sequence[np.ndarray | BoxedMasks],
        found: Sequence[SceneLabels],
        near_px: int,
    ) -> None:
        """Keep the labels of a few scenes, with what the predictions say that they were read from.

        Args:
            scenes: what was labelled.
            amodal: per scene N true whole objects, or their (N, H, W) bool stack.
            found: per scene, of `label_scenes`.
            near_px: free pixels between neighbours at most, as they were labelled.
        """
        for scene, truths, of_scene in zip(scenes, amodal, found, strict=True):
            near = neighbours_both_ways(near_pairs(scene.masks, near_px))
            pixels = PixelCounts()
            for target, (label, truth) in enumerate(zip(of_scene.labels, all_boxed(truths), strict=True)):
                if label is not None and (label.asked or target in near):
                    self.labels.append(_sample_of(label, truth, len(self.by_scene)))
                    if label.prediction is not None:
                        pixels.add(label.prediction, truth[label.prediction.window])
            self.by_scene.append(pixels)

    def calibrate(self) -> tuple[Calibration, RiskGuarantee | None]:
        """Fit both maps to what was kept, each only where it helps, then choose what can be promised with them.

        The promise is about labels for which something was taken to be in front.
        """
        pixels = fit_pixels(self.pixels) if pixels_help(self.by_scene) else Calibration()
        weighed = [label for label in self.labels if label.evidence is not None]
        doubt = [pixels.implied_error(label.evidence) for label in weighed if label.evidence is not None]
        error = [1 - label.iou for label in weighed]
        helps = labels_help(doubt, error, [label.scene for label in weighed])
        unasked = [1 - label.iou for label in self.labels if not label.asked and label.evidence is None]
        calibration = replace(
            fit_labels(doubt, error) if helps else Calibration(),
            probability=pixels.probability,
            belongs=pixels.belongs,
            unasked=round(float(np.mean(unasked)), 6) if unasked else 0.0,
        )
        asked = [label for label in self.labels if label.asked]
        stated = [_stated(label, calibration) for label in asked]
        return calibration, promise_of_draws(stated, [s.iou for s in asked], [s.scene for s in asked])


def _sample_of(label: Label, truth: BoxedMask, scene: int) -> LabelSample:
    found, true = in_common_box(label.whole, truth)
    iou = count_px(found & true) / count_px(found | true)
    prediction, evidence = label.prediction, None
    if prediction is not None and not label.runaway:
        evidence = evidence_of(prediction, label.whole[prediction.window] | prediction.modal)
    return LabelSample(label.uncertainty, iou, evidence, bool(label.occluders), scene)


def _stated(sample: LabelSample, calibration: Calibration) -> float:
    """Return the uncertainty that a label would carry under another calibration."""
    if sample.evidence is not None:
        return calibration.uncertainty(sample.evidence)
    return sample.uncertainty if sample.asked else calibration.unasked
