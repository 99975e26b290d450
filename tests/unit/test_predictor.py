"""Predictions of objects: crops out, probabilities back in image pixels, each under its request."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from amodalpl.completion.predictor import (
    CompletionPrediction,
    CompletionPredictor,
    CompletionRequest,
    CropSpec,
    Scene,
)
from amodalpl.masks.boxes import Square
from amodalpl.masks.geometry import occlusion_boundary
from amodalpl.models.completer import Completer, build_completer
from amodalpl.models.completer_table import METHODS

CROP = CropSpec(64)


class Fake(nn.Module):
    """Answers with a function of its input, as PCNet-M's logits; keeps what it was shown."""

    def __init__(self, inside):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.inside = inside
        self.shown = []

    def forward(self, x):
        self.shown.append(x.clone())
        logit = torch.where(self.inside(x), 40.0, -40.0)
        return torch.stack([-logit / 2, logit / 2], dim=1)


def fake(inside, method="pcnet-m", uses_image=False):
    return Completer(Fake(inside), METHODS[method], uses_image).eval()


def everywhere(x):
    return torch.ones_like(x[:, 0], dtype=torch.bool)


def rectangle(rows, columns, size_hw=(60, 80)):
    mask = np.zeros(size_hw, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


# a square, a bar that touches it, another bar with two free pixels between
SQUARE, BAR, FAR_BAR = rectangle((20, 40), (20, 40)), rectangle((20, 40), (40, 44)), rectangle((20, 40), (42, 46))
SCENE = Scene(np.stack([SQUARE, BAR]))


REQUEST = CompletionRequest(SCENE, 0, (1,))


def predict_one(completer, request=REQUEST, gap_px=0):
    return CompletionPredictor(completer, CROP, gap_px, 4).predict([request])[request]


def in_frame(prediction, part, size_hw=(60, 80)):
    frame = np.zeros(size_hw, part.dtype)
    frame[prediction.window] = part
    return frame


def test_window_is_the_crop_in_whole_pixels():
    prediction = predict_one(fake(everywhere))
    # side sqrt(3 * 400) = 34.64 about (30, 30): 12.68 to 47.32
    assert prediction.window == (slice(12, 48), slice(12, 48))
    assert prediction.probability.shape == prediction.behind.shape == prediction.modal.shape == (36, 36)


def test_a_crop_can_be_given():
    completer = fake(everywhere, "layered")
    prediction = predict_one(completer, replace(REQUEST, crop=Square(30.5, 20.0, 20.0)))
    assert prediction.window == (slice(20, 40), slice(30, 51))
    np.testing.assert_array_equal(prediction.modal, SQUARE[prediction.window])
    np.testing.assert_array_equal(prediction.behind, BAR[prediction.window])
    assert len(completer.network.shown) == 1  # what reaches its edge is not predicted again in a wider one
    shown = completer.network.shown[0][0, 0]
    assert (
        shown[:, : int(9.5 / 20 * 64)].all() and not shown[:, 32:].any()
    )  # the square ends after 9.5 of its 20 pixels


def test_a_crop_may_leave_the_image_and_miss_the_object():
    prediction = predict_one(fake(everywhere), replace(REQUEST, crop=Square(70.0, 50.0, 30.0)))
    assert prediction.window == (slice(50, 60), slice(70, 80)) and not prediction.modal.any()


def test_what_is_visible_and_what_is_behind():
    prediction = predict_one(fake(everywhere))
    np.testing.assert_array_equal(in_frame(prediction, prediction.modal), SQUARE)
    np.testing.assert_array_equal(in_frame(prediction, prediction.behind), BAR)


def test_network_that_is_sure_everywhere_is_sure_in_the_whole_window():
    prediction = predict_one(fake(everywhere))
    assert prediction.probability[1:-1, 1:-1].min() > 0.999


def test_network_that_repeats_the_occluder_returns_it_in_place():
    prediction = predict_one(fake(lambda x: x[:, 1] > 0))
    np.testing.assert_array_equal(in_frame(prediction, prediction.probability) > 0.5, BAR)
    prediction = predict_one(fake(lambda x: x[:, 0] > 0))
    np.testing.assert_array_equal(in_frame(prediction, prediction.probability) > 0.5, SQUARE)


def test_network_is_shown_the_boundary_between_the_two():
    completer = fake(everywhere, "boundary-pcnet-m")
    predict_one(completer)
    plain = fake(everywhere, "pcnet-m")
    predict_one(plain)
    modal, occluder = (plain.network.shown[0][0, n].numpy().astype(bool) for n in (0, 1))
    np.testing.assert_array_equal(
        completer.network.shown[0][0, 1].numpy().astype(bool), occlusion_boundary(modal, occluder, 5)
    )


@pytest.mark.parametrize(("gap_px", "closed"), [(0, 0), (1, 0), (2, 2), (3, 2)])
def test_gap_is_given_to_the_occluder(gap_px, closed):
    prediction = predict_one(fake(everywhere), replace(REQUEST, scene=Scene(np.stack([SQUARE, FAR_BAR]))), gap_px)
    behind = in_frame(prediction, prediction.behind)
    rows = behind[22:38]  # away from the corners
    assert rows[:, 40:42].sum() == 16 * closed
    assert behind[20:40, 42:46].all() and not (behind & SQUARE).any()


def test_closed_gap_brings_the_boundary_back():
    """The reference's boundary is empty when masks are some pixels apart at patch scale."""
    far = Scene(np.stack([SQUARE, rectangle((20, 40), (43, 47))]))  # 3 px = 5.5 patch pixels
    widths = {}
    for gap_px in (0, 3):
        completer = fake(everywhere, "boundary-pcnet-m")
        predict_one(completer, replace(REQUEST, scene=far), gap_px)
        widths[gap_px] = int(completer.network.shown[0][0, 1].sum())
    assert widths[0] == 0 and widths[3] > 100


def test_occluders_are_united():
    third = rectangle((40, 44), (20, 40))
    scene = Scene(np.stack([SQUARE, BAR, third]))
    prediction = predict_one(fake(everywhere), CompletionRequest(scene, 0, (1, 2)))
    np.testing.assert_array_equal(in_frame(prediction, prediction.behind), BAR | third)


@pytest.mark.parametrize("method", ["pcnet-m", "asbu"])
def test_batches_equal_singles_whatever_their_order(method):
    torch.manual_seed(1)
    completer = build_completer(method, 4, False, init_gain=1.0).eval()
    rng = np.random.default_rng(0)
    scenes = []
    for _ in range(2):
        masks = np.zeros((4, 50, 70), bool)
        for mask in masks:
            y, x = rng.integers(0, 30, 2)
            mask[y : y + rng.integers(5, 20), x : x + rng.integers(5, 30)] = True
        for index in range(4):
            masks[index] &= ~masks[:index].any(axis=0)
        scenes.append(Scene(masks))
    requests = [
        CompletionRequest(scene, target, tuple(k for k in range(4) if k != target))
        for scene in scenes
        for target in range(4)
        if scene.masks[target].any()
    ]
    singles = CompletionPredictor(completer, CropSpec(32), 0, 1).predict(requests)
    for size in (4, 100):
        batched = CompletionPredictor(completer, CropSpec(32), 0, size).predict(reversed(requests))
        assert set(batched) == set(singles) == set(requests)
        for request, one in singles.items():
            many = batched[request]
            assert one.request == many.request == request and one.window == many.window
            np.testing.assert_allclose(one.probability, many.probability, atol=1e-4)
            np.testing.assert_array_equal(one.behind, many.behind)
    assert len({p.probability.tobytes() for p in singles.values()}) > 4


def test_batch_size_is_what_the_network_sees():
    completer = fake(everywhere)
    requests = [replace(REQUEST, crop=Square(20.0, 20.0, side)) for side in (20.0, 21.0, 22.0, 23.0, 24.0)]
    assert [p.request for p in CompletionPredictor(completer, CROP, 0, 2).stream(requests)] == requests
    assert [len(x) for x in completer.network.shown] == [2, 2, 1]


def test_no_requests_no_calls():
    completer = fake(everywhere)
    assert CompletionPredictor(completer, CROP).predict([]) == {}
    assert completer.network.shown == []


def test_a_request_that_comes_twice_is_predicted_once():
    completer = fake(everywhere)
    assert set(CompletionPredictor(completer, CROP).predict([REQUEST, replace(REQUEST)])) == {REQUEST}
    assert [len(x) for x in completer.network.shown] == [1]


@pytest.mark.parametrize(
    ("changes", "gap_px", "asked"),
    [
        pytest.param({}, 2, False, id="the same"),
        pytest.param({"occluders": (2,)}, 2, True, id="behind another object"),
        pytest.param({"occluders": (1, 2)}, 2, True, id="behind one more"),
        pytest.param({"target": 1, "occluders": (0,)}, 2, True, id="about another object"),
        pytest.param({"crop": Square(20.0, 20.0, 30.0)}, 2, True, id="in another crop"),
        pytest.param({"scene": Scene(np.stack([SQUARE, BAR]))}, 2, True, id="in another scene"),
        pytest.param({}, 3, True, id="with another tolerance"),
    ],
)
def test_known_predictions_are_taken_over_where_they_answer_the_request(changes, gap_px, asked):
    completer = fake(everywhere)
    three = CompletionRequest(Scene(np.stack([SQUARE, BAR, rectangle((40, 44), (20, 40))])), 0, (1,))
    known = CompletionPredictor(completer, CROP, 2).predict([three])
    completer.network.shown.clear()
    request = replace(three, **changes)
    prediction = CompletionPredictor(completer, CROP, gap_px).predict([request], known)[request]
    assert bool(completer.network.shown) is asked
    assert prediction.request == request and prediction.gap_px == gap_px
    assert (prediction is known[three]) is not asked


def test_gap_is_not_closed_over_a_third_object():
    """A wall stands in the gap between target and occluder; its pixels are neither's."""
    wall = rectangle((20, 40), (41, 42))
    prediction = predict_one(fake(everywhere), CompletionRequest(Scene(np.stack([SQUARE, FAR_BAR, wall])), 0, (1,)), 2)
    behind = in_frame(prediction, prediction.behind)
    assert behind[FAR_BAR].all() and not behind[wall].any()


@pytest.mark.parametrize(
    ("window", "grown", "reaches"),
    [
        pytest.param(np.s_[10:50, 10:70], np.s_[0:2, 20], True, id="top"),
        pytest.param(np.s_[10:50, 10:70], np.s_[38:40, 20], True, id="bottom"),
        pytest.param(np.s_[10:50, 10:70], np.s_[20, 0:2], True, id="left"),
        pytest.param(np.s_[10:50, 10:70], np.s_[20, 58:60], True, id="right, beyond the image's height"),
        pytest.param(np.s_[10:50, 10:70], np.s_[2:38, 2:58], False, id="within"),
        pytest.param(np.s_[0:60, 0:80], np.s_[:, :], False, id="all edges are the image's"),
        pytest.param(np.s_[10:60, 0:80], np.s_[40:50, :], False, id="the bottom is the image's, short of its width"),
    ],
)
def test_growth_at_an_edge_of_the_window_that_is_not_the_images(window, grown, reaches):
    shape = tuple(side.stop - side.start for side in window)
    amodal, nothing = np.zeros((2, *shape), bool)
    amodal[grown] = True
    prediction = CompletionPrediction(REQUEST, 0, window, amodal.astype(np.float32), amodal, nothing)
    assert prediction.reaches_inner_edge(amodal) is reaches
    grown_nowhere = CompletionPrediction(REQUEST, 0, window, amodal.astype(np.float32), amodal, amodal)
    assert not grown_nowhere.reaches_inner_edge(amodal)  # what is visible has not grown


def test_object_at_the_edge_of_the_image():
    masks = np.stack([rectangle((0, 20), (60, 80)), rectangle((0, 20), (50, 60))])
    prediction = predict_one(fake(everywhere), replace(REQUEST, scene=Scene(masks)))
    assert prediction.window == (slice(0, 28), slice(52, 80))
    np.testing.assert_array_equal(in_frame(prediction, prediction.modal), masks[0])


def test_photo_is_cropped_like_the_masks():
    image = np.zeros((60, 80, 3), np.uint8)
    image[SQUARE] = (200, 0, 0)
    completer = fake(lambda x: x[:, 2] > 0, uses_image=True)  # red above its mean
    prediction = predict_one(completer, replace(REQUEST, scene=Scene(SCENE.masks, image)))
    found = in_frame(prediction, prediction.probability) > 0.5
    assert (found & SQUARE).sum() / (found | SQUARE).sum() > 0.95
