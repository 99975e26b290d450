"""How detections' masks are encoded, and boxes of models that say none."""

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope

from amodalpl.detector import encoded_masks, inference
from amodalpl.detector.encoded_masks import encode_in_boxes, encode_kept, encode_on_device, masks_encoded
from amodalpl.detector.mmdetection import FCNMaskHead
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
    assert encode_in_boxes(masks, boxes) == [rle.encode(mask) for mask in masks]


@pytest.fixture
def pasted():
    """Return what pastes 7 masks of 28 x 28 into a photo of 60 x 80 that the network saw at half its size."""
    init_default_scope("mmdet")  # whatever was built before
    torch.manual_seed(0)
    init_default_scope("mmdet")
    head = FCNMaskHead(num_convs=1, in_channels=4, conv_out_channels=4, num_classes=1)
    logits = torch.randn(7, 1, 28, 28)
    corners = torch.rand(7, 2) * torch.tensor([30.0, 20.0])
    boxes = torch.cat([corners, corners + torch.tensor([9.0, 7.0])], dim=1)
    boxes[3] = torch.tensor([50.0, 40.0, 60.0, 50.0])  # outside
    meta = {"ori_shape": (60, 80), "img_shape": (30, 40), "scale_factor": (0.5, 0.5)}
    config = ConfigDict(mask_thr_binary=0.5)

    def paste(rescale):
        own = boxes.clone()
        masks = head._predict_by_feat_single(
            mask_preds=logits.clone(), bboxes=own, labels=torch.zeros(7, dtype=torch.int64), img_meta=meta,
            rcnn_test_cfg=config, rescale=rescale,
        )  # fmt: skip
        return masks, own

    return paste


DRAWN = np.random.default_rng(0).random((3, 5, 4)) < 0.5


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize(
    "masks",
    [
        pytest.param(DRAWN, id="drawn"),
        pytest.param(np.stack([np.zeros((5, 4), bool), np.ones((5, 4), bool), ~DRAWN[0]]), id="empty and full"),
        pytest.param(DRAWN[:1], id="one"),
        pytest.param(DRAWN[:0], id="none"),
    ],
)
def test_masks_encoded_on_their_device_are_the_same(masks, device):
    assert encode_on_device(torch.from_numpy(masks).to(device)) == [rle.encode(mask) for mask in masks]


@pytest.mark.gpu
def test_on_a_gpu_masks_are_encoded_as_on_the_processor(monkeypatch):
    monkeypatch.setattr(encoded_masks, "PIXELS_AT_ONCE", 2 * 5 * 4)  # in two parts
    masks, boxes = torch.from_numpy(DRAWN), torch.tensor([[0.0, 0, 4, 5]] * 3)
    assert encode_kept(masks.cuda(), [2, 0, 1], boxes) == encode_kept(masks, [2, 0, 1], boxes)


@pytest.mark.parametrize(
    ("rescale", "at_once"),
    [(True, 1), (False, 1), (False, 3 * 60 * 80), (False, 2**26)],
    ids=["in its box", "whole", "three whole at once", "all whole at once"],
)
def test_masks_are_encoded_as_they_are_pasted(pasted, rescale, at_once, monkeypatch):
    monkeypatch.setattr(encoded_masks, "PIXELS_AT_ONCE", at_once)
    whole, boxes = pasted(rescale)
    paste = FCNMaskHead._predict_by_feat_single
    with pytest.raises(KeyError), masks_encoded():
        found, same_boxes = pasted(rescale)
        raise KeyError
    assert found == [rle.encode(mask.numpy()) for mask in whole] and torch.equal(boxes, same_boxes)
    assert rle.area_px(found[0]) > 0
    assert encode_kept(found, [4, 1], boxes) == encode_kept(whole, [4, 1], boxes) == [found[4], found[1]]
    assert FCNMaskHead._predict_by_feat_single is paste


def test_a_model_without_boxes_gets_those_of_its_masks():
    mask = np.zeros((30, 50), dtype=bool)
    mask[3:7, 10:30] = True
    assert inference.box_of((0.0, 0.0, 0.0, 0.0), rle.encode(mask)) == (10.0, 3.0, 30.0, 7.0)
    assert inference.box_of((1.0, 2.0, 3.0, 4.0), rle.encode(mask)) == (1.0, 2.0, 3.0, 4.0)
    assert inference.box_of((0.0, 0.0, 0.0, 0.0), rle.encode(np.zeros_like(mask))) == (0.0, 0.0, 0.0, 0.0)


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
    with pytest.raises(KeyError), inference.masks_from(detector, 0.3):
        assert head.test_cfg.score_thr == within
        raise KeyError
    assert head.test_cfg.score_thr == before
