"""The convolution that trains faster on some CPUs: the same function and gradients as torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from amodalpl.models.conv_avx2 import PATCHES_COPIED, Convolution, train_at_full_speed
from amodalpl.models.unet import UNet


def without_avx512(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


def gradients(module, x):
    module.zero_grad()
    outputs = module(x)
    outputs.square().sum().backward()
    return [outputs.detach(), *(p.grad.clone() for p in module.parameters())]


@pytest.mark.parametrize("batch", [1, PATCHES_COPIED, PATCHES_COPIED + 3])
def test_same_as_torch(batch):
    torch.manual_seed(0)
    x = torch.randn(batch, 4, 12, 16).to(memory_format=torch.channels_last)
    theirs = nn.Conv2d(4, 8, 3, padding=1)
    ours = Convolution.like(theirs)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    assert "PlainWeightGradient" in type(ours(a).grad_fn).__name__
    found, expected = gradients(ours, a), gradients(theirs, b)
    torch.testing.assert_close([*found, a.grad], [*expected, b.grad], rtol=1e-5, atol=1e-4)


def test_gradients_by_finite_differences():
    torch.manual_seed(0)
    layer = Convolution(2, 3, 3, padding=1).double()
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, layer.weight, layer.bias))


def test_photos_need_no_gradient():
    layer = Convolution(2, 4, 3, padding=1)
    layer(torch.rand(3, 2, 8, 8)).sum().backward()
    assert layer.weight.grad.abs().sum() > 0 and layer.bias.grad.tolist() == pytest.approx([3 * 64] * 4)


def test_bf16_and_use_keep_to_torch():
    layer, x = Convolution(2, 4, 3, padding=1), torch.rand(1, 2, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert "PlainWeightGradient" not in type(layer.eval()(x).grad_fn).__name__


def test_a_cpu_that_needs_it_gets_it(monkeypatch):
    network = UNet(2, 8)
    without_avx512(monkeypatch)
    before, drawn = dict(network.named_parameters()), torch.get_rng_state()
    network.down.eval()
    train_at_full_speed(network)
    found = [type(m) for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert found == [*[Convolution] * 18, nn.Conv2d]  # the last is 1x1
    assert all(after is before[name] for name, after in network.named_parameters())
    assert not network.down[0][0].training and network.up[0][0].training
    assert torch.equal(torch.get_rng_state(), drawn)


def test_other_cpus_keep_to_torch(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    network = UNet(2, 8)
    train_at_full_speed(network)
    assert not any(isinstance(m, Convolution) for m in network.modules())


def test_whole_network_learns_the_same(monkeypatch):
    torch.manual_seed(0)
    network = UNet(2, 8, init_gain=1.0).to(memory_format=torch.channels_last)
    x = torch.rand(3, 2, 32, 32).to(memory_format=torch.channels_last)
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "register_hook", lambda *_: None)  # gradients as torch alone makes them
        plain = gradients(network, x)
    without_avx512(monkeypatch)
    train_at_full_speed(network)
    torch.testing.assert_close(gradients(network, x), plain, rtol=1e-4, atol=1e-3)
