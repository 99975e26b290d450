"""Training a completer on two processes (gloo, CPU) beside one process with twice the batch."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from drawn_cutouts import write_discs
from torch import nn
from two_ranks import on_two_ranks

from amodalpl.completion.training import train
from amodalpl.models import losses
from amodalpl.models.completer import Completer, build_completer
from amodalpl.models.completer_table import METHODS
from amodalpl.models.unet import UNet
from amodalpl.runtime.mmengine_runner import NAN_BATCH, TrainingError
from amodalpl.runtime.progress import SILENT
from amodalpl.settings import SynthesisSettings, TrainingSettings
from amodalpl.synthesis.dataset import SampleStream

STEPS, BATCH = 12, 8  # of all processes
SETTINGS = TrainingSettings(
    steps=STEPS,
    batch_size=BATCH,
    workers=0,
    optimizer="sgd",
    learning_rate=0.05,
    validate_every=100,
    checkpoint_every=4,
)
SHORT = SETTINGS.model_copy(update={"steps": 4})


class InDouble(nn.Module):
    """A network that computes in float64, where two orders of adding up stay together for many steps."""

    def __init__(self, network):
        super().__init__()
        self.network = network.double()

    def forward(self, x):
        return self.network(x.double())


def small_completer(double):
    torch.manual_seed(0)
    if not double:
        return build_completer("pcnet-m", 4, False, init_gain=0.5)
    return Completer(InDouble(UNet(2, 4, init_gain=0.5)), METHODS["pcnet-m"])


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_discs(tmp_path_factory.mktemp("bank"))


def run(rank, bank, folder, world, settings, completer):
    folder.mkdir(exist_ok=True)
    curve = train(
        completer,
        SampleStream(bank, SynthesisSettings(patch_px=16), 0, STEPS * BATCH, "pair"),
        settings.model_copy(update={"batch_size": BATCH // world}),
        seed=0,
        device=torch.device("cpu"),
        checkpoint=folder / "checkpoint.pth",
        validate=lambda completer: {},
        progress=SILENT,
    )
    return {"weights": completer.state_dict(), "loss": [point["loss"] for point in curve if "loss" in point]}


def farthest(first, second):
    """Return the largest difference of a weight or a running statistic."""
    names = [name for name in first if not name.endswith("num_batches_tracked")]
    return max(float((first[name] - second[name]).abs().max()) for name in names)


@pytest.mark.parametrize(
    ("double", "settings", "tolerance"),
    [
        pytest.param(True, SETTINGS, 1e-6, id="in float64"),
        pytest.param(False, SHORT, 0.02, id="as it is used"),
    ],
)
def test_two_processes_learn_what_one_learns_with_twice_the_batch(bank, tmp_path, double, settings, tolerance):
    """Weights, running statistics and curve; the tolerance is a part of what training changed.

    In float32 rounding grows from step to step, in one process that starts 1e-7 beside itself too, as a ReLU opens or
    shuts. That is why many steps are compared in float64, and few as they are used.
    """
    start = {name: value.clone() for name, value in small_completer(double).state_dict().items()}
    one = run(0, bank, tmp_path / "one", 1, settings, small_completer(double))
    first, second = on_two_ranks(tmp_path, run, bank, tmp_path / "two", 2, settings, small_completer(double))
    for what in ("running", "weight"):
        expected, got = ({n: v for n, v in of.items() if what in n} for of in (one["weights"], first["weights"]))
        moved = farthest(start | expected, start)
        assert moved > 5e-3
        assert farthest(expected, got) < tolerance * moved
    assert one["weights"].keys() == first["weights"].keys()
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in start)
    assert len(one["loss"]) == settings.steps // settings.checkpoint_every
    assert first["loss"] == pytest.approx(one["loss"], rel=1e-4)


def fail_on_the_second(rank, bank, folder):
    """Train with a loss that is no number in the third step of one process; return the error."""
    calls = []

    def loss(outputs, target, weight):
        calls.append(rank)
        return outputs.mean() * (float("nan") if calls == [1, 1, 1] else 1.0)

    completer = small_completer(False)
    losses.not_a_number = loss
    completer.method = replace(completer.method, loss_name="not_a_number")
    try:
        run(rank, bank, folder, 2, SETTINGS.model_copy(update={"steps": 3}), completer)
    except TrainingError as error:
        return str(error)
    return ""


def test_a_loss_that_is_no_number_on_one_process_stops_all(bank, tmp_path):
    """And the samples of that step are named, those of all processes."""
    told = on_two_ranks(tmp_path, fail_on_the_second, bank, tmp_path / "two")
    assert all("the loss is nan at step 3" in message for message in told)
    record = json.loads((tmp_path / "two" / NAN_BATCH).read_text())
    assert record["step"] == 3 and record["samples"] == list(range(2 * BATCH, 3 * BATCH))
