"""What each method shows its network, and how its answer is read."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from amodalpl.models import losses
from amodalpl.models.completer import IMAGE_MEAN, IMAGE_STD, Completer, build_completer, fuse_for_use
from amodalpl.models.completer_table import METHODS
from amodalpl.settings import Method


class Recorder(nn.Module):
    """Keeps its input; answers zeros."""

    def forward(self, x):
        self.seen = x
        return torch.zeros(len(x), 2, *x.shape[2:])


def patches():
    torch.manual_seed(0)
    return [torch.rand(2, 1, 16, 16) < 0.5 for _ in range(3)]


def test_settings_and_table_name_the_same_methods():
    assert set(get_args(Method)) == set(METHODS)


# paper's name: channels beside the visible part, loss, uncertainty
TABLE = {
    "layered": ("occluder boundary", losses.weighted_cross_entropy, False),
    "pcnet-m": ("occluder", losses.weighted_cross_entropy, False),
    "asbu": ("boundary", losses.asbu, True),
    "boundary-pcnet-m": ("boundary", losses.weighted_cross_entropy, False),
    "uncertainty-pcnet-m": ("occluder", losses.asbu, True),
    "asbu-ubce": ("boundary", losses.asbu_ubce, True),
    "asbu-gaussian": ("boundary", losses.asbu_gaussian, True),
}


@pytest.mark.parametrize("name", METHODS)
def test_channels_and_loss_of_each_method(name):
    names, loss, has_uncertainty = TABLE[name]
    completer = Completer(Recorder(), METHODS[name])
    modal, occluder, boundary = patches()
    outputs = completer(modal, occluder, boundary)
    assert outputs.shape == (2, 2, 16, 16) and outputs.dtype == torch.float32
    torch.testing.assert_close(completer.network.seen[:, :1], modal.float())
    given = {"occluder": occluder, "boundary": boundary}
    shown = torch.cat([given[channel] for channel in names.split()], dim=1)
    torch.testing.assert_close(completer.network.seen[:, 1:], shown.float())
    target = modal | occluder
    raw = torch.randn(2, 2, 16, 16)
    weight = torch.where(occluder, 5.0, 1.0)
    torch.testing.assert_close(METHODS[name].loss(raw, target, weight), loss(raw, target, weight))
    assert METHODS[name].has_uncertainty is has_uncertainty


def test_image_is_normalised_and_comes_last():
    completer = Completer(Recorder(), METHODS["asbu"], uses_image=True)
    image = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    image[:, 1] = 255
    completer(*patches(), image)
    seen = completer.network.seen
    assert seen.shape[1] == 5
    assert seen[0, 2, 0, 0].item() == pytest.approx(-IMAGE_MEAN[0] / IMAGE_STD[0])
    assert seen[0, 3, 0, 0].item() == pytest.approx((255 - IMAGE_MEAN[1]) / IMAGE_STD[1])


def test_image_is_required_by_those_who_look():
    with pytest.raises(ValueError, match="expected image patches, got None"):
        Completer(Recorder(), METHODS["asbu"], uses_image=True)(*patches())


def test_softmax_methods_read_channel_one_as_inside():
    completer = Completer(Recorder(), METHODS["pcnet-m"])
    raw = torch.randn(2, 2, 4, 4)
    torch.testing.assert_close(completer.read(raw), raw.softmax(dim=1)[:, 1])
    assert completer.read(torch.zeros(1, 2, 1, 1)).item() == 0.5


def test_uncertain_methods_read_the_sigmoid_of_channel_zero():
    completer = Completer(Recorder(), METHODS["asbu"])
    probability = completer.read(torch.tensor([[2.0, -1.0], [-2.0, 9.0]]).view(2, 2, 1, 1))
    torch.testing.assert_close(probability[:, 0, 0], torch.sigmoid(torch.tensor([2.0, -2.0])))


@pytest.mark.parametrize("uses_image", [False, True])
def test_build_has_the_right_input_channels(uses_image):
    completer = build_completer("asbu", 4, uses_image)
    image = torch.zeros(2, 3, 16, 16, dtype=torch.uint8) if uses_image else None
    assert completer.eval()(*patches(), image).shape == (2, 2, 16, 16)
    assert completer.network.enter[0].in_channels == (5 if uses_image else 2)


@pytest.mark.parametrize("name", ["layered", "asbu"])
def test_fused_network_is_the_same_function_with_fewer_steps(name):
    completer = build_completer(name, 4, False)
    inputs = [torch.rand(4, 1, 32, 32) < 0.5 for _ in range(3)]
    completer.train()
    for _ in range(3):
        completer(*inputs)  # so that the running means and variances are not those of the start
    completer.eval()
    fused = fuse_for_use(completer)
    torch.testing.assert_close(fused(*inputs), completer(*inputs), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in completer.modules())
