"""Counts, hold-out scores and detections of strangers: refused with a place before pycocotools sees them."""

from pathlib import Path

import pytest
from drawn_labels import SIZE_HW, label

from amodalpl.data.label_folder import check_hold_out, check_stats
from amodalpl.data.results_check import check_results
from amodalpl.errors import DataError

PATH = Path("labels.json")


def test_counts():
    assert check_stats(PATH, {}) == {} and check_stats(PATH, {"counts": {"left out": {"a": 1}}})
    for bad in ([], {"counts": []}, {"counts": {"left out": 3}}):
        with pytest.raises(DataError, match="labels.json: expected an object with counts"):
            check_stats(PATH, bad)


METRICS = {"scores": {"a": {"b": {"mIoU": 0.5}}}, "reliability": {"labels": {"stated": [0, 1], "seen": [0.1, 0.9]}}}
PROMISE = {"uncertainty_at_most": 0.2, "iou_above": 0.75, "share": 0.95}


@pytest.mark.parametrize(
    "metrics, card, reason",
    [
        ([], {}, "expected what `amodalpl complete` writes"),
        ({}, 3, "expected what `amodalpl complete` writes"),
        ({"scores": {"a": {"b": 3}}}, {}, "scores: expected tables"),
        ({"reliability": {"a": 3}}, {}, "expected curves"),
        ({"reliability": {"a": {"stated": [1], "seen": []}}}, {}, "expected a curve as two lists"),
        ({}, {"calibration": {"probability": ["a"], "belongs": [1]}}, "expected a curve as two lists"),
        ({}, {"promise": {"share": 1}}, "promise: expected shares"),
        ({}, {"promise": [1]}, "promise: expected shares"),
    ],
)
def test_what_a_report_cannot_show_of_a_hold_out(metrics, card, reason):
    check_hold_out(PATH, METRICS, {"promise": PROMISE, "calibration": {"probability": [0, 1], "belongs": [0, 1]}})
    check_hold_out(PATH, {}, {"promise": None})
    with pytest.raises(DataError, match=f"labels.json: .*{reason}"):
        check_hold_out(PATH, metrics, card)


RLE = label(1)["segmentation"]


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"score": float("nan")}, r"\[1\].score: expected a finite number"),
        ({"score": "0.5"}, r"\[1\].score: expected a finite number, got '0.5'"),
        ({"category_id": [1]}, r"\[1\].category_id: expected a whole number"),
        ({"bbox": [1, 2, 3]}, r"\[1\].bbox: expected x, y, width and height"),
        ({"bbox": [1, 2, 3, 10**400]}, r"\[1\].bbox: expected x, y, width and height"),
        ({"segmentation": [[1, 2, 3]]}, r"\[1\].segmentation: expected a compressed RLE"),
        (
            {"segmentation": {**RLE, "counts": "0"}},
            r"\[1\].segmentation: expected a mask of its photo, got corrupt RLE",
        ),
        ({"visible_mask": {**RLE, "size": [3, 4]}}, r"\[1\].visible_mask: expected a mask .* wrong size"),
    ],
)
def test_detections_that_cannot_be_scored(change, reason):
    good = {"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [1, 2, 3, 4], "segmentation": RLE}
    check_results(PATH, [good, {**good, "image_id": 99}, {}], {1: SIZE_HW})
    with pytest.raises(DataError, match=f"labels.json: {reason}"):
        check_results(PATH, [good, {**good, **change}], {1: SIZE_HW})
