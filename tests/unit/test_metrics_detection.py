import json

import numpy as np
import pytest
from drawn_detections import annotation, detection, mask, truth

from amodalpl.errors import DataError
from amodalpl.masks import rle
from amodalpl.metrics.detection import LEFT_OUT, NAMES, coco_scores, protocol


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_exact_detections_score_one(iou_type):
    boxes = [(0, 0, 20, 20), (40, 40, 50, 50), (0, 60, 30, 20)]
    scores = coco_scores(
        truth(*(annotation(i + 1, b) for i, b in enumerate(boxes))), [detection(b, 0.9) for b in boxes], iou_type
    )
    assert tuple(scores) == NAMES
    assert scores["AP"] == scores["AP50"] == scores["AR100"] == scores["APs"] == scores["APm"] == 1
    assert scores["AR1"] == pytest.approx(1 / 3, abs=1e-6)  # one detection of three objects
    assert scores["APl"] is None and scores["ARl"] is None  # no object above 96 x 96


def test_iou_of_0_6_counts_at_three_of_ten_thresholds():
    """Shifted by a quarter: 15 / 25 = 0.6 in common, so a hit at 0.50, 0.55 and 0.60 only."""
    scores = coco_scores(truth(annotation(1, (0, 0, 20, 20))), [detection((5, 0, 20, 20), 0.9)], "segm")
    assert scores["AP50"] == 1 and scores["AP75"] == 0
    assert scores["AP"] == pytest.approx(0.3, abs=1e-6)


def test_a_better_scored_false_one_halves_ap50():
    found = [detection((60, 60, 20, 20), 0.9), detection((0, 0, 20, 20), 0.8)]
    assert coco_scores(truth(annotation(1, (0, 0, 20, 20))), found, "segm")["AP50"] == pytest.approx(0.5, abs=1e-6)


def test_masks_are_compared_not_their_boxes():
    """Two halves of one square: the boxes agree with neither, each mask is half of its box."""
    found = detection((0, 0, 20, 20), 0.9)
    found["segmentation"] = mask(0, 0, 10, 20)
    expected = truth(annotation(1, (0, 0, 20, 20)))
    assert coco_scores(expected, [found], "bbox")["AP75"] == 1
    assert coco_scores(expected, [found], "segm")["AP75"] == 0


def test_size_of_an_unmatched_detection_is_that_of_its_mask():
    """A thin frame of 60 x 60 covers 236 px, so it is small: it must not count as a false medium one."""
    frame = np.zeros((128, 128), dtype=bool)
    frame[60:120, 60:120] = True
    frame[61:119, 61:119] = False
    false_one = {**detection((60, 60, 60, 60), 0.99), "segmentation": rle.to_json(rle.encode(frame))}
    expected = truth(annotation(1, (0, 0, 40, 40)))
    assert coco_scores(expected, [false_one, detection((0, 0, 40, 40), 0.5)], "segm")["APm"] == 1


def test_no_detections_and_crowds(tmp_path):
    crowd = {**annotation(2, (60, 60, 30, 30)), "iscrowd": 1}
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(truth(annotation(1, (0, 0, 20, 20)), crowd)))
    assert coco_scores(file, [], "segm")["AP"] == 0
    found = [detection((65, 65, 10, 10), 0.99), detection((0, 0, 20, 20), 0.5)]
    assert coco_scores(file, found, "segm")["AP"] == 1  # what lies in a crowd is neither right nor wrong


def test_the_truth_is_not_changed():
    expected = truth(annotation(1, (0, 0, 20, 20)))
    before = json.dumps(expected)
    coco_scores(expected, [detection((0, 0, 20, 20), 0.9)], "segm")
    assert json.dumps(expected) == before


def test_what_is_left_out_is_neither_right_nor_wrong():
    found = [detection((60, 60, 20, 20), 0.9), detection((0, 0, 20, 20), 0.5)]
    kept, other = annotation(1, (0, 0, 20, 20)), annotation(2, (60, 60, 20, 20))
    ignored = truth(kept, {**other, LEFT_OUT: True})
    assert coco_scores(truth(kept), found, "segm")["AP"] == pytest.approx(0.5, abs=1e-6)  # dropped: a false one
    assert coco_scores(ignored, found, "segm")["AP"] == 1
    assert coco_scores(ignored, found[:1], "segm")["AP"] == 0  # it cannot be found either


def test_two_detections_on_one_left_out_truth_are_not_both_excused():
    ignored = truth(annotation(1, (0, 0, 20, 20)), annotation(2, (60, 60, 20, 20), **{LEFT_OUT: True}))
    found = [detection((60, 60, 20, 20), s) for s in (0.9, 0.8)] + [detection((0, 0, 20, 20), 0.5)]
    assert coco_scores(ignored, found, "segm")["AP50"] == pytest.approx(0.5, abs=1e-6)


def test_annotation_number_0_can_be_found():
    """pycocotools stores the id of the match, and takes 0 for no match."""
    assert coco_scores(truth(annotation(0, (0, 0, 20, 20))), [detection((0, 0, 20, 20), 0.9)], "segm")["AP"] == 1


def test_categories_count_unless_class_agnostic():
    expected = truth(annotation(1, (0, 0, 20, 20), category=1))
    found = [detection((0, 0, 20, 20), 0.9, category=2)]
    assert coco_scores(expected, found, "segm")["AP"] == 0
    assert coco_scores(expected, found, "segm", class_agnostic=True)["AP"] == 1


def test_bad_masks_name_the_place():
    expected = truth(annotation(1, (0, 0, 20, 20)))
    polygon = {**detection((0, 0, 9, 9), 0.5), "segmentation": [[0, 0, 9, 0, 9, 9]]}
    small = {**detection((0, 0, 9, 9), 0.5), "segmentation": mask(0, 0, 9, 9, size=(64, 64))}
    with pytest.raises(DataError, match=r"detections\[0\].segmentation: expected a compressed RLE .* got list"):
        coco_scores(expected, [polygon], "segm")
    with pytest.raises(DataError, match=r"detections\[1\].segmentation: expected a mask of 128x128 .* got \[64, 64\]"):
        coco_scores(expected, [detection((0, 0, 9, 9), 0.5), small], "segm")


def test_bad_input_names_the_place():
    expected = truth(annotation(1, (0, 0, 20, 20)))
    with pytest.raises(DataError, match=r"detections\[0\].image_id: expected one of truth, got 7"):
        coco_scores(expected, [detection((0, 0, 9, 9), 0.5, image=7)], "segm")
    with pytest.raises(DataError, match=r"detections\[0\]: expected segmentation, score and category_id, got"):
        coco_scores(expected, [{"image_id": 1, "category_id": 1, "score": 0.1, "bbox": [0, 0, 1, 1]}], "segm")
    with pytest.raises(DataError, match="truth: expected COCO annotations with images"):
        coco_scores({"images": []}, [], "segm")


def test_protocol_says_what_the_truth_was():
    assert protocol("bbox") == "COCO AP amodal (bbox)"
    assert "held-back" in protocol("segm", held_back=True)


def test_protocols_of_different_meaning_have_different_names():
    names = {
        protocol(kind, masks=masks, held_back=held_back, class_agnostic=agnostic)
        for kind in ("segm", "bbox")
        for masks in ("amodal", "visible")
        for held_back in (False, True)
        for agnostic in (False, True)
    }
    assert len(names) == 16
