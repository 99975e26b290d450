"""Warnings appear where something looks wrong by construction, and nowhere else."""

from __future__ import annotations

import re

import numpy as np
import pytest

from amodalpl.masks import rle
from amodalpl.report import sanity_checks


def test_gaps():
    assert sanity_checks.of_gaps(1, 5) == [] and sanity_checks.of_gaps(0, 0) == []
    assert sanity_checks.of_gaps(0, 5)[0].startswith("no two masks are near each other in any of 5 photos")


@pytest.mark.parametrize(
    ("losses", "warned"),
    [
        pytest.param([1.0] * 8, True, id="flat"),
        pytest.param([1.0, 1.0, 0.9, 0.9, 0.9, 0.9, 0.99, 0.99], True, id="one per cent"),
        pytest.param([1.0, 1.0, 0.9, 0.9, 0.9, 0.9, 0.97, 0.97], False, id="three per cent"),
        pytest.param([1.0] * 7, False, id="too short to say"),
        pytest.param([], False, id="empty"),
    ],
)
def test_loss(losses, warned):
    found = sanity_checks.of_training(losses)
    assert bool(found) == warned
    if warned:
        assert found[0].startswith("the loss did not fall: 1 at first")


def test_parts_of_the_holdout():
    assert sanity_checks.of_parts([1, 3], [2, 4]) == [] and sanity_checks.of_parts([1], []) == []
    assert sanity_checks.of_parts([1, 2], [1, 2])[0].startswith("thresholds were chosen on the very hold-out scenes")


def test_holdout():
    assert sanity_checks.of_holdout(0.02, 0.5) == [] and sanity_checks.of_holdout(None, None) == []
    assert sanity_checks.of_holdout(0.25, 0.5)[0].startswith(
        "everything grows: objects that nothing hides grow by 25 %"
    )
    assert sanity_checks.of_holdout(0.0, 0.0)[0].startswith("hidden parts are not found at all")


def test_labels():
    def labels(*parts):
        return np.concatenate([np.full(count, value) for count, value in parts])

    assert sanity_checks.of_labels(labels((500, 1.0), (500, 1.1)), 1000) == []
    assert sanity_checks.of_labels(labels((1000, 1.5)), 2000) == []  # each behind another that is whole
    assert sanity_checks.of_labels(labels((99, 2.0)), 99) == []  # too few to say
    assert sanity_checks.of_labels(labels((950, 1.1), (50, 1.0)), 1000) == []
    assert sanity_checks.of_labels(labels((951, 1.1), (49, 1.0)), 1000)[0].startswith(
        "everything grows: 951 labels by more than 5 %, of 1000 objects in front of or behind others"
    )
    assert sanity_checks.of_labels(labels((200, 1.1)), 0)[0].startswith(
        "everything grows: 200 labels"
    )  # without an order
    assert sanity_checks.of_labels(labels((1000, 1.04)), 1000) == []
    assert sanity_checks.of_labels(labels((600, 1.004), (400, 1.5)), 1000)[0].startswith(
        "labels barely grow: half of 1000"
    )


def test_order_all_one_way():
    assert sanity_checks.of_order(pairs=99, lower=99, larger=99) == []  # too few
    found = sanity_checks.of_order(pairs=100, lower=100, larger=100)
    assert [w.split(":")[1].split(" object")[0] for w in found] == [" the lower", " the larger"]
    assert "in 100 of 100 pairs" in found[0]
    assert sanity_checks.of_order(pairs=104, lower=100, larger=100) == []  # less than 97 %
    (upper,) = sanity_checks.of_order(pairs=100, lower=0, larger=50)
    assert "the upper object is in front in 100 of 100" in upper


def mask(filled):
    return rle.to_json(rle.encode(np.full((4, 4), filled)))


TRUTH = {
    "images": [{"id": 1}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [{"image_id": 1, "category_id": 1, "segmentation": mask(True)}],
}


def hit(**changes):
    return {"image_id": 1, "category_id": 1, "segmentation": mask(True), **changes}


@pytest.mark.parametrize(
    ("truth", "found", "reason"),
    [
        pytest.param({**TRUTH, "annotations": []}, [hit()], "the truth has no instances", id="no truth"),
        pytest.param(TRUTH, [], "nothing was detected", id="nothing found"),
        pytest.param(TRUTH, [hit(image_id=7)], "the ids of photos differ", id="photo ids"),
        pytest.param(
            TRUTH, [hit(category_id=2)], r"no detection is of a category .*detected: dog; truth: cat", id="categories"
        ),
        pytest.param(TRUTH, [hit(segmentation=mask(False))] * 3, "all 3 detected masks are empty", id="empty masks"),
        pytest.param(TRUTH, [hit()], "none of 1 detections covers a truth", id="bad masks"),
    ],
)
def test_reason_of_no_precision(truth, found, reason):
    (warning,) = sanity_checks.of_detector(0.0, truth, found)
    assert warning.startswith("AP is 0: ")
    assert re.search(reason, warning)


def test_no_warning_for_a_detector_that_finds_something():
    assert sanity_checks.of_detector(0.01, TRUTH, [hit()]) == []


def test_a_box_model_that_finds_little_is_said_to_be_no_source_of_labels():
    (told,) = sanity_checks.of_box_model(0.29)
    assert told.startswith("AP50 is 0.29 on what was held back")
    assert sanity_checks.of_box_model(0.3) == []


def test_boxes_that_never_overlap_teach_blade_nothing():
    def labels(*boxes):
        return {"annotations": [{"image_id": photo, "bbox": list(box)} for photo, *box in boxes]}

    apart = labels((1, 0, 0, 4, 4), (1, 4, 0, 4, 4), (2, 1, 1, 4, 4))  # touching is not overlapping
    (told,) = sanity_checks.of_overlaps(apart)
    assert told.startswith("no two whole boxes overlap in any of 2 photos")
    assert sanity_checks.of_overlaps(labels((1, 0, 0, 4, 4), (2, 1, 1, 4, 4), (2, 4, 4, 4, 4))) == []
