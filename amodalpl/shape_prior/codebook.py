"""VRSP's codebook: the shapes of each class as codes of a mask auto-encoder, and the nearest of them to a mask.

After Xiao et al. 2021 ("Amodal Segmentation Based on Visible Region Segmentation and Shape Prior", section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import DataError
from ..masks.boxes import tight_box
from ..runtime.progress import SILENT, Progress
from .autoencoder import ShapeAutoencoder, train_autoencoder
from .class_codes import ClassCodes, k_means

SIDE_PX = 28  # of a mask as the auto-encoder sees it; that of a mask head's output
WIDTH = 8  # channels of the auto-encoder's layers
LATENT = (WIDTH, SIDE_PX // 4, SIDE_PX // 4)
MOST_OF_CLASS = 4096  # shapes of a class that k-means looks at, each turned and mirrored eight ways


class Codebook(ClassCodes):
    """Codes of each class, with the auto-encoder that they are of; all of it in the state dict, nothing of it learnt.

    Args:
        class_count: C.
        most_codes: K, of a class; a class of fewer shapes has a code for each.

    Attributes:
        autoencoder: masks to latent vectors of D numbers and back.
    """

    def __init__(self, class_count: int, most_codes: int) -> None:
        super().__init__(class_count, most_codes, int(np.prod(LATENT)))
        self.autoencoder = ShapeAutoencoder(1, WIDTH).requires_grad_(False).eval()

    @torch.no_grad()
    def encode(self, masks: Tensor) -> Tensor:
        """Return the latent vectors.

        Shapes: (N, 28, 28) in [0, 1] -> (N, D) float32.
        """
        with torch.autocast(masks.device.type, enabled=False):  # codes are of full precision
            return self.autoencoder.encode(masks[:, None].float())

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Return the masks of latent vectors.

        Shapes: (..., D) float32 -> (..., 28, 28) float32 in [0, 1].
        """
        with torch.autocast(codes.device.type, enabled=False):
            masks = torch.sigmoid(self.autoencoder.decoder(codes.reshape(-1, *LATENT)))
        return masks.reshape(*codes.shape[:-1], SIDE_PX, SIDE_PX)

    @torch.no_grad()
    def nearest(self, masks: Tensor, labels: Tensor, count: int) -> Tensor:
        """Return the shapes of its class that are nearest to each mask, the nearest first.

        Distances are those of Euclid between latent vectors. A class of fewer than `count` codes repeats its nearest;
        a class without codes returns the mask itself.

        Args:
            masks: (N, 28, 28) in [0, 1].
            labels: (N,) int64 in 0..C-1.
            count: k.

        Returns:
            (N, k, 28, 28) float32 in [0, 1], without gradients.
        """
        shapes = masks.detach().float()[:, None].repeat(1, count, 1, 1)
        latent = self.encode(masks)  # (N, D)
        for label in labels.unique().tolist():
            if len(self.of(label)):
                members = (labels == label).nonzero().squeeze(1)
                shapes[members] = self.decode(self.nearest_codes(latent[members], label, count))
        return shapes

    @torch.no_grad()
    def distance(self, masks: Tensor, labels: Tensor) -> Tensor:
        """Return the share of pixels in which a mask differs from the nearest shape of its class.

        Args:
            masks: (N, 28, 28) of 0 and 1.
            labels: (N,) int64.

        Returns:
            (N,) float32 in [0, 1]; 0 in a class without codes.
        """
        nearest = self.nearest(masks, labels, 1)[:, 0] > 0.5
        return (nearest != (masks > 0.5)).float().mean(dim=(1, 2))


def crop_shape(mask: np.ndarray) -> np.ndarray:
    """Return a mask as it fills its tight box.

    Args:
        mask: (H, W) bool with at least one pixel.

    Returns:
        (28, 28) bool; width and height are stretched alike, as RoIAlign does.
    """
    x, y, width, height = tight_box(mask)
    shape = mask[y : y + height, x : x + width].astype(np.float32)
    method = cv2.INTER_AREA if max(width, height) > SIDE_PX else cv2.INTER_LINEAR
    return cv2.resize(shape, (SIDE_PX, SIDE_PX), interpolation=method) >= 0.5


def learn_codebook(
    shapes: Sequence[np.ndarray],
    labels: Sequence[int],
    class_count: int,
    most_codes: int,
    *,
    steps: int,
    seed: int,
    progress: Progress = SILENT,
) -> Codebook:
    """Learn an auto-encoder of whole shapes and, for each class, codes by k-means over their latent vectors.

    Each shape is also turned by quarters and mirrored, eight ways in all. The same shapes and seed give the same
    codebook, whatever the number of threads.

    Args:
        shapes: N masks as `crop_shape` returns them.
        labels: N numbers of classes, in 0..C-1.
        class_count: C.
        most_codes: K, of a class.
        steps: of the auto-encoder's training.
        seed: of its start, its batches and k-means.
        progress: shows the steps, then the classes.

    Raises:
        DataError: no shapes.
    """
    if not len(shapes):
        raise DataError("codebook: expected whole masks to learn shapes from, got none")
    rng = np.random.default_rng(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order on every machine; so small a network gains nothing from more
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            masks = torch.from_numpy(np.stack(shapes)).float()
            of_class = torch.as_tensor(labels, dtype=torch.int64)
            book = Codebook(class_count, most_codes)
            train_autoencoder(book.autoencoder, masks[:, None], steps, _one_of_eight_ways, progress)
            with progress.task("making shape codebooks", class_count) as advance:
                for label in range(class_count):
                    members = masks[of_class == label]
                    chosen = members[torch.randperm(len(members))[:MOST_OF_CLASS].sort().values]
                    book.put(label, k_means(book.encode(eight_ways(chosen)).unique(dim=0), most_codes, rng))
                    advance(1)
    finally:
        torch.set_num_threads(threads)
    return book


def eight_ways(masks: Tensor) -> Tensor:
    """Return masks turned by 0, 90, 180 and 270 degrees, and the mirror images of these.

    Shapes: (N, S, S) -> (8 N, S, S).
    """
    turned = torch.cat([torch.rot90(masks, turns, dims=(1, 2)) for turns in range(4)])
    return torch.cat([turned, turned.flip(2)])


def _one_of_eight_ways(batch: Tensor, step: int) -> Tensor:
    way = int(torch.randint(8, ()))
    return torch.rot90(batch.flip(3) if way > 3 else batch, way % 4, dims=(2, 3))
