"""How far the uncertainty of labels can be believed, on labels that it was not chosen on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..calibration import reliability
from ..calibration.collect import CalibrationSamples, LabelSample
from ..calibration.fit import Calibration, RiskGuarantee
from ..metrics.completion import Scores
from ..metrics.hidden_parts import HiddenParts

PIXELS = "hold-out pixels behind occluders: calibration"
LABELS = "hold-out labels with an occluder: calibration"
RISK = "hold-out labels with an occluder: risk-coverage"
PROMISE = "hold-out labels with an occluder: promise"


@dataclass(frozen=True)
class UncertaintyReport:
    """How far the uncertainty of labels can be believed.

    Attributes:
        scores: protocol -> row -> metric -> value.
        reliability: what -> bins, as plain JSON values: "network", "calibrated" (pixels), and "labels".
        risk_coverage: row -> curve, as plain JSON values: "labels", "oracle", "random".
        hidden: hidden parts of each photo, by row, to compare completers by.
    """

    scores: dict[str, dict[str, Scores]]
    reliability: dict[str, Any]
    risk_coverage: dict[str, Any]
    hidden: HiddenParts = field(default_factory=HiddenParts)


def report_uncertainty(
    samples: CalibrationSamples, calibration: Calibration, guarantee: RiskGuarantee | None
) -> UncertaintyReport:
    """Check a calibration and a guarantee on labels that they were not chosen on.

    `calibration_error` of pixels: 15 bins of equal width, weighted by pixels, over all pixels behind occluders and not
    visible; `calibration_error_equal_count`: 15 bins of about equal numbers of pixels. Of labels: ten groups of equal
    count. `area`: under the risk-coverage curve, the risk being the mean 1 - IoU of the labels kept; the oracle drops
    the worst first, random drops any.
    """
    diagrams = {
        "network": reliability.of_pixels(samples.pixels),
        "calibrated": reliability.of_pixels(samples.pixels, calibration),
    }
    adaptive = {
        "network": reliability.of_pixels(samples.pixels, equal_count=True),
        "calibrated": reliability.of_pixels(samples.pixels, calibration, equal_count=True),
    }
    scores: dict[str, dict[str, Scores]] = {PIXELS: {}}
    for row, diagram in diagrams.items():
        scores[PIXELS][row] = {
            "pixels": int(samples.pixels.pixels.sum()),
            "calibration_error": diagram.error,
            "calibration_error_equal_count": adaptive[row].error,
        }
    asked = [entry for entry in samples.labels if entry.asked]
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
    scores[PROMISE] = {"labels": _kept(asked, guarantee)}
    return UncertaintyReport(
        scores,
        {name: diagram.to_json() for name, diagram in diagrams.items()},
        {name: reliability.thin(risk) for name, risk in risks.items()},
    )


def _kept(entries: Sequence[LabelSample], guarantee: RiskGuarantee | None) -> Scores:
    if guarantee is None:
        return {"labels": len(entries), "uncertainty_at_most": None}
    below = [e for e in entries if round(e.uncertainty, 6) <= guarantee.uncertainty_at_most]
    return {
        "labels": len(entries),
        "uncertainty_at_most": guarantee.uncertainty_at_most,
        "labels_up_to_it": len(below),
        "iou_above": guarantee.iou_above,
        "share_promised": guarantee.share,
        "share_seen": _mean([e.iou > guarantee.iou_above for e in below]),
    }


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None
