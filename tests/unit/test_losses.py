"""Properties of the losses; their values by hand are in `tests/reference/test_losses_equations.py`."""

from __future__ import annotations

import pytest
import torch

from amodalpl.models import losses

ALL = [losses.weighted_cross_entropy, losses.asbu, losses.asbu_gaussian, losses.asbu_ubce]
each_loss = pytest.mark.parametrize("loss", ALL, ids=lambda f: f.__name__)


def drawn(seed=0, batch=2, size=6):
    torch.manual_seed(seed)
    outputs = torch.randn(batch, 2, size, size)
    target = torch.rand(batch, 1, size, size) < 0.5
    weight = torch.where(torch.rand(batch, 1, size, size) < 0.3, 5.0, 1.0)
    return outputs, target, weight


@each_loss
def test_is_a_mean_over_images_and_pixels(loss):
    outputs, target, weight = drawn()
    singles = [loss(outputs[i : i + 1], target[i : i + 1], weight[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(outputs, target, weight), torch.stack(singles).mean())


@each_loss
def test_is_linear_in_the_weight(loss):
    outputs, target, weight = drawn()
    ones = torch.ones_like(weight)
    together = loss(outputs, target, ones) + loss(outputs, target, weight)
    torch.testing.assert_close(loss(outputs, target, ones + weight), together)


@each_loss
def test_pixels_without_weight_do_not_count(loss):
    outputs, target, weight = drawn()
    weight[..., 0] = 0
    changed = outputs.clone()
    changed[..., 0] += 3
    torch.testing.assert_close(loss(outputs, target, weight), loss(changed, target, weight))


@each_loss
def test_gradient_moves_the_mask_towards_the_target(loss):
    outputs, target, weight = drawn()
    outputs.requires_grad_()
    loss(outputs, target, weight).backward()
    towards_mask = outputs.grad[:, 1:] if loss is losses.weighted_cross_entropy else outputs.grad[:, :1]
    assert (towards_mask[target] < 0).all() and (towards_mask[~target] > 0).all()
    assert torch.isfinite(outputs.grad).all()


@each_loss
def test_stays_a_number_for_extreme_outputs(loss):
    target, weight = torch.tensor([True, False]).view(1, 1, 1, 2), torch.full((1, 1, 1, 2), 5.0)
    for mask_channel in (-60.0, 60.0):
        outputs = torch.full((1, 2, 1, 2), 20.0)
        outputs[:, 0] = mask_channel
        assert torch.isfinite(loss(outputs, target, weight))


def test_uncertainty_is_above_zero_even_where_softplus_is_not():
    mask, u = losses.mask_and_uncertainty(torch.tensor([0.0, -200.0]).view(1, 2, 1, 1))
    assert mask.item() == 0.5
    assert u.item() == pytest.approx(losses.UNCERTAINTY_FLOOR)


def test_weight_of_pixels():
    occluder = torch.tensor([False, True, False, True]).view(1, 1, 1, 4)
    unknown = torch.tensor([False, False, True, True]).view(1, 1, 1, 4)
    assert losses.pixel_weight(occluder, 5.0).flatten().tolist() == [1, 5, 1, 5]
    assert losses.pixel_weight(occluder, 5.0, unknown).flatten().tolist() == [1, 5, 0, 0]


def test_weight_along_the_contact():
    modal, occluder = torch.zeros(2, 1, 1, 1, 20, dtype=torch.bool)
    modal[..., :4], occluder[..., 4:15] = True, True
    weight = losses.pixel_weight(occluder, 5.0, modal=modal, contact=3.0)
    assert weight.flatten().tolist() == [1] * 4 + [15] * losses.CONTACT_PX + [5] * 5 + [1] * 5
    with pytest.raises(ValueError, match="expected modal, got None"):
        losses.pixel_weight(occluder, 5.0, contact=3.0)


@each_loss
def test_the_answer_does_not_matter_where_it_is_unknown(loss):
    outputs, target, _ = drawn()
    occluder, unknown = torch.rand(2, 2, 1, 6, 6) < 0.4
    weight = losses.pixel_weight(occluder, 5.0, unknown)
    assert loss(outputs, target, weight) == loss(outputs, target ^ unknown, weight)
    assert loss(outputs, target, weight) != loss(outputs, target ^ ~unknown, weight)


def test_pixels_elsewhere_have_a_weight_of_their_own():
    occluder = torch.tensor([[[[True, False, False]]]])
    unknown = torch.tensor([[[[False, False, True]]]])
    assert losses.pixel_weight(occluder, 5.0, unknown, elsewhere=2.0).flatten().tolist() == [5.0, 2.0, 0.0]
