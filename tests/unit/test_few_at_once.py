"""A network that takes few patches at a time answers as it would take all of them."""

from __future__ import annotations

import pytest
import torch

from amodalpl.models.few_at_once import FEW, FewAtOnce
from amodalpl.models.unet import UNet


class Watched(UNet):
    """Notes how many patches come at a time."""

    def features(self, x):
        self.came.append(len(x))
        return super().features(x)


@pytest.fixture
def network():
    torch.manual_seed(0)
    watched = Watched(3, 4, init_gain=1.0).eval()
    watched.came = []
    return watched


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("patches", [1, FEW, FEW + 1, 3 * FEW, 33])
def test_answers_are_those_of_all_at_once(network, threads, patches):
    x = torch.rand(patches, 3, 32, 32)
    with torch.inference_mode():
        found = FewAtOnce(network)(x)
        came = sorted(network.came)
        expected = network(x)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert sum(came) == patches and came[-1] <= FEW and (came[0] > 1 or patches == 1)
    assert torch.get_num_threads() == threads


def test_half_precision_reaches_every_thread(network):
    x = torch.rand(3 * FEW, 3, 32, 32)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found, expected = FewAtOnce(network)(x), network(x)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
    assert not torch.allclose(found.float(), network(x), rtol=1e-6, atol=1e-6)


def test_an_error_in_a_thread_is_an_error(network):
    with pytest.raises(RuntimeError), torch.inference_mode():
        FewAtOnce(network)(torch.rand(2 * FEW, 3, 24, 24))  # not a multiple of 16: the levels do not fit


@pytest.mark.parametrize("patches", [1, FEW, FEW + 1])
def test_the_number_of_threads_changes_no_bit(patches):
    torch.manual_seed(0)
    network, x = FewAtOnce(UNet(4, 32).eval()), torch.rand(patches, 4, 128, 128)
    x = x.contiguous(memory_format=torch.channels_last)
    network = network.to(memory_format=torch.channels_last)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                found.append(network(x))
        finally:
            torch.set_num_threads(before)
    assert torch.equal(*found)
