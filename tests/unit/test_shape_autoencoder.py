"""The auto-encoder of shapes: its ranges, and that it learns to reproduce what it is shown."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from amodalpl.shape_prior import autoencoder
from amodalpl.shape_prior.autoencoder import ShapeAutoencoder, train_autoencoder


def test_autoencoder_shapes_and_ranges():
    network = ShapeAutoencoder(2, width=4)
    x = torch.rand(3, 2, 28, 28)
    latent, back = network.encode(x), network(x)
    assert latent.shape == (3, 4 * 7 * 7) and latent.min() >= 0
    assert back.shape == x.shape and 0 <= back.min() and back.max() <= 1


@pytest.mark.parametrize("planes", [1, 2])
def test_training_brings_the_crops_back_better(monkeypatch, planes):
    crops = torch.zeros(8, planes, 28, 28)
    for n, crop in enumerate(crops):
        crop[:, 4 : 12 + n, 6:20] = 1
    monkeypatch.setattr(autoencoder, "STEPS", 2)
    start = train_autoencoder(crops, seed=0)
    monkeypatch.setattr(autoencoder, "STEPS", 60)
    trained = train_autoencoder(crops, seed=0)
    assert not trained.training
    errors = [functional.mse_loss(network(crops), crops).item() for network in (start, trained)]
    assert errors[1] < 0.6 * errors[0]
