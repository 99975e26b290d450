"""A completer that sees the photo through a frozen encoder: it starts as the mask-only one, and learns to look."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_cutouts import write_bank
from interruptions import Killed, KillIn

from amodalpl.completion.checkpoint import (
    CompleterBundle,
    load_completer,
    save_completer,
    start_from,
    start_photo_encoder,
)
from amodalpl.completion.onnx_backend import write_network
from amodalpl.completion.precision import in_precision
from amodalpl.completion.predictor import CropSpec
from amodalpl.completion.training import train
from amodalpl.errors import CheckpointError
from amodalpl.models.completer import build_completer, fuse_for_use
from amodalpl.models.photo_encoder import PhotoEncoder
from amodalpl.runtime.progress import SILENT
from amodalpl.settings import CompleterSettings, SynthesisSettings, TrainingSettings
from amodalpl.synthesis.dataset import SampleStream
from amodalpl.synthesis.worn_photos import wear

CPU = torch.device("cpu")
SAMPLES = SynthesisSettings(patch_px=32, with_image=True)
TINY = TrainingSettings(steps=4, batch_size=2, workers=0, optimizer="adamw", learning_rate=0.01, checkpoint_every=2)


def with_encoder(seed=0):
    torch.manual_seed(seed)
    return build_completer("layered", 4, True, photo_encoder="mobilenet_v2")


def patches(count=3, side=32):
    draw = torch.Generator().manual_seed(1)
    masks = [torch.rand(count, 1, side, side, generator=draw) < 0.5 for _ in range(3)]
    return masks, torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=draw)


def save(folder, completer, photo_encoder=None):
    settings = CompleterSettings(width=4, image=completer.uses_image, photo_encoder=photo_encoder)
    save_completer(folder, CompleterBundle(completer.eval(), CropSpec(32)), settings, SynthesisSettings(patch_px=32))


@pytest.fixture
def masks_only(tmp_path):
    (tmp_path / "masks").mkdir()
    completer = build_completer("layered", 4, False)
    save(tmp_path / "masks", completer)
    return completer, tmp_path / "masks"


def trained(bank, folder, progress=SILENT):
    completer = with_encoder()
    folder.mkdir(exist_ok=True)
    train(
        completer,
        SampleStream(bank, SAMPLES, 0, TINY.steps * TINY.batch_size, "layers"),
        TINY,
        seed=0,
        device=CPU,
        checkpoint=folder / "checkpoint.pth",
        validate=lambda completer: {},
        progress=progress,
    )
    return completer


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_bank(tmp_path_factory.mktemp("bank"))


@pytest.mark.parametrize("training", [True, False])
def test_before_its_first_step_it_is_the_mask_only_one_to_the_bit(masks_only, training):
    plain, folder = masks_only
    ours = with_encoder(seed=3)
    start_from(ours, folder)
    masks, photo = patches()
    assert torch.equal(ours.train(training)(*masks, photo), plain.train(training)(*masks))


def test_after_training_it_looks_at_the_photo_and_the_encoder_is_as_it_was(bank, tmp_path):
    before = {name: value.clone() for name, value in with_encoder().network.encoder.state_dict().items()}
    completer = trained(bank, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in completer.network.encoder.state_dict().items())
    masks, photo = patches()
    completer.eval()
    assert not torch.allclose(completer(*masks, photo), completer(*masks, 255 - photo), atol=1e-4)


def test_killed_and_resumed_is_the_same_to_the_bit(bank, tmp_path):
    whole = trained(bank, tmp_path / "whole")
    with pytest.raises(Killed):
        trained(bank, tmp_path / "killed", KillIn("training the completer", 3))
    again = trained(bank, tmp_path / "killed")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_a_saved_one_works_by_itself_in_any_batch_and_precision(tmp_path):
    completer = with_encoder()
    torch.nn.init.normal_(completer.network.evidence[0].weight)
    save(tmp_path, completer, "mobilenet_v2")
    loaded = load_completer(tmp_path, CPU).completer
    masks, photo = patches(9)
    with torch.inference_mode():
        wanted = completer(*masks, photo)
        torch.testing.assert_close(loaded(*masks, photo), wanted, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(loaded(*[m[4:5] for m in masks], photo[4:5]), wanted[4:5], rtol=1e-3, atol=1e-4)
        probability = in_precision(loaded, "bf16", CPU).read(in_precision(loaded, "bf16", CPU)(*masks, photo))
    torch.testing.assert_close(probability, completer.read(wanted), rtol=0, atol=0.05)


def test_exported_to_onnx_it_gives_the_same(tmp_path):
    pytest.importorskip("onnxruntime")
    assert write_network(tmp_path, fuse_for_use(with_encoder()), 32, "of no file") < 1e-4


def test_it_is_mmdetections_network(tmp_path):
    pytest.importorskip("mmdet")
    from amodalpl.detector.mmdetection import MODELS

    theirs = MODELS.build({"type": "mmdet.MobileNetV2", "out_indices": (0, 1, 2, 4)})
    theirs.eval()
    torch.save({"state_dict": {f"backbone.{name}": v for name, v in theirs.state_dict().items()}}, tmp_path / "w.pth")
    ours = with_encoder()
    start_photo_encoder(ours, tmp_path / "w.pth")
    _, photo = patches()
    with torch.inference_mode():
        found = ours.network.encoder((photo.float() - ours.image_mean) / ours.image_std)
        for of_ours, of_theirs in zip(found, theirs((photo.float() - 127.5) / 127.5), strict=True):
            torch.testing.assert_close(of_ours, of_theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param({}, r"of MobileNetV2 .*, 234 are missing", id="empty"),
        pytest.param({**PhotoEncoder().state_dict(), "conv1.bn.bias": torch.zeros(3)}, "1 are missing or", id="size"),
        pytest.param([torch.zeros(1)], "missing or of another size", id="a list"),
        pytest.param({"state_dict": [1]}, "missing or of another size", id="a list within"),
    ],
)
def test_another_weights_file_is_refused_in_one_line(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=message) as error:
        start_photo_encoder(with_encoder(), tmp_path / "w.pth")
    assert "\n" not in str(error.value) and "w.pth" in str(error.value)


def test_worn_photos_differ_by_the_generator_alone():
    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    first, again, other = (wear(photo, np.random.default_rng(seed), 0.5) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(wear(photo, np.random.default_rng(1), 0.0), photo)
    worn = wear(photo, np.random.default_rng(1), 1.0)
    assert worn.shape == photo.shape and worn.dtype == np.uint8 and not np.array_equal(worn, photo)
