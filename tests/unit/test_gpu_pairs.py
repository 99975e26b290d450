"""Samples made on the device: the same as those of the CPU, bit for bit."""

from __future__ import annotations

import drawn_cutouts
import numpy as np
import pytest
import torch
from heard import Heard
from mmengine.logging import MessageHub
from torch.utils.data import DataLoader

from amodalpl.completion.training import train
from amodalpl.masks.geometry import to_patch
from amodalpl.models.completer import build_completer
from amodalpl.settings import SynthesisSettings, TrainingSettings
from amodalpl.synthesis import gpu_pairs
from amodalpl.synthesis.bank import Bank
from amodalpl.synthesis.dataset import SampleStream
from amodalpl.synthesis.gpu_pairs import DeviceLoader, Drawn, can_make, picked, shifted_each
from amodalpl.synthesis.placement import shifted
from amodalpl.synthesis.placement_geometry import draw_view

CPU = torch.device("cpu")
COUNT = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn_cutouts.write_bank(tmp_path_factory.mktemp("bank"))


def stream_of(folder, made_for="pair", with_boundary=True, **synthesis):
    settings = SynthesisSettings(**{"patch_px": 32, **synthesis})
    return SampleStream(folder, settings, 3, COUNT, made_for, with_boundary)


def made(stream, batch_size=24, workers=0, device=CPU):
    options = {"num_workers": workers, "pin_memory": device.type == "cuda", "collate_fn": Drawn.as_it_is}
    loader = DataLoader(Drawn(stream), batch_size, **options)
    batches = list(DeviceLoader(loader, device))
    return {name: torch.cat([batch[name].cpu() for batch in batches]) for name in batches[0]}


def assert_as_on_the_cpu(stream, batch):
    assert batch.keys() == stream[0].keys()
    for number in range(COUNT):
        for name, mask in stream[number].items():
            assert torch.equal(batch[name][number], mask), (number, name)


SETTINGS = {
    "defaults": {},
    "odd size": {"patch_px": 48, "boundary_px": 7},
    "never in front": {"front_probability": 0.0},
    "no jitter": {"shift": 0.0, "scale": (1.0, 1.0), "flip_probability": 0.0},
    "far out": {"shift": 1.0, "scale": (0.3, 3.0), "flip_probability": 1.0},
    "whole objects only": {"only_unoccluded": True},
}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("name", SETTINGS)
def test_same_as_on_the_cpu(folder, name, device):
    stream = stream_of(folder, **SETTINGS[name])
    batch = made(stream, device=torch.device(device))
    assert all(mask.dtype == torch.bool for mask in batch.values())
    assert_as_on_the_cpu(stream, batch)


def test_without_the_boundary_too(folder):
    stream = stream_of(folder, with_boundary=False, cut_fraction=(0.4, 0.42))  # some come from the CPU
    batch = made(stream)
    assert "boundary" not in batch
    assert_as_on_the_cpu(stream, batch)


def test_most_samples_need_nothing_of_the_cpu(folder):
    stream = stream_of(folder)
    numbers = Drawn(stream).__getitems__(list(range(COUNT)))
    bits = torch.from_numpy(np.load(folder / "bits.npy"))
    batch, fits = gpu_pairs.make_pairs(bits, numbers, stream.settings.cut_fraction)
    assert fits.sum() > 0.95 * COUNT
    for number in torch.nonzero(fits).flatten().tolist():
        assert torch.equal(batch["modal"][number], stream[number]["modal"])


@pytest.mark.parametrize("tries", [1, 100])
def test_occluders_that_seldom_fit(folder, tries):
    stream = stream_of(folder, cut_fraction=(0.4, 0.42), placement_tries=tries)
    batch = made(stream)
    assert_as_on_the_cpu(stream, batch)
    hidden = 1 - batch["modal"].sum((1, 2, 3)) / batch["target"].sum((1, 2, 3))
    fitted = (hidden > 0.399) & (hidden < 0.421)
    assert COUNT / 10 < fitted.sum() <= COUNT and (fitted | (hidden == 0)).all()


def test_objects_thinner_than_a_pixel(tmp_path):
    folder = drawn_cutouts.write_thin_bank(tmp_path).folder
    stream = stream_of(folder, patch_px=16)
    assert any(not stream[number]["target"].any() for number in range(COUNT))
    assert_as_on_the_cpu(stream, made(stream))


def test_workers_and_batches_change_nothing(folder):
    stream = stream_of(folder)
    alone, together = made(stream, batch_size=1), made(stream, batch_size=40, workers=2)
    assert all(torch.equal(alone[name], together[name]) for name in together)


def test_what_a_device_cannot_make(folder):
    assert can_make(stream_of(folder), CPU)
    assert not can_make(stream_of(folder, with_image=True), CPU)
    assert not can_make(stream_of(folder, made_for="layers"), CPU)
    assert not can_make(stream_of(folder, recipe="ais"), CPU)


@pytest.mark.parametrize("patch_px", [16, 96, 256])
def test_picked_is_what_opencv_resamples(folder, patch_px):
    bank, rng = Bank(folder), np.random.default_rng(patch_px)
    settings = SynthesisSettings(patch_px=patch_px, shift=0.6, scale=(0.2, 5.0))
    for number in range(60):
        cutout = bank[number % len(bank)]
        matrix = cutout.matrix(draw_view(cutout.box_xywh, rng, settings).square, patch_px)
        rows, columns = picked(matrix, np.array(cutout.mask.shape), patch_px)
        framed = np.pad(cutout.mask, (0, 1))  # what -1 takes
        np.testing.assert_array_equal(framed[np.ix_(rows, columns)], to_patch(cutout.mask, matrix, patch_px))


def test_shifts_are_those_of_the_cpu():
    rng = np.random.default_rng(0)
    masks, offsets = rng.random((3, 12, 12)) < 0.5, rng.integers(-14, 15, (3, 5, 2))
    moved = shifted_each(torch.from_numpy(masks), torch.from_numpy(offsets)).numpy()
    for number in range(3):
        for k, (dx, dy) in enumerate(offsets[number].tolist()):
            ys, xs = np.mgrid[:12, :12]
            from_y, from_x = ys - dy, xs - dx
            inside = (from_y >= 0) & (from_y < 12) & (from_x >= 0) & (from_x < 12)
            expected = masks[number][from_y.clip(0, 11), from_x.clip(0, 11)] & inside
            np.testing.assert_array_equal(moved[number, k], expected)
            if abs(dx) < 12 and abs(dy) < 12:
                np.testing.assert_array_equal(moved[number, k], shifted(masks[number], dx, dy))


def trained_on(folder, checkpoint, synthesis_device, made_for="pair"):
    torch.manual_seed(0)
    completer, heard = build_completer("asbu", 4, False, init_gain=0.5), Heard()
    settings = TrainingSettings(steps=3, batch_size=4, workers=0, validate_every=100)
    checkpoint.parent.mkdir()
    train(
        completer,
        stream_of(folder, made_for),
        settings,
        seed=0,
        device=CPU,
        checkpoint=checkpoint,
        validate=lambda _: {},
        progress=heard,
        synthesis_device=synthesis_device,
    )
    return completer.state_dict(), [text for text in heard.notes if "made on the CPU" in text]


def test_training_learns_the_same(folder, tmp_path):
    weights, notes = trained_on(folder, tmp_path / "device" / "checkpoint.pth", "device")
    expected, _ = trained_on(folder, tmp_path / "cpu" / "checkpoint.pth", "cpu")
    assert not notes and all(torch.equal(weights[name], expected[name]) for name in expected)


def test_training_says_that_the_cpu_makes_the_samples(folder, tmp_path):
    assert len(trained_on(folder, tmp_path / "asked" / "checkpoint.pth", "device", "layers")[1]) == 1
    assert not trained_on(folder, tmp_path / "own" / "checkpoint.pth", "auto", "layers")[1]


def test_no_step_waits_for_the_loss(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(MessageHub, "update_scalar", lambda *_: pytest.fail("mmengine asks for the loss"))
    trained_on(folder, tmp_path / "out" / "checkpoint.pth", "cpu")
