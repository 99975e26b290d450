"""Latent vectors that stand for the whole shapes of each class, and k-means, which makes them.

After Xiao et al. 2021 ("Amodal Segmentation Based on Visible Region Segmentation and Shape Prior", section 3.3). Shared
by the codebook of their detector (`codebook`) and by the score of finished masks (`plausibility`).
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor, nn

KMEANS_ROUNDS = 10


class ClassCodes(nn.Module):
    """Codes per class as buffers: they are in the state dict, move with the module, and are never learnt.

    Args:
        class_count: C.
        most_codes: K, of a class; it may have fewer.
        size: D, numbers of a latent vector.
        most_of_any_class: K', codes of all classes together, for classes that have none of their own.

    Attributes:
        codes: (C, K, D) float32; of class c the first `counts[c]` are codes, the others are zero.
        counts: (C,) int64.
        any_class: (K', D) float32.
    """

    codes: Tensor
    counts: Tensor
    any_class: Tensor

    def __init__(self, class_count: int, most_codes: int, size: int, most_of_any_class: int = 0) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(class_count, most_codes, size))
        self.register_buffer("counts", torch.zeros(class_count, dtype=torch.int64))
        self.register_buffer("any_class", torch.zeros(most_of_any_class, size))

    def put(self, label: int, codes: Tensor) -> None:
        """Make (K or fewer, D) vectors the codes of a class."""
        self.codes[label, : len(codes)] = codes
        self.counts[label] = len(codes)

    def of(self, label: int) -> Tensor:
        """Return the codes of a class, those of all classes where it has none.

        Args:
            label: number of the class; outside of 0..C-1 it is a class without codes.
        """
        count = int(self.counts[label]) if 0 <= label < len(self.counts) else 0
        return self.codes[label, :count] if count else self.any_class

    def nearest_codes(self, vectors: Tensor, label: int, count: int) -> Tensor:
        """Return the codes of a class that are nearest to each vector, by Euclidean distance, the nearest first.

        Args:
            vectors: (N, D) float32.
            label: number of the class; there must be codes for it.
            count: k; of fewer codes the nearest is repeated.

        Returns:
            (N, k, D) float32.
        """
        codes = self.of(label)
        found = torch.cdist(vectors, codes).topk(min(count, len(codes)), largest=False).indices
        first = found[:, :1].expand(-1, count - found.shape[1])
        return codes[torch.cat([found, first], dim=1)]


def k_means(points: Tensor, most_codes: int, rng: np.random.Generator) -> Tensor:
    """Return centres by Lloyd 1982, started at random points; the points themselves if they are few.

    The same points and generator give the same centres, whatever the number of threads.

    Args:
        points: (N, D) float32, on the CPU.
        most_codes: how many centres to make.
        rng: draws the points to start at.

    Returns:
        (min(N, most_codes), D) float32.
    """
    if len(points) <= most_codes:
        return points.clone()
    from sklearn.cluster import KMeans  # takes a second to import, and only training needs it
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    vectors = points.numpy()
    start = vectors[rng.permutation(len(vectors))[:most_codes]]
    with threadpool_limits(1), warnings.catch_warnings():  # threads would add up in an order of their own
        warnings.simplefilter("ignore", ConvergenceWarning)  # of shapes that occur several times: codes may be equal
        made = KMeans(most_codes, init=start, n_init=1, max_iter=KMEANS_ROUNDS, tol=0, random_state=0).fit(vectors)
    return torch.from_numpy(made.cluster_centers_)
