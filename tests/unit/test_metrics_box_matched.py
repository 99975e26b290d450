import pytest
from drawn_detections import annotation, detection, mask, truth

from amodalpl.metrics.box_matched import MATCH_BOX, box_matched_scores
from amodalpl.metrics.detection import LEFT_OUT, coco_scores


def boxed(entry, box=None):
    return {**entry, MATCH_BOX: list(box or entry["bbox"])}


def test_exact_detection_scores_one():
    scores = box_matched_scores(truth(boxed(annotation(1, (0, 0, 20, 20)))), [boxed(detection((0, 0, 20, 20), 0.9))])
    assert scores == {"mAPr_50": 1, "mAPr_70": 1, "instances": 1, "without_mask": 0}


def test_mask_decides_after_the_box_has_assigned():
    """The box fits the first truth, the mask the second: by masks it would be right, assigned by its box it is not."""
    expected = truth(boxed(annotation(1, (0, 0, 20, 20))), boxed(annotation(2, (60, 60, 20, 20))))
    found = [boxed(detection((60, 60, 20, 20), 0.9), box=(0, 0, 20, 20))]
    assert coco_scores(expected, found, "segm")["AP50"] > 0
    assert box_matched_scores(expected, found)["mAPr_50"] == 0


def test_boxes_need_not_overlap_much():
    """Visible boxes of a third of the object assign it; the amodal mask is right."""
    expected = truth(boxed(annotation(1, (0, 0, 30, 20)), box=(0, 0, 10, 20)))
    found = [boxed(detection((0, 0, 30, 20), 0.9), box=(8, 0, 10, 20))]
    assert box_matched_scores(expected, found)["mAPr_70"] == 1


def test_thresholds_are_on_the_mask():
    half = {**boxed(detection((0, 0, 20, 20), 0.9)), "segmentation": mask(0, 0, 12, 20)}  # IoU 0.6 in an exact box
    scores = box_matched_scores(truth(boxed(annotation(1, (0, 0, 20, 20)))), [half])
    assert (scores["mAPr_50"], scores["mAPr_70"]) == (1, 0)


def test_truth_without_mask_excuses_its_detection():
    unmasked = boxed(annotation(2, (60, 60, 20, 20), **{LEFT_OUT: True}))
    expected = truth(boxed(annotation(1, (0, 0, 20, 20))), unmasked)
    wild = {**boxed(detection((60, 60, 20, 20), 0.9)), "segmentation": mask(60, 90, 5, 5)}
    scores = box_matched_scores(expected, [wild, boxed(detection((0, 0, 20, 20), 0.5))])
    assert (scores["mAPr_50"], scores["instances"], scores["without_mask"]) == (1, 1, 1)
    masked = truth(boxed(annotation(1, (0, 0, 20, 20))))
    found = [wild, boxed(detection((0, 0, 20, 20), 0.5))]
    assert box_matched_scores(masked, found)["mAPr_50"] == pytest.approx(0.5, abs=1e-6)


def test_second_detection_of_an_object_is_false():
    found = [boxed(detection((0, 0, 20, 20), s)) for s in (0.9, 0.8)] + [boxed(detection((40, 0, 20, 20), 0.7))]
    expected = truth(boxed(annotation(1, (0, 0, 20, 20))), boxed(annotation(2, (40, 0, 20, 20))))
    # precision 1 up to recall 0.5 (51 of 101 recalls), then 2/3
    assert box_matched_scores(expected, found)["mAPr_50"] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-6)


def test_crowds_excuse_and_assign_nothing():
    crowd = boxed({**annotation(2, (60, 60, 30, 30)), "iscrowd": 1})
    expected = truth(boxed(annotation(1, (0, 0, 20, 20))), crowd)
    found = [boxed(detection((65, 65, 10, 10), 0.99)), boxed(detection((0, 0, 20, 20), 0.5))]
    assert box_matched_scores(expected, found)["mAPr_50"] == 1


def test_categories_count_unless_class_agnostic():
    expected = truth(boxed(annotation(1, (0, 0, 20, 20), category=1)))
    found = [boxed(detection((0, 0, 20, 20), 0.9, category=2))]
    assert box_matched_scores(expected, found)["mAPr_50"] == 0
    assert box_matched_scores(expected, found, class_agnostic=True)["mAPr_50"] == 1


def test_nothing_to_find_is_none():
    assert box_matched_scores(truth(), [boxed(detection((0, 0, 20, 20), 0.9))])["mAPr_50"] is None
