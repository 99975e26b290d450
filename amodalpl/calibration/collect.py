"""What labels of the hold-out say of themselves beside how good they are: to calibrate from, and to check by.

Labels are tallied as they are made in use, behind the occluders of the recovered order, so that mistakes of the order
count in everything that is learnt here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..completion.predictor import Scene
from ..labelling.label import Label
from ..labelling.label_scenes import SceneLabels
from ..masks.geometry import count_px
from ..masks.neighbours import near_pairs, neighbours_both_ways
from ..metrics.completion import Scores
from ..settings import LabelSettings
from . import reliability
from .fit import Calibration, Evidence, PixelCounts, Promise, choose_promise, fit_labels, fit_pixels, weigh

PIXELS = "hold-out pixels behind occluders: calibration"
LABELS = "hold-out labels with an occluder: calibration"
RISK = "hold-out labels with an occluder: risk-coverage"
PROMISE = "hold-out labels with a neighbour: promise"


@dataclass(frozen=True)
class Entry:
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
class Tally:
    """Everything that is kept of labels: pixels as counts, and an entry for each label with a neighbour."""

    pixels: PixelCounts = field(default_factory=PixelCounts)
    entries: list[Entry] = field(default_factory=list)

    def add(
        self,
        scenes: Sequence[Scene],
        amodal: Sequence[np.ndarray],
        found: Sequence[SceneLabels],
        settings: LabelSettings,
    ) -> None:
        """Tally the labels of a few scenes, with the predictions that they were read from.

        Args:
            scenes: what was labelled.
            amodal: per scene (N, H, W) bool, true whole objects.
            found: per scene, of `label_scenes`.
            settings: that they were made with.
        """
        for number, scene in enumerate(scenes):
            near = neighbours_both_ways(near_pairs(scene.masks, settings.near_px))
            for target, label in enumerate(found[number].labels):
                if label is None:
                    continue
                evidence, prediction = None, label.prediction
                if prediction is not None:
                    self.pixels.add(prediction, amodal[number][target][prediction.window])
                    if not label.runaway:
                        evidence = weigh(prediction, label.amodal[prediction.window] | prediction.modal)
                if label.asked or target in near:
                    self.entries.append(_entry(label, amodal[number][target], evidence))

    def calibrate(self) -> tuple[Calibration, Promise | None]:
        """Fit both maps to what was tallied, then choose what can be promised with them."""
        pixels = fit_pixels(self.pixels)
        weighed = [(pixels.implied_error(e.evidence), 1 - e.iou) for e in self.entries if e.evidence is not None]
        labels = fit_labels([doubt for doubt, _ in weighed], [error for _, error in weighed])
        unasked = [1 - e.iou for e in self.entries if not e.asked]
        calibration = replace(
            labels,
            probability=pixels.probability,
            belongs=pixels.belongs,
            unasked=round(float(np.mean(unasked)), 6) if unasked else 0.0,
        )
        stated = [_stated(entry, calibration) for entry in self.entries]
        return calibration, choose_promise(stated, [e.iou for e in self.entries])


def _entry(label: Label, truth: np.ndarray, evidence: Evidence | None) -> Entry:
    iou = count_px(label.amodal & truth) / count_px(label.amodal | truth)
    return Entry(label.uncertainty, iou, evidence, label.asked)


def _stated(entry: Entry, calibration: Calibration) -> float:
    """Return the uncertainty that a label would carry under another calibration."""
    if not entry.asked:
        return calibration.unasked
    return entry.uncertainty if entry.evidence is None else calibration.uncertainty(entry.evidence)


@dataclass(frozen=True)
class Trust:
    """How far the uncertainty of labels can be believed.

    Attributes:
        scores: protocol -> row -> metric -> value.
        reliability: what -> bins, as plain JSON values: "network", "calibrated" (pixels), and "labels".
        risk_coverage: row -> curve, as plain JSON values: "labels", "oracle", "random".
    """

    scores: dict[str, dict[str, Scores]]
    reliability: dict[str, Any]
    risk_coverage: dict[str, Any]


def examine(tally: Tally, calibration: Calibration, promise: Promise | None) -> Trust:
    """Check a calibration and a promise on labels that they were not chosen on.

    `calibration_error` of pixels: 15 bins of equal width, weighted by pixels, over all pixels behind occluders and not
    visible; `calibration_error_equal_count`: 15 bins of about equal numbers of pixels. Of labels: ten groups of equal
    count. `area`: under the risk-coverage curve, the risk being the mean 1 - IoU of the labels kept; the oracle drops
    the worst first, random drops any.
    """
    diagrams = {
        "network": reliability.of_pixels(tally.pixels),
        "calibrated": reliability.of_pixels(tally.pixels, calibration),
    }
    adaptive = {
        "network": reliability.of_pixels(tally.pixels, equal_count=True),
        "calibrated": reliability.of_pixels(tally.pixels, calibration, equal_count=True),
    }
    scores: dict[str, dict[str, Scores]] = {PIXELS: {}}
    for row, diagram in diagrams.items():
        scores[PIXELS][row] = {
            "pixels": int(tally.pixels.pixels.sum()),
            "calibration_error": diagram.error,
            "calibration_error_equal_count": adaptive[row].error,
        }
    asked = [entry for entry in tally.entries if entry.asked]
    uncertainty, error = [e.uncertainty for e in asked], [1 - e.iou for e in asked]
    diagrams["labels"] = reliability.of_labels(uncertainty, error)
    scores[LABELS] = {
        "labels": {
            "labels": len(asked),
            "mean_uncertainty": _mean(uncertainty),
            "mean_error": _mean(error),
            "calibration_error": diagrams["labels"].error,
        }
    }
    risks = {
        "labels": reliability.risk_at_coverage(uncertainty, error),
        "oracle": reliability.risk_at_coverage(error, error),
        "random": reliability.risk_at_coverage([0.0] * len(error), error),
    }
    scores[RISK] = {row: {"labels": len(asked), "area": _mean(risk)} for row, risk in risks.items()}
    scores[PROMISE] = {"labels": _kept(tally.entries, promise)}
    return Trust(
        scores,
        {name: diagram.to_json() for name, diagram in diagrams.items()},
        {name: reliability.thin(risk) for name, risk in risks.items()},
    )


def _kept(entries: Sequence[Entry], promise: Promise | None) -> Scores:
    if promise is None:
        return {"labels": len(entries), "uncertainty_at_most": None}
    below = [e for e in entries if round(e.uncertainty, 6) <= promise.uncertainty_at_most]
    return {
        "labels": len(entries),
        "uncertainty_at_most": promise.uncertainty_at_most,
        "labels_up_to_it": len(below),
        "iou_above": promise.iou_above,
        "share_promised": promise.share,
        "share_seen": _mean([e.iou > promise.iou_above for e in below]),
    }


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None
