"""How far stated uncertainty can be believed, by hand."""

from __future__ import annotations

import json

import pytest

from amodalpl.calibration.collect import CalibrationSamples, LabelSample
from amodalpl.calibration.fit import Calibration, PixelCounts, RiskGuarantee
from amodalpl.evaluation.uncertainty_report import LABELS, PIXELS, PROMISE, RISK, report_uncertainty


def test_nothing_tallied():
    report = report_uncertainty(CalibrationSamples(), Calibration(), None)
    assert report.scores[PIXELS]["network"] == {
        "pixels": 0,
        "calibration_error": None,
        "calibration_error_equal_count": None,
    }
    assert report.scores[LABELS]["labels"]["mean_error"] is None
    assert report.scores[PROMISE] == {"labels": {"labels": 0, "uncertainty_at_most": None}}
    assert report.risk_coverage["labels"] == {"coverage": [], "risk": []}
    json.dumps(report.scores, allow_nan=False)


def test_examination_by_hand():
    pixels = PixelCounts()
    pixels.pixels[700], pixels.inside[700] = 80, 40
    labels = [
        LabelSample(0.0, 0.7, None, False),
        LabelSample(0.1, 1.0, None, True),
        LabelSample(0.2, 0.8, None, True),
        LabelSample(0.2, 0.5, None, True),
        LabelSample(0.6, 0.9, None, True),
    ]
    report = report_uncertainty(
        CalibrationSamples([pixels], labels), Calibration(belongs=(0.0, 0.5 / 0.7)), RiskGuarantee(0.2)
    )
    assert report.scores[PIXELS]["network"]["calibration_error"] == pytest.approx(0.2)
    assert report.scores[PIXELS]["calibrated"]["calibration_error"] == pytest.approx(0, abs=1e-6)
    of_labels = report.scores[LABELS]["labels"]
    assert of_labels["labels"] == 4
    assert of_labels["mean_uncertainty"] == pytest.approx(1.1 / 4) and of_labels["mean_error"] == pytest.approx(0.8 / 4)
    assert of_labels["calibration_error"] == pytest.approx((0.1 + 0 + 0.3 + 0.5) / 4)
    assert {row: v["area"] for row, v in report.scores[RISK].items()} == {
        "labels": pytest.approx((0 + 0.35 / 2 + 0.7 / 3 + 0.2) / 4),
        "oracle": pytest.approx((0 + 0.05 + 0.1 + 0.2) / 4),
        "random": pytest.approx(0.2),
    }
    assert report.scores[PROMISE]["labels"] == {
        "labels": 4,
        "uncertainty_at_most": 0.2,
        "labels_up_to_it": 3,
        "iou_above": 0.75,
        "share_promised": 0.95,
        "share_seen": pytest.approx(2 / 3),
    }
    assert set(report.reliability) == {"network", "calibrated", "labels"}
    assert report.risk_coverage["random"]["risk"] == pytest.approx([0.2] * 4)
