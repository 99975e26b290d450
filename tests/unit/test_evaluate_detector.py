"""Visible masks of detections are scored against visible ones of the truth."""

import numpy as np
import pytest

from amodalpl.evaluation.detector import score_detections
from amodalpl.masks import rle
from amodalpl.metrics.detection import LEFT_OUT, ONLY_VISIBLE


def bar(left, right):
    frame = np.zeros((40, 60), bool)
    frame[5:20, left:right] = True
    return rle.to_json(rle.encode(frame))


def entry(whole, visible, **more):
    box = list(rle.box_xywh(whole))
    masks = {"segmentation": whole, "bbox": box, "area": rle.area_px(whole)}
    return {"image_id": 1, "category_id": 1, **masks, **({"visible_mask": visible} if visible else {}), **more}


TRUTH = {
    "images": [{"id": 1, "height": 40, "width": 60, "file_name": "a"}],
    "categories": [{"id": 1, "name": "a"}],
    "annotations": [
        entry(bar(5, 25), bar(5, 15), id=1, iscrowd=0),
        entry(bar(35, 55), None, id=2, iscrowd=0),  # nobody knows what is visible of it
    ],
}


@pytest.mark.parametrize(("seen", "expected"), [((5, 15), 1.0), ((15, 25), 0.0)], ids=["right half", "other half"])
def test_visible_masks(seen, expected):
    found = [entry(bar(5, 25), bar(*seen), score=0.9), entry(bar(35, 55), bar(35, 45), score=0.95)]
    scores = score_detections(TRUTH, found, held_back=False)
    assert scores["COCO AP amodal (segm)"]["detector"]["AP"] == pytest.approx(1)
    assert scores["COCO AP visible (segm)"]["detector"]["AP"] == pytest.approx(expected)


def test_models_of_one_mask_have_no_such_score():
    found = [entry(bar(5, 25), None, score=0.9)]
    assert set(score_detections(TRUTH, found, held_back=False)) == {"COCO AP amodal (segm)", "COCO AP amodal (bbox)"}


def test_an_object_whose_whole_mask_nobody_knows_counts_where_visible_masks_do():
    unknown = entry(bar(35, 45), bar(35, 45), id=2, iscrowd=0, **{LEFT_OUT: True})
    truth = {**TRUTH, "annotations": [TRUTH["annotations"][0], unknown]}
    found = [entry(bar(5, 25), bar(5, 15), score=0.9), entry(bar(35, 45), bar(46, 55), score=0.95)]
    scores = score_detections(truth, found, held_back=False)
    assert scores["COCO AP amodal (segm)"]["detector"]["AP"] == pytest.approx(1)
    assert scores["COCO AP visible (segm)"]["detector"]["AP"] < 0.5


@pytest.mark.parametrize("visible", [bar(5, 15), None], ids=["two masks", "one mask, learnt from visible ones"])
def test_a_truth_of_visible_masks_scores_visible_masks_alone(visible):
    truth = {**TRUTH, "annotations": [entry(bar(5, 15), None, id=1, iscrowd=0)], ONLY_VISIBLE: True}
    found = [entry(bar(5, 25) if visible else bar(5, 15), visible, score=0.9)]
    scores = score_detections(truth, found, held_back=False)
    assert list(scores) == ["COCO AP visible (segm)"]
    assert scores["COCO AP visible (segm)"]["detector"]["AP"] == pytest.approx(1)
