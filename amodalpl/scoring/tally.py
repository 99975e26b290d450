"""What labels of the hold-out say of themselves beside how good they are: to calibrate from, and to check by.

Labels are tallied as they are made in use, behind the occluders of the recovered order, so that mistakes of the order
count in everything that is learnt here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..calibration.choice import labels_help, pixels_help, promise_of_draws
from ..completion import reliability
from ..completion.asking import Query, Scene, ask
from ..completion.calibration import (
    Calibration,
    Evidence,
    PixelCounts,
    Promise,
    fit_labels,
    fit_pixels,
    weigh,
)
from ..completion.trained import TrainedCompleter
from ..labelling.answers import loosened, neighbours_both_ways, view_for
from ..labelling.pseudolabels import Label, SceneLabels
from ..masks.geometry import count_px
from ..masks.neighbours import near_pairs
from ..metrics.completion import Scores
from ..settings import LabelSettings

PIXELS = "hold-out pixels behind occluders: calibration"
LABELS = "hold-out labels with an occluder: calibration"
RISK = "hold-out labels with an occluder: risk-coverage"
PROMISE = "hold-out labels with an occluder: promise"


@dataclass(frozen=True)
class Entry:
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
class Tally:
    """Everything that is kept of labels: pixels as counts per scene, and an entry for each label with a neighbour."""

    by_scene: list[PixelCounts] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

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
        first = len(self.by_scene)
        self.by_scene += [PixelCounts() for _ in scenes]
        for answer in ask(trained.completer, shown, queries, view_for(trained.view, own), own.batch_size):
            number, target = answer.query.scene, answer.query.target
            label = found[number].labels[target]
            self.by_scene[first + number].add(answer, amodal[number][target][answer.window])
            if label is not None and not label.runaway:
                evidence[number, target] = weigh(answer, label.amodal[answer.window] | answer.modal)
        for number, scene in enumerate(scenes):
            near = neighbours_both_ways(near_pairs(scene.masks, settings.near_px))
            for target, label in enumerate(found[number].labels):
                if label is not None and (label.asked or target in near):
                    entry = _entry(label, amodal[number][target], evidence.get((number, target)))
                    self.entries.append(replace(entry, scene=first + number))

    def calibrate(self) -> tuple[Calibration, Promise | None]:
        """Fit both maps to what was tallied, each only where it helps, then choose what can be promised with them.

        The promise is about labels for which something was taken to be in front.
        """
        pixels = fit_pixels(self.pixels) if pixels_help(self.by_scene) else Calibration()
        weighed = [e for e in self.entries if e.evidence is not None]
        doubt = [pixels.implied_error(e.evidence) for e in weighed if e.evidence is not None]
        error = [1 - e.iou for e in weighed]
        labels = fit_labels(doubt, error) if labels_help(doubt, error, [e.scene for e in weighed]) else Calibration()
        unasked = [1 - e.iou for e in self.entries if not e.asked]
        calibration = replace(
            labels,
            probability=pixels.probability,
            belongs=pixels.belongs,
            unasked=round(float(np.mean(unasked)), 6) if unasked else 0.0,
        )
        asked = [e for e in self.entries if e.asked]
        stated = [_stated(entry, calibration) for entry in asked]
        return calibration, promise_of_draws(stated, [e.iou for e in asked], [e.scene for e in asked])


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
    scores[PROMISE] = {"labels": _kept(asked, promise)}
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
