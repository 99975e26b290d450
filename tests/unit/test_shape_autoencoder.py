"""The auto-encoder of shapes: its ranges, that it learns to reproduce what it is shown, and what it sees of a mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from amodalpl.shape_prior.autoencoder import ShapeAutoencoder, crop_shapes, train_autoencoder


def test_autoencoder_shapes_and_ranges():
    network = ShapeAutoencoder(2, width=4)
    x = torch.rand(3, 2, 28, 28)
    latent, back = network.encode(x), network(x)
    assert latent.shape == (3, 4 * 7 * 7) and latent.min() >= 0
    assert back.shape == x.shape and 0 <= back.min() and back.max() <= 1


@pytest.mark.parametrize("planes", [1, 2])
def test_training_brings_the_crops_back_better(planes):
    crops = torch.zeros(8, planes, 28, 28)
    for n, crop in enumerate(crops):
        crop[:, 4 : 12 + n, 6:20] = 1
    torch.manual_seed(0)
    network = ShapeAutoencoder(planes)
    before = functional.mse_loss(network(crops), crops).item()
    seen = []
    train_autoencoder(network, crops, 60, lambda batch, step: seen.append(step) or batch)
    assert functional.mse_loss(network(crops), crops).item() < 0.6 * before
    assert seen == list(range(60))
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_what_it_learns_is_varied():
    """Taught crops turned upside down only, it gives those back better than the ones it was handed."""
    crops = torch.zeros(8, 1, 28, 28)
    for n, crop in enumerate(crops):
        crop[:, 2 : 6 + n, 4:24] = 1
    torch.manual_seed(0)
    network = ShapeAutoencoder(1)
    train_autoencoder(network, crops, 60, lambda batch, step: batch.flip(2))
    turned, handed = (functional.mse_loss(network(c), c).item() for c in (crops.flip(2), crops))
    assert turned < handed


def test_mirrored_masks_have_mirrored_crops():
    for width in (5, 10, 17, 30, 61):  # 10 and 30 of 40 rows are 7 and 21 of 28: odd
        mask = np.tril(np.ones((40, width), bool))
        crop, mirrored = crop_shapes([mask, mask[:, ::-1]])
        assert torch.allclose(crop, mirrored.flip(-1), atol=1e-6)
        assert crop.min() >= 0 and crop.max() <= 1


def test_crop_shows_the_mask_and_its_hollows():
    mask = np.zeros((28, 28), bool)
    mask[:, :14] = mask[14:] = True  # an L: its hull adds a triangle
    shape, hollows = crop_shapes([mask])[0]
    assert torch.equal(shape, torch.from_numpy(mask).float())
    assert (hollows * shape).sum() == 0
    assert hollows[13, 14] == 1 and hollows[0, 27] == 0
    assert 70 < hollows.sum() < 110  # half of 14 x 14 is 98
    assert crop_shapes([np.ones((9, 30), bool)])[0, 1].sum() == 0
