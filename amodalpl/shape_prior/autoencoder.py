"""The small mask auto-encoder of VRSP-Net, whose latent vectors make up the codebooks, and what it sees of a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..masks.boxes import tight_box
from ..masks.geometry import filled_hull
from ..runtime.progress import SILENT, Progress

CROP_PX = 28  # the paper's
PLANES = 2  # the mask and its hollows
BATCH, LEARNING_RATE = 64, 3e-3


def crop_shapes(masks: Sequence[np.ndarray]) -> Tensor:
    """Return each mask in its tight box, centred, its aspect kept, and its hollows (convex hull minus mask) beside it.

    A mirrored mask has the mirrored crop.

    Args:
        masks: N masks, each (h, w) bool in any frame, with at least one pixel.

    Returns:
        (N, 2, CROP_PX, CROP_PX) float32 in [0, 1].
    """
    crops = np.zeros((len(masks), PLANES, CROP_PX, CROP_PX), dtype=np.float32)
    for crop, mask in zip(crops, masks, strict=True):
        x, y, w, h = tight_box(mask)
        shape = np.ascontiguousarray(mask[y : y + h, x : x + w])
        hull = filled_hull(shape)
        # even sizes leave equal margins, so that a mirrored mask has the mirrored crop
        width, height = (max(2, 2 * round(CROP_PX / 2 * side / max(w, h))) for side in (w, h))
        top, left = (CROP_PX - height) // 2, (CROP_PX - width) // 2
        method = cv2.INTER_AREA if max(w, h) > CROP_PX else cv2.INTER_LINEAR
        for plane, part in zip(crop, (shape, hull & ~shape), strict=True):
            resized = cv2.resize(part.astype(np.float32), (width, height), interpolation=method)
            plane[top : top + height, left : left + width] = resized
    return torch.from_numpy(crops)


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


def train_autoencoder(
    autoencoder: ShapeAutoencoder,
    crops: torch.Tensor,
    steps: int,
    vary: Callable[[torch.Tensor, int], torch.Tensor],
    progress: Progress = SILENT,
) -> None:
    """Train in place to give crops back: the mean squared error, as in their code; leaves it in eval mode, frozen.

    Args:
        autoencoder: with as many planes as the crops.
        crops: (N, C, S, S) float32 in [0, 1].
        steps: of `BATCH` crops drawn by torch's random state.
        vary: turns or mirrors the batch of a step.
        progress: shows the steps.
    """
    autoencoder.train().requires_grad_(True)
    optimizer = torch.optim.Adam(autoencoder.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    with progress.task("learning whole shapes", steps) as advance:
        for step in range(steps):
            batch = vary(crops[torch.randint(len(crops), (BATCH,))], step)
            loss = functional.mse_loss(autoencoder(batch), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            advance(1)
    autoencoder.eval().requires_grad_(False)
