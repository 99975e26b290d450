"""What labels of the hold-out say of themselves beside how good they are: to calibrate from, and to check by.

Labels are tallied as they are made in use, behind the occluders of the recovered order, so that mistakes of the order
count in everything that is learnt here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..completion.checkpoint import TrainedCompleter
from ..completion.predictor import Query, Scene, ask
from ..labelling.answers import view_for
from ..labelling.label_scenes import Label, SceneLabels
from ..labelling.loosening import loosened
from ..masks.geometry import count_px
from ..masks.neighbours import near_pairs, neighbours_both_ways
from ..settings import LabelSettings
from .fit import Calibration, Evidence, PixelCounts, RiskGuarantee, choose_promise, evidence_of, fit_labels, fit_pixels


@dataclass(frozen=True)
class LabelSample:
    """A label with its truth.

    Attributes:
        uncertainty: as stated.
        iou: with the truth.
        evidence: what its pixels say; None when the network was not asked, or its answer was refused as a runaway.
        asked: whether something was taken to be in front.
    """

    uncertainty: float
    iou: float
    evidence: Evidence | None
    asked: bool


@dataclass
class CalibrationSamples:
    """Everything that is kept of labels: pixels as counts, and an entry for each label with a neighbour."""

    pixels: PixelCounts = field(default_factory=PixelCounts)
    labels: list[LabelSample] = field(default_factory=list)

    def add(
        self,
        trained: TrainedCompleter,
        scenes: Sequence[Scene],
        amodal: Sequence[np.ndarray],
        found: Sequence[SceneLabels],
        settings: LabelSettings,
    ) -> None:
        """Tally the labels of a few scenes; the network is asked again about those that have an occluder.

        Args:
            trained: the completer that made them.
            scenes: what was labelled.
            amodal: per scene (N, H, W) bool, true whole objects.
            found: per scene, of `label_scenes`.
            settings: that they were made with.
        """
        evidence: dict[tuple[int, int], Evidence] = {}
        queries = [
            Query(number, target, label.occluders)
            for number, scene in enumerate(found)
            for target, label in enumerate(scene.labels)
            if label is not None and label.asked
        ]
        shown, _, own = loosened(scenes, settings)
        for answer in ask(trained.completer, shown, queries, view_for(trained.view, own), own.batch_size):
            number, target = answer.query.scene, answer.query.target
            label = found[number].labels[target]
            self.pixels.add(answer, amodal[number][target][answer.window])
            if label is not None and not label.runaway:
                evidence[number, target] = evidence_of(answer, label.amodal[answer.window] | answer.modal)
        for number, scene in enumerate(scenes):
            near = neighbours_both_ways(near_pairs(scene.masks, settings.near_px))
            for target, label in enumerate(found[number].labels):
                if label is not None and (label.asked or target in near):
                    self.labels.append(_entry(label, amodal[number][target], evidence.get((number, target))))

    def calibrate(self) -> tuple[Calibration, RiskGuarantee | None]:
        """Fit both maps to what was tallied, then choose what can be promised with them."""
        pixels = fit_pixels(self.pixels)
        weighed = [(pixels.implied_error(e.evidence), 1 - e.iou) for e in self.labels if e.evidence is not None]
        labels = fit_labels([doubt for doubt, _ in weighed], [error for _, error in weighed])
        unasked = [1 - e.iou for e in self.labels if not e.asked]
        calibration = replace(
            labels,
            probability=pixels.probability,
            belongs=pixels.belongs,
            unasked=round(float(np.mean(unasked)), 6) if unasked else 0.0,
        )
        stated = [_stated(entry, calibration) for entry in self.labels]
        return calibration, choose_promise(stated, [e.iou for e in self.labels])


def _entry(label: Label, truth: np.ndarray, evidence: Evidence | None) -> LabelSample:
    iou = count_px(label.amodal & truth) / count_px(label.amodal | truth)
    return LabelSample(label.uncertainty, iou, evidence, label.asked)


def _stated(entry: LabelSample, calibration: Calibration) -> float:
    """Return the uncertainty that a label would carry under another calibration."""
    if not entry.asked:
        return calibration.unasked
    return entry.uncertainty if entry.evidence is None else calibration.uncertainty(entry.evidence)
