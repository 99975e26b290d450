"""Half precision: nearly the same probabilities, and the same where fp16 has no numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from amodalpl.completion.precision import HalfNetwork, in_precision
from amodalpl.models.completer import Completer, build_completer, fuse_for_use
from amodalpl.models.completer_table import METHODS

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def patches(size):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(2, 1, size, size, generator=generator) < 0.5 for name in ("modal", "occluder", "boundary")}


@pytest.mark.parametrize(("precision", "most"), [("fp16", 0.004), ("bf16", 0.03)])
@pytest.mark.parametrize("method", ["layered", "asbu"])
def test_probabilities_hardly_change(method, precision, most):
    torch.manual_seed(0)
    completer = fuse_for_use(build_completer(method, 8, False, init_gain=1.0))
    with torch.inference_mode():
        exact = completer.read(completer(**patches(32)))
        rounded = completer.read(in_precision(completer, precision, CPU)(**patches(32)))
    assert rounded.dtype == torch.float32
    assert exact.std() > 0.01
    assert 0 < (rounded - exact).abs().max() < most


class Loud(nn.Module):
    """Answers with numbers that fp16 does not have."""

    def forward(self, x):
        return (x * 7e4 if torch.is_autocast_enabled("cpu") is False else (x * 7e4).half())[:, :2]


def test_what_fp16_cannot_hold_is_computed_again():
    completer = Completer(Loud(), METHODS["pcnet-m"]).eval()
    outputs = in_precision(completer, "fp16", CPU)(**patches(16))
    assert torch.equal(outputs, completer(**patches(16))) and outputs.max() == 7e4


def test_auto_is_half_on_a_gpu_only():
    completer = build_completer("asbu", 4, False).eval()
    assert in_precision(completer, "auto", CPU) is completer
    assert in_precision(completer, "fp32", CPU) is completer
    half = in_precision(completer, "auto", GPU)
    assert isinstance(half.network, HalfNetwork) and half.network.dtype == torch.float16
    assert half.network.network is completer.network and not isinstance(completer.network, HalfNetwork)
    assert not half.training and half.method is completer.method


class Asked(nn.Module):
    """Notes whether convolutions may take TF32."""

    def forward(self, x):
        self.allowed = torch.backends.cudnn.allow_tf32
        return x[:, :2]


def test_fp32_on_a_gpu_is_not_tf32():
    completer = Completer(Asked(), METHODS["pcnet-m"]).eval()
    before = torch.backends.cudnn.allow_tf32
    exact = in_precision(completer, "fp32", GPU)
    exact(**patches(16))
    assert completer.network.allowed is False
    assert torch.backends.cudnn.allow_tf32 is before is torch.backends.cudnn.enabled is True


@pytest.mark.gpu
def test_fp32_on_a_gpu_is_that_of_the_processor():
    torch.manual_seed(0)
    completer = fuse_for_use(build_completer("layered", 8, False, init_gain=1.0))
    with torch.inference_mode():
        expected = completer.read(completer(**patches(64)))
        exact = in_precision(completer.to(GPU), "fp32", GPU)
        found = exact.read(exact(**{name: mask.to(GPU) for name, mask in patches(64).items()}))
    torch.testing.assert_close(found.cpu(), expected, atol=2e-5, rtol=0)


@pytest.mark.gpu
def test_probabilities_hardly_change_on_a_gpu():
    torch.manual_seed(0)
    completer = fuse_for_use(build_completer("layered", 8, False, init_gain=1.0)).to(GPU)
    given = {name: mask.to(GPU) for name, mask in patches(32).items()}
    with torch.inference_mode():
        exact = completer.read(completer(**given))
        rounded = completer.read(in_precision(completer, "auto", GPU)(**given))
    assert 0 < (rounded - exact).abs().max() < 0.004
