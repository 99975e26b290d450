"""A network that takes few patches at a time answers as it would take all of them."""

from __future__ import annotations

import pytest
import torch

from amodalpl.models import few_at_once
from amodalpl.models.few_at_once import FEW, MANY, FewAtOnce, Remembering
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


@pytest.fixture
def of_the_package_size():
    """A network as the package's, at which one, few and many patches differ in their last bits."""
    torch.manual_seed(0)
    return FewAtOnce(UNet(3, 32, init_gain=1.0).eval().to(memory_format=torch.channels_last))


def patches(numbers):
    every = (torch.rand(2 * MANY, 3, 64, 64, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    return every[list(numbers)].contiguous(memory_format=torch.channels_last)


def test_some_patches_of_a_batch_have_the_answers_of_the_batch(of_the_package_size):
    with torch.inference_mode():
        of_many = of_the_package_size(patches(range(MANY)))
        assert torch.equal(of_the_package_size.answers(patches(range(3)), MANY), of_many[:3])
        if torch.equal(of_the_package_size(patches(range(3))), of_many[:3]):
            pytest.skip("this PyTorch computes few patches as it does many: nothing was tested")


def test_what_is_remembered_is_what_would_be_said_again(of_the_package_size, threads):
    remembering = Remembering(of_the_package_size)
    asked = [range(MANY), range(10, MANY + 9), [3], [5, 3], [3, 3, 30], range(20), [3]]
    with torch.inference_mode():
        for numbers in asked:
            x = patches(numbers)
            found, expected = remembering(x), of_the_package_size(x)
            assert torch.equal(found, expected)
            assert found.stride() == expected.stride()


def test_nothing_is_asked_twice(network):
    remembering, x = Remembering(FewAtOnce(network)), torch.rand(3 * FEW, 3, 32, 32)
    with torch.inference_mode():
        remembering(x[: 2 * FEW])
        remembering(x)
        assert sum(network.came) == 3 * FEW
        remembering(x)
        remembering(x[[3, 3, 1]])
        assert sum(network.came) == 3 * FEW


def test_memory_has_an_end(network, monkeypatch):
    monkeypatch.setattr(few_at_once, "REMEMBERED_BYTES", 2 * (2 * 32 * 32 * 4))  # of two patches
    remembering, x = Remembering(FewAtOnce(network)), torch.rand(FEW, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(remembering(x), remembering(x))
    assert sum(network.came) == FEW + 2
