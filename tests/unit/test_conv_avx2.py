"""The convolution that trains faster on some CPUs: the same function and gradients as torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from amodalpl.models import conv_avx2, unet
from amodalpl.models.conv_avx2 import PATCHES_COPIED, Convolution
from amodalpl.models.unet import UNet


@pytest.fixture(params=[True, False], ids=["slow CPU", "other"])
def slow(request, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2" if request.param else "AVX512")
    return request.param


def gradients(module, x):
    module.zero_grad()
    outputs = module(x)
    outputs.square().sum().backward()
    return [outputs.detach(), *(p.grad.clone() for p in module.parameters())]


@pytest.mark.parametrize("batch", [1, PATCHES_COPIED, PATCHES_COPIED + 3])
def test_same_as_torch(slow, batch):
    torch.manual_seed(0)
    x = torch.randn(batch, 4, 12, 16).to(memory_format=torch.channels_last)
    ours, theirs = Convolution(4, 8), nn.Conv2d(4, 8, 3, padding=1)
    theirs.load_state_dict(ours.state_dict())
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    assert ("PlainWeightGradient" in type(ours(a).grad_fn).__name__) == slow
    found, expected = gradients(ours, a), gradients(theirs, b)
    torch.testing.assert_close([*found, a.grad], [*expected, b.grad], rtol=1e-5, atol=1e-4)


def test_gradients_by_finite_differences(monkeypatch):
    monkeypatch.setattr(conv_avx2, "_is_slow_in_channels_last", lambda x: True)  # in double precision too
    torch.manual_seed(0)
    layer = Convolution(2, 3).double()
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, layer.weight, layer.bias))


def test_photos_need_no_gradient(slow):
    layer = Convolution(2, 4)
    layer(torch.rand(3, 2, 8, 8)).sum().backward()
    assert layer.weight.grad.abs().sum() > 0 and layer.bias.grad.tolist() == pytest.approx([3 * 64] * 4)


def test_bf16_and_use_keep_to_torch(slow):
    layer, x = Convolution(2, 4), torch.rand(1, 2, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert "PlainWeightGradient" not in type(layer.eval()(x).grad_fn).__name__


def test_whole_network_learns_the_same(monkeypatch):
    torch.manual_seed(0)
    network = UNet(2, 8, init_gain=1.0).to(memory_format=torch.channels_last)
    x = torch.rand(3, 2, 32, 32).to(memory_format=torch.channels_last)
    found = []
    for slow in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(conv_avx2, "_is_slow_in_channels_last", lambda x, slow=slow: slow)
            if not slow:
                patch.setattr(unet, "_in_channels_last", lambda gradient: gradient)
            found.append(gradients(network, x))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-3)
