"""Batch normalisation shared by two processes beside `BatchNorm2d` on the joined batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from two_ranks import on_two_ranks

from amodalpl.models.sync_batchnorm import SharedBatchNorm2d, joint_statistics, share_statistics
from amodalpl.models.unet import UNet
from amodalpl.runtime.distributed import join_processes, mean_over_processes

SHARES = {"equal": (0, 2, 4), "unequal": (0, 1, 5)}  # samples [0], [1) are of process 0, [1], [2) of process 1


def as_it_is(x):
    return x


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


# name: shares, mean of the input (its standard deviation is 1), type, layout, relative tolerance
CASES = {
    "equal": ("equal", 0.0, torch.float32, as_it_is, 2e-6),
    "unequal": ("unequal", 0.0, torch.float32, as_it_is, 2e-6),
    "channels last": ("unequal", 0.0, torch.float32, channels_last, 2e-6),
    "far from zero": ("unequal", 1000.0, torch.float32, as_it_is, 2e-4),  # whose float32 are 6e-5 apart
    "float64": ("unequal", 0.0, torch.float64, as_it_is, 1e-14),
    "bfloat16": ("unequal", 0.0, torch.bfloat16, as_it_is, 8e-3),  # a step of bfloat16
}


def drawn(name):
    """Return two batches of all processes, and what their outputs are multiplied with to make a loss."""
    shares, mean, dtype, layout, _ = CASES[name]
    generator = torch.Generator().manual_seed(3)
    size = (2, SHARES[shares][-1], 3, 4, 6)
    spread = torch.arange(1, 4).view(1, 1, 3, 1, 1)  # channels differ
    x, factor = torch.randn(size, generator=generator) * spread + mean, torch.randn(size, generator=generator)
    return [layout(batch.to(dtype)) for batch in x], [layout(batch.to(dtype)) for batch in factor]


def two_steps(norm, batches, factors):
    """Return what a layer does in two steps of training; its weights stay."""
    norm.train().to(torch.promote_types(batches[0].dtype, torch.float32))
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.0, 0.25, 3.0]))
    results = {"outputs": [], "gradients": []}
    for x, factor in zip(batches, factors, strict=True):
        x = x.clone().requires_grad_()
        y = norm(x)
        (y * factor).sum().backward()
        results["outputs"].append(y.detach())
        results["gradients"].append(x.grad)
    state = {key: value.clone() for key, value in norm.state_dict().items()}
    return results | {"of weight": norm.weight.grad, "of bias": norm.bias.grad, "state": state}


def share(rank, name):
    at = SHARES[CASES[name][0]]
    return slice(at[rank], at[rank + 1])


def act(rank):
    join_processes(torch.device("cpu"))
    results = {}
    for name in CASES:
        mine = share(rank, name)
        batches, factors = drawn(name)
        norm = SharedBatchNorm2d.like(nn.BatchNorm2d(3))
        results[name] = two_steps(norm, [x[mine] for x in batches], [f[mine] for f in factors])
    by_hand = torch.tensor([[1.0]] if rank == 0 else [[3.0], [5.0]])[:, :, None, None]  # (1 or 2, 1, 1, 1)
    results["by hand"] = [float(value) for value in joint_statistics(by_hand)]
    results["mean"] = float(mean_over_processes(torch.tensor(2.0 + rank)))
    return results


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return on_two_ranks(tmp_path_factory.mktemp("ranks"), act)


def close(got, expected, tolerance):
    """Compare as one compares vectors: by the largest value expected."""
    assert got.dtype == expected.dtype
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("name", CASES)
def test_two_processes_normalise_like_one_with_all_samples(ranks, name):
    tolerance = CASES[name][-1]
    whole = two_steps(nn.BatchNorm2d(3), *drawn(name))
    for step in (0, 1):
        for what in ("outputs", "gradients"):
            parts = [ranks[rank][name][what][step] for rank in (0, 1)]
            assert [len(part) for part in parts] == [len(range(9)[share(rank, name)]) for rank in (0, 1)]
            close(torch.cat(parts), whole[what][step], tolerance)
    for what in ("of weight", "of bias"):
        close(ranks[0][name][what] + ranks[1][name][what], whole[what], tolerance)
    assert ranks[0][name]["state"].keys() == whole["state"].keys()
    for key, value in whole["state"].items():
        assert torch.equal(ranks[0][name]["state"][key], ranks[1][name]["state"][key]), key
        close(ranks[0][name]["state"][key], value, min(tolerance, 1e-5))


def test_statistics_by_hand(ranks):
    """1 on one process, 3 and 5 on the other."""
    assert ranks[0]["by hand"] == ranks[1]["by hand"] == pytest.approx([3, (4 + 0 + 4) / 3, 3])


def test_mean_over_processes(ranks):
    assert [ranks[rank]["mean"] for rank in (0, 1)] == [2.5, 2.5]
    assert mean_over_processes(torch.tensor(2.0)) == 2


@pytest.mark.parametrize(
    ("device", "kind"),
    [("cpu", SharedBatchNorm2d), pytest.param("cuda", nn.SyncBatchNorm, marks=pytest.mark.gpu)],
)
def test_weights_fit_networks_with_and_without(device, kind):
    network, other = UNet(2, width=4).train().to(device), UNet(2, width=4)
    before, parameters = network.state_dict(), list(network.parameters())
    share_statistics(network)
    assert sum(type(module) is kind for module in network.modules()) == 18
    assert not any(type(module) is nn.BatchNorm2d for module in network.modules())
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(after[key].data_ptr() == before[key].data_ptr() for key in before)
    assert all(new is old for new, old in zip(network.parameters(), parameters, strict=True))
    assert all(module.training for module in network.modules())
    other.load_state_dict(after)
    network.load_state_dict(other.state_dict())


def test_in_use_nothing_is_shared():
    """No process group is there, and the answers are those of `BatchNorm2d` to the bit."""
    plain, shared = UNet(2, width=4, init_gain=1.0), UNet(2, width=4)
    plain(torch.randn(4, 2, 16, 16))  # so that it has statistics
    share_statistics(shared)
    shared.load_state_dict(plain.state_dict())
    x = torch.randn(1, 2, 16, 16)
    assert torch.equal(shared.eval()(x), plain.eval()(x))


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="expected 4D input"):
        SharedBatchNorm2d(3)(torch.zeros(2, 3))
