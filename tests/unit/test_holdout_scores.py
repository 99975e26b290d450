"""Scoring on a hold-out, with a network whose answers are known."""

from __future__ import annotations

import pytest
from drawn_holdout import SETTINGS, VIEW, holdout, trained

from amodalpl.calibration.choose_thresholds import choose
from amodalpl.evaluation.completer_on_holdout import quick_score, score
from amodalpl.evaluation.uncertainty_report import PIXELS, PROMISE
from amodalpl.settings import LabelSettings


def test_eroded_masks_are_counted_against_the_whole_truth(tmp_path):
    """A gap of two pixels: the square is completed over it when the tolerance says so, and not at all otherwise."""
    protocol = "hold-out completion, micro (PCNet/ASBU): all, visible masks eroded by 1 px"
    found = {gap: score(trained(0.9), holdout(tmp_path), LabelSettings(gap_px=gap)).scores for gap in (1, 2)}
    assert list(found[2][protocol]) == ["modal mask", "convex hull", "labels"]
    assert found[2][protocol]["modal mask"]["miou"] == pytest.approx((18 * 2 + 18 * 18 + 6 * 6) / (80 + 480 + 64))
    assert found[1][protocol]["labels"]["invisible_miou"] == 0
    # of 80 hidden pixels the eroded bar's 36 are surely found; the columns of the gap are the square's or bar's rim
    assert 0.4 < found[2][protocol]["labels"]["invisible_miou"] < 1
    order = found[2]["hold-out order, directed pairs (InstaOrder)"]
    assert order["labels, visible masks eroded by 1 px"]["f1"] == 1.0
    assert found[1]["hold-out order, directed pairs (InstaOrder)"]["labels, visible masks eroded by 1 px"]["f1"] == 0


def test_eroded_masks_are_scored_as_they_are_labelled(tmp_path):
    """Loosened by what they were eroded, square and bar touch again, and all that is hidden is found."""
    protocol = "hold-out completion, micro (PCNet/ASBU): all, visible masks eroded by 1 px"
    asked = {
        contour_inset_px: LabelSettings(gap_px=2, contour_inset_px=contour_inset_px) for contour_inset_px in (0, 1)
    }
    found = {px: score(trained(0.9), holdout(tmp_path), own).scores[protocol]["labels"] for px, own in asked.items()}
    assert found[1]["invisible_miou"] == 1 > found[0]["invisible_miou"]
    # the column between the square as drawn and its growth is filled too; of the bar and the third a rim is missing
    assert found[1]["miou"] == pytest.approx((18 * 2 + (18 * 18 + 20 + 20 * 4) + 6 * 6) / (80 + 480 + 64))


def test_order_by_hand(tmp_path):
    scores = score(trained(0.9), holdout(tmp_path), SETTINGS).scores
    one_way, directed = (
        scores[f"hold-out order, {name}"] for name in ("O-Acc (PCNet/ASBU)", "directed pairs (InstaOrder)")
    )
    assert one_way["labels"] == {"pairs": 1, "accuracy": 1.0, "accuracy_all_pairs": 1.0}
    assert directed["labels"] == {"pairs": 1, "predicted": 1, "precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert one_way["smaller in front"]["accuracy"] == 1.0 and one_way["larger in front"]["accuracy"] == 0.0
    undecided = score(trained(0.1), holdout(tmp_path), SETTINGS).scores
    assert undecided["hold-out order, directed pairs (InstaOrder)"]["labels"]["recall"] == 0


def test_uncertainty_is_examined_on_the_reporting_half(tmp_path):
    found = holdout(tmp_path, ["choose"] * 59 + ["report"] * 2)
    trust = score(choose(trained(0.42), found, SETTINGS), found, SETTINGS)
    assert trust.scores[PIXELS]["network"]["calibration_error"] == pytest.approx(0.58, abs=1e-3)
    assert trust.scores[PIXELS]["calibrated"] == {
        "pixels": 160,
        "calibration_error": 0.0,
        "calibration_error_equal_count": 0.0,
    }
    assert trust.scores[PROMISE]["labels"]["labels_up_to_it"] == trust.scores[PROMISE]["labels"]["labels"] == 2
    assert trust.scores[PROMISE]["labels"]["share_seen"] == 1.0


def test_quick_score_by_hand(tmp_path):
    found = holdout(tmp_path)
    assert quick_score(trained(0.9).completer, VIEW, found, SETTINGS) == {
        "hold-out miou": 1.0,
        "hold-out invisible_miou": 1.0,
    }
    below = quick_score(trained(0.4).completer, VIEW, found, SETTINGS)
    assert below["hold-out miou"] == pytest.approx(400 / 480) and below["hold-out invisible_miou"] == 0


def test_scores_by_hand(tmp_path):
    scores = score(trained(0.9), holdout(tmp_path), SETTINGS).scores
    everything = scores["hold-out completion, micro (PCNet/ASBU): all"]
    occluded = scores["hold-out completion, micro (PCNet/ASBU): occluded"]
    assert list(everything) == ["modal mask", "convex hull", "labels", "labels, true order"]
    total = 80 + 480 + 64
    assert everything["modal mask"]["miou"] == pytest.approx((total - 80) / total)
    assert everything["modal mask"]["invisible_miou"] == 0
    for row in ("labels", "labels, true order"):
        assert everything[row]["miou"] == everything[row]["invisible_miou"] == 1.0
    assert everything["labels"]["instances"] == 3 and occluded["labels"]["instances"] == 1
    assert occluded["modal mask"]["miou"] == pytest.approx(400 / 480)
