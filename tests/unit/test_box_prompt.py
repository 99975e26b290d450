"""Models asked about boxes: the same masks as when they find the boxes themselves, at the location that fits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from amodalpl.detector import box_prompt, config, model_table, training
from amodalpl.detector.box_prompt import best_location, iou_with, knows, open_box_prompt, prompt_of, proposals
from amodalpl.detector.heads import blade
from amodalpl.detector.inference import detect_photos
from amodalpl.detector.trained import Detector, transforms_of
from amodalpl.errors import DataError, OutputError
from amodalpl.masks import rle
from amodalpl.settings_values import resolve

SMALL = {
    "backbone": "resnet18_small", "channels": 16, "image_scale": [128, 96], "rpn_proposals": 20, "score_threshold": 0.0,
}  # fmt: skip
REGIONS, LOCATIONS = ("mask-rcnn", "orcnn", "bbtp"), ("boxinst", "blade")
CLASSES = [{"id": 1, "name": "disc"}, {"id": 2, "name": "box"}]


def detector(model):
    """A network whose random weights are large enough for masks of all kinds."""
    settings = resolve({"detector": {**SMALL, "model": model}}).detector
    network = training.build(model_table.model_config(settings, 2, "GN"), 0)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if "controller" in name or "mask" in name or "param" in name:
                weights.add_(0.3 * torch.randn_like(weights))
    transforms = transforms_of(config.test_pipeline(settings))
    return Detector(model, network.eval(), transforms, CLASSES, torch.device("cpu"), {})


def prompt_and_detector(model):
    made = detector(model)
    return prompt_of(made), made


def filled(box_xyxy):
    x0, y0, x1, y1 = (round(edge) for edge in box_xyxy)
    mask = np.zeros((48, 64), bool)
    mask[max(y0, 0) : y1, max(x0, 0) : x1] = True
    return mask


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)  # seen at twice its size


@pytest.mark.parametrize("model", (*REGIONS, *LOCATIONS))
def test_answers_are_the_masks_that_the_model_finds_itself(model, image, monkeypatch):
    monkeypatch.setattr(blade, "tight_boxes", lambda masks, found: found)  # its detections have boxes of masks
    prompt, made = prompt_and_detector(model)
    [found] = detect_photos(made, [image], least_score=0.0, batch_size=1)
    if model in LOCATIONS:  # a detection has no bounds, so a box may not bound the answer either
        real = made.model.mask_head.probabilities
        monkeypatch.setattr(made.model.mask_head, "probabilities", lambda logits: real(logits)._replace(hidden=None))
        made.model.data_preprocessor.regress = "visible"
    agree = []
    for detection in found[:8]:
        x0, y0, x1, y1 = detection.box_xyxy
        name = "disc" if detection.category_id == 1 else "box"
        [answer] = prompt.segment(image, [(x0, y0, x1 - x0, y1 - y0)], [name], whole=model in REGIONS)
        mask = rle.decode(detection.mask) | answer.visible  # which belongs to the whole object here
        agree.append((mask & answer.amodal).sum() / (mask | answer.amodal).sum())
    assert agree and np.median(agree) > 0.97, agree


@pytest.mark.parametrize("model", (*REGIONS, *LOCATIONS))
def test_several_boxes_are_answered_as_each_alone(model, image):
    prompt, _ = prompt_and_detector(model)
    boxes, names = [(4, 4, 30, 30), (20, 10, 40, 20), (50, 30, 5, 5)], ["disc", "box", "disc"]
    together = prompt.segment(image, boxes, names, whole=False)
    for box, name, answer in zip(boxes, names, together, strict=True):
        [alone] = prompt.segment(image, [box], [name], whole=False)
        assert (alone.amodal != answer.amodal).mean() < 0.002
        assert not (answer.visible & ~answer.amodal).any()
        assert not (answer.visible & ~filled((box[0], box[1], box[0] + box[2], box[1] + box[3]))).any()
        assert 0 <= answer.uncertainty <= 1
    assert prompt.segment(image, [], [], whole=False) == []


@pytest.mark.parametrize("model", ("mask-rcnn", "blade"))
def test_a_whole_box_bounds_the_whole_object(model, image):
    prompt, _ = prompt_and_detector(model)
    [answer] = prompt.segment(image, [(10, 8, 30, 20)], ["disc"], whole=True)
    ys, xs = answer.amodal.nonzero()
    assert answer.amodal.any() and xs.min() >= 10 and xs.max() < 40 and ys.min() >= 8 and ys.max() < 28


@pytest.mark.parametrize("model", LOCATIONS)
def test_a_visible_box_bounds_what_is_said_to_be_seen(model, image, monkeypatch):
    """Everything is seen and nothing is hidden: then nothing is left beyond the box that says where it is seen."""
    prompt, made = prompt_and_detector(model)
    real = made.model.mask_head.probabilities

    def all_seen(logits):
        ones = torch.ones_like(real(logits).whole)
        return real(logits)._replace(whole=ones, **({"visible": ones, "hidden": 0 * ones} if model == "blade" else {}))

    monkeypatch.setattr(made.model.mask_head, "probabilities", all_seen)
    if model == "boxinst":  # whose locations tell whole boxes: the given one is all that they know of here
        monkeypatch.setattr(box_prompt, "envelope", lambda given, own: given)
    [answer] = prompt.segment(image, [(10, 8, 30, 20)], ["disc"], whole=False)
    ys, xs = answer.amodal.nonzero()
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (10, 39, 8, 27)


def test_the_cut_of_the_model_stays(image):
    prompt, made = prompt_and_detector("mask-rcnn")
    before = made.model.roi_head.test_cfg.mask_thr_binary
    prompt.segment(image, [(4, 4, 30, 30)], ["disc"], whole=False)
    assert made.model.roi_head.test_cfg.mask_thr_binary == before


POINTS = torch.tensor([[4.0, 4], [12, 4], [4, 12], [12, 12], [8, 8]])
STRIDES = torch.tensor([8.0, 8, 8, 8, 16])
BOX = torch.tensor([2.0, 2, 14, 14])


def test_the_location_with_the_best_box_is_chosen():
    predicted = torch.tensor([[2.0, 2, 14, 14], [2, 2, 14, 8], [0, 0, 4, 4], [2, 2, 14, 13], [2, 2, 14, 12]])
    assert best_location(BOX, POINTS, STRIDES, predicted) == 0
    assert best_location(torch.tensor([2.0, 2, 14, 12]), POINTS, STRIDES, predicted) == 4


def test_only_the_middle_of_the_box_is_looked_at():
    large = torch.tensor([0.0, 0, 60, 60])  # its middle is 18 px or more from all points but none
    at = best_location(large, POINTS, STRIDES, large.expand(5, 4))
    assert at == 4  # 22 px away each way, within 1.5 of its stride of 16


def test_a_box_between_the_locations_gets_the_nearest_of_its_level():
    small = torch.tensor([6.0, 6, 7, 7])
    assert best_location(small, POINTS, STRIDES, torch.zeros(5, 4)) == 0
    wide = torch.tensor([100.0, 100, 220, 220])
    assert best_location(wide, POINTS, STRIDES, torch.zeros(5, 4)) == 4


def test_iou_of_boxes():
    found = iou_with(torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]), torch.tensor([0.0, 0, 2, 2]))
    torch.testing.assert_close(found, torch.tensor([1.0, 1 / 3, 0.0]))


def test_a_class_agnostic_model_takes_anything(image):
    prompt, _ = prompt_and_detector("bbtp")
    assert knows(prompt, "disc") and not knows(prompt, "car")
    prompt.class_names = ["object"]
    assert knows(prompt, "car") and len(prompt.segment(image, [(4, 4, 30, 30)], ["car"], whole=False)) == 1
    prompt.class_names = ["disc"]
    assert not knows(prompt, "car")


@pytest.mark.parametrize(
    ("probability", "expected"), [(0.8, pytest.approx(0.2)), (0.0, 1.0)], ids=["an object", "nothing"]
)
def test_uncertainty_is_one_minus_the_mean_probability(image, monkeypatch, probability, expected):
    prompt, made = prompt_and_detector("boxinst")
    real = made.model.mask_head.probabilities
    everywhere = lambda logits: real(logits)._replace(whole=torch.full_like(real(logits).whole, probability))  # noqa: E731
    monkeypatch.setattr(made.model.mask_head, "probabilities", everywhere)
    [answer] = prompt.segment(image, [(10, 8, 30, 20)], ["disc"], whole=True)
    assert answer.amodal.sum() == (600 if probability else 0)
    assert answer.uncertainty == expected


def test_proposals_are_boxes_of_the_photo(image):
    _, made = prompt_and_detector("mask-rcnn")
    found = proposals(made, image)
    assert found.shape[1] == 4 and 0 < len(found) <= 20
    assert (found[:, :2] >= -1e-3).all() and (found[:, :2] + found[:, 2:] <= np.array([64, 48]) + 1e-3).all()
    with pytest.raises(DataError, match=r"model boxinst: expected one with a proposal network"):
        proposals(detector("boxinst"), image)


def test_a_folder_of_something_else_is_one_line(tmp_path):
    with pytest.raises(DataError, match="nowhere: expected the folder of `amodalpl train-detector`"):
        open_box_prompt(tmp_path / "nowhere", torch.device("cpu"))
    (tmp_path / "run.json").write_text('{"stage": "synth", "state": "done"}')
    with pytest.raises(OutputError, match="got one of 'synth'"):
        open_box_prompt(tmp_path, torch.device("cpu"))
