"""The small mask auto-encoder of VRSP-Net, whose latent vectors make up the shape prior's codebooks."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ..runtime.progress import SILENT, Progress

STEPS, BATCH, LEARNING_RATE = 300, 64, 3e-3  # the reconstruction loss hardly falls after these


class ShapeAutoencoder(nn.Module):
    """Two halvings to a small latent map and two doublings back: 28 x 28 masks to 7 x 7 and back.

    After Xiao et al. 2021 ("Amodal Segmentation Based on Visible Region Segmentation and Shape Prior", section 3.3) and
    their `recon_net` for KINS: 3 x 3 convolutions of stride 2 with ReLU; bilinear doubling, 3 x 3 convolution, ReLU; a
    last 3 x 3 convolution. Differences: `channels_in` planes instead of one, and pixels instead of corners aligned when
    doubling, so that a mirrored mask is resampled like the mask.

    Args:
        channels_in: planes of the input.
        width: channels of every hidden layer.

    Shapes: (B, channels_in, S, S) float in [0, 1] -> (B, channels_in, S, S) float in [0, 1]; S a multiple of 4.
    """

    def __init__(self, channels_in: int, width: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(channels_in, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, channels_in, 3, padding=1),
        )

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return the latent vectors.

        Shapes: (B, channels_in, S, S) float -> (B, width * S / 4 * S / 4) float, nowhere negative.
        """
        return self.encoder(x).flatten(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the masks as the latent map remembers them."""
        return torch.sigmoid(self.decoder(self.encoder(x)))


def train_autoencoder(crops: torch.Tensor, seed: int, progress: Progress = SILENT) -> ShapeAutoencoder:
    """Train one to reproduce crops and their mirror images; the random state outside is left as it was.

    Args:
        crops: (N, C, S, S) float32 in [0, 1].
        seed: of the network's start and of the batches.
        progress: shows the steps.

    Returns:
        The network in eval mode.
    """
    with torch.random.fork_rng(devices=[]), progress.task("learning whole shapes", STEPS) as advance:
        torch.manual_seed(seed)
        autoencoder = ShapeAutoencoder(crops.shape[1])
        optimizer = torch.optim.Adam(autoencoder.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
        for step in range(STEPS):
            batch = crops[torch.randint(len(crops), (BATCH,))]
            batch = batch.flip(-1) if step % 2 else batch
            loss = functional.mse_loss(autoencoder(batch), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            advance(1)
    return autoencoder.eval()
