"""The auto-encoder of shapes: its ranges, and that it learns to reproduce what it is shown."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from amodalpl.shape_prior.autoencoder import ShapeAutoencoder, train_autoencoder


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
