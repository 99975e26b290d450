"""Each equation of the mask heads against numbers worked out by hand or written out in numpy."""

import math

import numpy as np
import pytest
import torch

from amodalpl.detector.heads.mask_losses import (
    MaskTruth,
    Trust,
    mask_iou,
    mask_loss,
    matching_loss,
    of_class,
    probability_loss,
    weighted_class_loss,
)


def truth(amodal, **weights):
    return MaskTruth(torch.zeros(len(amodal), dtype=torch.int64), amodal, amodal, **weights)


@pytest.fixture
def drawn():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 4, generator=generator)
    target = (torch.rand(3, 4, 4, generator=generator) > 0.5).float()
    return logits, target, generator


def cross_entropy(logits, target):
    p = 1 / (1 + np.exp(-logits.numpy().astype(float)))
    t = target.numpy()
    return -(t * np.log(p) + (1 - t) * np.log(1 - p))


def test_of_class():
    logits = torch.arange(12.0).reshape(2, 3, 1, 2)
    assert of_class(logits, torch.tensor([2, 0])).tolist() == [[[4.0, 5.0]], [[6.0, 7.0]]]


def test_without_weights_it_is_mask_rcnns_mean(drawn):
    logits, target, _ = drawn
    assert float(mask_loss(logits, target, truth(target))) == pytest.approx(cross_entropy(logits, target).mean())


def test_weights_of_objects_lower_the_loss_and_those_of_pixels_choose(drawn):
    logits, target, generator = drawn
    of_objects, of_method = torch.rand(3, generator=generator), torch.rand(3, generator=generator)
    of_pixels = torch.rand(3, 4, 4, generator=generator)
    weights = {"pixel_weights": of_pixels, "instance_weights": of_objects}
    each = cross_entropy(logits, target) * (of_objects * of_method).numpy()[:, None, None]
    expected = (each * of_pixels.numpy()).sum() / of_pixels.numpy().sum()
    assert float(mask_loss(logits, target, truth(target, **weights), of_method)) == pytest.approx(expected, rel=1e-5)
    same = float(mask_loss(logits, target, truth(target, pixel_weights=torch.full((3, 4, 4), 0.3))))
    assert same == pytest.approx(cross_entropy(logits, target).mean(), rel=1e-5)


def test_a_pixel_of_weight_0_is_not_learnt(drawn):
    logits, target, _ = drawn
    logits.requires_grad_(True)
    pixels = torch.ones(3, 4, 4)
    pixels[1, 2, 3] = 0
    mask_loss(logits, target, truth(target, pixel_weights=pixels)).backward()
    assert logits.grad[1, 2, 3] == 0 and (logits.grad != 0).sum() == 47


def test_no_regions_give_no_loss_but_a_gradient():
    logits = torch.zeros(0, 4, 4, requires_grad=True)
    loss = mask_loss(logits, torch.zeros(0, 4, 4), truth(torch.zeros(0, 4, 4)))
    loss.backward()
    assert float(loss) == 0 and logits.grad.shape == (0, 4, 4)


def test_probability_loss(drawn):
    logits, target, _ = drawn
    expected = cross_entropy(logits, target).mean()
    assert float(probability_loss(torch.sigmoid(logits), target, truth(target))) == pytest.approx(expected, rel=1e-4)


def test_trust_takes_from_doubtful_pixels_and_uncertain_labels():
    trust = Trust(pixels=0.5, ignore_above=0.8, labels=0.25)
    assert trust.pixel_weights(torch.tensor([0.0, 0.4, 0.8, 0.9])).tolist() == pytest.approx([1, 0.8, 0.6, 0])
    assert trust.instance_weights(torch.tensor([0.0, 1.0])).tolist() == [1, 0.75]
    assert trust.of_pixels and trust.of_objects
    assert not Trust().of_pixels and not Trust().of_objects


def test_mask_iou():
    logits = torch.tensor([[[1.0, 1.0, -1.0]], [[-1.0, -1.0, -1.0]], [[-1.0, -1.0, -1.0]]])
    target = torch.tensor([[[1.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]]])
    assert mask_iou(logits, target).tolist() == pytest.approx([1 / 3, 0, 0])


def test_matching_loss_is_one_minus_the_cosine_and_moves_the_first_only():
    first = torch.tensor([[[[3.0, 4.0]]], [[[1.0, 0.0]]]], requires_grad=True)
    second = torch.tensor([[[[4.0, 3.0]]], [[[0.0, 2.0]]]], requires_grad=True)
    loss = matching_loss(first, second)
    assert float(loss) == pytest.approx(((1 - 24 / 25) + 1) / 2)
    loss.backward()
    assert first.grad is not None and second.grad is None


def test_weighted_class_loss():
    logits = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0]])
    labels = torch.tensor([1, 1])
    expected = (0.5 * -math.log(3 / 4) + 2 * -math.log(1 / 5)) / 2
    assert float(weighted_class_loss(logits, labels, torch.tensor([0.5, 2.0]))) == pytest.approx(expected)
    assert float(weighted_class_loss(logits[:0], labels[:0])) == 0
