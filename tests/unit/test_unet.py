"""The reference's UNet: its size, its shapes, its start."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from amodalpl.models.unet import UNet, freeze_idle_biases


def test_has_the_size_of_the_reference():
    assert sum(p.numel() for p in UNet(2, 32).parameters()) == 3_352_002


@pytest.mark.parametrize(("channels", "width"), [(2, 4), (5, 4), (2, 8)])
def test_size_by_arithmetic(channels, width):
    def double(a, b):  # two 3x3 convolutions with bias, two normalisations
        return 9 * a * b + b + 2 * b + 9 * b * b + b + 2 * b

    w = width
    levels = [(channels, w), (w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w), (8 * w, 8 * w)]
    levels += [(16 * w, 4 * w), (8 * w, 2 * w), (4 * w, w), (2 * w, w)]
    expected = sum(double(a, b) for a, b in levels) + 2 * w + 2
    assert sum(p.numel() for p in UNet(channels, w).parameters()) == expected


@pytest.mark.parametrize("size_hw", [(16, 16), (32, 48)])
def test_output_has_two_channels_at_full_size(size_hw):
    assert UNet(2, 4).eval()(torch.rand(3, 2, *size_hw)).shape == (3, 2, *size_hw)


def test_skips_pair_levels_of_one_size():
    with pytest.raises(RuntimeError):  # not a multiple of 16: the levels no longer fit
        UNet(2, 4).eval()(torch.rand(1, 2, 24, 24))


@pytest.mark.parametrize("gain", [0.02, 1.0])
def test_starts_xavier_normal_with_the_gain(gain):
    torch.manual_seed(0)
    network = UNet(2, 32, gain)
    seen = 0
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            assert not module.bias.any()
            area = module.kernel_size[0] * module.kernel_size[1]
            expected = gain * math.sqrt(2 / (area * (module.in_channels + module.out_channels)))
            if module.weight.numel() > 5000:
                assert module.weight.std().item() == pytest.approx(expected, rel=0.05)
                seen += 1
        elif isinstance(module, nn.BatchNorm2d):
            assert abs(module.weight.mean().item() - 1) < 0.02
    assert seen == 17


def test_same_seed_same_weights():
    torch.manual_seed(5)
    first = UNet(2, 4).state_dict()
    torch.manual_seed(5)
    second = UNet(2, 4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_every_weight_gets_a_gradient():
    network = UNet(2, 4, init_gain=1.0)
    network(torch.rand(2, 2, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in network.named_parameters() if "weight" in n)


def test_biases_before_a_normalisation_have_no_gradient():
    torch.manual_seed(0)
    network = UNet(3, 4, init_gain=1.0).double()
    network(torch.randn(2, 3, 32, 32, dtype=torch.float64)).square().sum().backward()
    gradients = {name: weight.grad.abs().max().item() for name, weight in network.named_parameters()}
    freeze_idle_biases(network)
    frozen = {name for name, weight in network.named_parameters() if not weight.requires_grad}
    assert len(frozen) == 18 and "leave.bias" not in frozen
    assert all(gradients[name] < 1e-10 for name in frozen)
    assert all(gradients[name] > 1e-6 for name in gradients.keys() - frozen)


def test_answers_are_the_same_bit_for_bit_whether_it_learns_or_not():
    torch.manual_seed(0)
    network = UNet(3, 8, init_gain=1.0).eval().to(memory_format=torch.channels_last)
    x = torch.rand(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    learning = network(x)
    with torch.inference_mode():
        using = network(x)
    assert learning.requires_grad and torch.equal(learning, using)
