"""Training a completer on two processes (gloo, CPU) beside one process with twice the batch."""

from __future__ import annotations

import multiprocessing
import os
import socket

import cv2
import pytest
import torch
from drawn_cutouts import write_discs
from torch import nn

from amodalpl.completion.training import train
from amodalpl.models.completer import build_completer
from amodalpl.running.progress import SILENT
from amodalpl.settings import SynthesisSettings, TrainingSettings
from amodalpl.synthesis.dataset import SampleStream

STEPS, BATCH = 8, 4  # of one process
SETTINGS = TrainingSettings(
    steps=STEPS,
    batch_size=BATCH,
    workers=0,
    optimizer="sgd",
    learning_rate=0.05,
    validate_every=100,
    checkpoint_every=8,
)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_discs(tmp_path_factory.mktemp("bank"))


def run(bank, folder, normalised, world=1):
    torch.manual_seed(0)
    completer = build_completer("pcnet-m", 4, False, init_gain=0.5)
    if not normalised:
        remove_normalisation(completer)
    settings = SETTINGS.model_copy(update={"batch_size": BATCH // world})
    folder.mkdir(exist_ok=True)
    curve = train(
        completer,
        SampleStream(bank, SynthesisSettings(patch_px=16), 0, STEPS * BATCH, "pair"),
        settings,
        seed=0,
        device=torch.device("cpu"),
        checkpoint=folder / "checkpoint.pth",
        validate=lambda completer: {},
        progress=SILENT,
    )
    return completer, [point["loss"] for point in curve if "loss" in point]


def remove_normalisation(module):
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.Identity())
        else:
            remove_normalisation(child)


def run_as(rank, port, bank, folder, normalised):
    cv2.setNumThreads(0)  # OpenCV's own threads do not survive a fork
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    completer, curve = run(bank, folder, normalised, world=2)
    torch.save({"weights": completer.state_dict(), "loss": curve}, folder / f"rank{rank}.pth")


def run_on_two(bank, folder, normalised):
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=run_as, args=(rank, port, bank, folder, normalised)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
        process.kill()
    assert [process.exitcode for process in ranks] == [0, 0]
    return [torch.load(folder / f"rank{rank}.pth", weights_only=True) for rank in (0, 1)]


def farthest(first, second):
    return max(float((first[name].float() - second[name].float()).abs().max()) for name in first)


def test_two_processes_take_the_steps_of_one_with_twice_the_batch(bank, tmp_path):
    """Without normalisation, whose statistics are those of each process's own samples, up to rounding."""
    one, _ = run(bank, tmp_path / "one", normalised=False)
    first, second = run_on_two(bank, tmp_path / "two", normalised=False)
    torch.manual_seed(0)
    start = build_completer("pcnet-m", 4, False, init_gain=0.5)
    remove_normalisation(start)
    moved = farthest(start.state_dict(), one.state_dict())
    print("moved", moved, "apart", farthest(one.state_dict(), first["weights"]))
    assert moved > 1e-3
    assert farthest(first["weights"], second["weights"]) == 0
    assert farthest(one.state_dict(), first["weights"]) < 1e-3 * moved


def test_two_processes_learn_like_one_with_twice_the_batch(bank, tmp_path):
    """As it is used, with normalisation over half as many samples."""
    one, curve = run(bank, tmp_path / "one", normalised=True)
    first, _ = run_on_two(bank, tmp_path / "two", normalised=True)
    print(curve, first["loss"], farthest(one.state_dict(), first["weights"]))
    assert first["loss"][-1] == pytest.approx(curve[-1], rel=0.1)
