"""How detections' masks are encoded, and boxes of models that say none."""

import numpy as np
import pytest

pytest.importorskip("mmdet")

from mmengine.config import ConfigDict

from amodalpl.detector import inference
from amodalpl.masks import rle


def test_masks_in_their_boxes_and_beyond_are_encoded_whole():
    rng = np.random.default_rng(0)
    masks = np.zeros((40, 30, 50), dtype=bool)
    boxes = []
    for number, mask in enumerate(masks):
        x, y = rng.integers(0, 40), rng.integers(0, 22)
        mask[y : y + 8, x : x + 10] = rng.random(mask[y : y + 8, x : x + 10].shape) > 0.4
        off = rng.uniform(-3, 3) if number % 2 else 0.0
        boxes.append([x + off, y + off, x + 10 + off, y + 8 + off])
    masks[5] = True  # in no box
    boxes[6] = [0.0, 0.0, 0.0, 0.0]
    boxes[7] = [-20.0, -20.0, -5.0, -5.0]  # outside of the photo
    boxes[8] = [60.0, 40.0, 90.0, 80.0]
    masks[9] = False
    assert inference.encode_in_boxes(masks, boxes) == [rle.encode(mask) for mask in masks]


def test_a_model_without_boxes_gets_those_of_its_masks():
    mask = np.zeros((30, 50), dtype=bool)
    mask[3:7, 10:30] = True
    assert inference._box((0.0, 0.0, 0.0, 0.0), rle.encode(mask)) == (10.0, 3.0, 30.0, 7.0)
    assert inference._box((1.0, 2.0, 3.0, 4.0), rle.encode(mask)) == (1.0, 2.0, 3.0, 4.0)
    assert inference._box((0.0, 0.0, 0.0, 0.0), rle.encode(np.zeros_like(mask))) == (0.0, 0.0, 0.0, 0.0)


class Head:
    def __init__(self, least, **more):
        self.test_cfg = ConfigDict(score_thr=least)
        self.__dict__.update(more)


@pytest.mark.parametrize(
    ("head", "within"),
    [(Head(0.05), 0.3), (Head(0.5), 0.5), (Head(0.05, rescoring="off"), 0.3), (Head(0.05, rescoring="code"), 0.05)],
    ids=["raised", "higher already", "no rescoring", "scores may rise"],
)
def test_what_is_left_out_anyway_gets_no_masks(head, within):
    detector = type("D", (), {"model": type("M", (), {"roi_head": head})})
    before = head.test_cfg.score_thr
    with pytest.raises(KeyError), inference._from(detector, 0.3):
        assert head.test_cfg.score_thr == within
        raise KeyError
    assert head.test_cfg.score_thr == before
