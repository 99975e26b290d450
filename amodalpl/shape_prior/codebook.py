"""Codebooks of shapes: latent vectors of whole shapes of a class, and those of all classes for any other.

After Xiao et al. 2021 ("Amodal Segmentation Based on Visible Region Segmentation and Shape Prior", section 3.3):
k-means over the latent vectors of each class. Differences: a class with few shapes keeps each of them as a code, and a
class without codes has those of all classes together.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

KMEANS_ROUNDS = 10


class Codebook(nn.Module):
    """Codes per class, held as buffers: they are in the state dict, move with the module and learn nothing.

    A state dict may hold other classes and numbers of codes than the module does: loading takes them over.

    Args:
        any_class: (K, D) float32, codes of all classes together, for every class that has none of its own.
        of_class: by class id, (K, D) float32; K may differ.
    """

    any_class: Tensor

    def __init__(self, any_class: Tensor, of_class: Mapping[int, Tensor] | None = None) -> None:
        super().__init__()
        self.register_buffer("any_class", any_class)
        for class_id, codes in (of_class or {}).items():
            self.register_buffer(_name(class_id), codes)

    @property
    def class_ids(self) -> list[int]:
        """Classes that have codes of their own, in increasing order."""
        return sorted(int(name.removeprefix(_name(""))) for name in self._buffers if name != "any_class")

    def codes_of(self, class_id: int) -> Tensor:
        """Return the codes of a class, (K, D) float32; those of all classes where it has none."""
        codes = self._buffers.get(_name(class_id))
        return self.any_class if codes is None else codes

    def nearest(self, vectors: Tensor, class_ids: Tensor, k: int) -> Tensor:
        """Return the codes of its class that are nearest to each vector, by Euclidean distance.

        Args:
            vectors: (N, D) float, latent vectors.
            class_ids: (N,) int64.
            k: how many. Where a class has fewer codes, its furthest is repeated.

        Returns:
            (N, k, D) float, the nearest first.
        """
        found = vectors.new_empty(len(vectors), k, vectors.shape[1])
        for class_id in class_ids.unique().tolist():
            members, codes = class_ids == class_id, self.codes_of(class_id).to(vectors.dtype)
            order = torch.cdist(vectors[members], codes).argsort(dim=1, stable=True)
            found[members] = codes[order[:, torch.arange(k).clamp_max(len(codes) - 1)]]
        return found

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *others: Any) -> None:
        given = {name.removeprefix(prefix): codes for name, codes in state_dict.items() if name.startswith(prefix)}
        for class_id in self.class_ids if given else ():
            del self._buffers[_name(class_id)]
        for name, codes in given.items():
            self.register_buffer(name, torch.empty_like(codes, device=self.any_class.device))
        super()._load_from_state_dict(state_dict, prefix, *others)


def _name(class_id: int | str) -> str:
    return f"class_{class_id}"


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
