"""The scores that matter, and what is said where a baseline is ahead."""

from __future__ import annotations

from amodalpl_cli.headline import LINES, behind, headline

MICRO, MEANS, ORDER = (
    "completion, micro (PCNet/ASBU): all",
    "completion, per-instance means: occluded",
    "order, O-Acc (PCNet/ASBU)",
)


def test_the_given_truth_comes_before_the_hold_out():
    rows = {"modal mask": {"miou": 0.8}, "labels": {"miou": 0.9}}
    other = {"modal mask": {"miou": 0.7}, "labels": {"miou": 0.6}}
    (both,) = headline({f"hold-out {MICRO}": other, MICRO: rows})
    (alone,) = headline({f"hold-out {MICRO}": other})
    assert (both.ours, both.baseline, both.against) == (0.9, 0.8, "")
    assert (alone.ours, alone.baseline, alone.against) == (0.6, 0.7, "hold-out")


def test_lines_come_in_order_and_rows_of_other_conditions_are_no_baselines():
    order = {"labels": {"accuracy": 0.5}, "labels, eroded": {"accuracy": 0.9}, "oracle": {"accuracy": 1.0}}
    detector = {"COCO AP amodal (segm, held-back labels)": {"detector": {"AP50": 0.7}}}
    micro = {"labels": {"miou": 0.9, "invisible_miou": 0.4}, "convex hull": {"miou": 0.8, "invisible_miou": None}}
    found = headline({**detector, ORDER: order, MICRO: micro})
    assert [r.line for r in found] == [LINES[0], LINES[1], LINES[3], LINES[4]]
    assert [r.baseline for r in found] == [0.8, None, None, None]
    assert found[-1].against == "held-back labels"
    assert behind(found) == []


def test_a_baseline_that_is_ahead_is_named_with_the_reason():
    micro = {"labels": {"miou": 0.7, "invisible_miou": 0.1}, "convex hull": {"miou": 0.8, "invisible_miou": 0.2}}
    hull, labels = {"win_rate": 0.9, "loss_rate": 0.1}, {"win_rate": 0.6, "loss_rate": 0.0}
    means = {"convex hull": hull, "labels": labels}
    said = behind(headline({MICRO: micro, MEANS: means}))
    assert len(said) == 2  # two lines with one reason are said at once
    assert "“whole objects: mIoU” (convex hull) and “hidden parts: mIoU” (convex hull): train longer" in said[0]
    assert "labels: 60% changed, 100% of them for the better; convex hull: 100% changed, 90%" in said[1]


def test_a_score_that_is_missing_is_no_line():
    assert headline({ORDER: {"labels": {"accuracy": None}}, "of another tool": {"labels": {"x": 1}}}) == []
