"""Visual concepts: a vocabulary of the parts that features show, a mixture of von Mises-Fisher distributions (eq. 3).

All concepts share one concentration, so the normaliser Z is a constant that drops out of every ratio. Activations are
taken relative to a perfect match, exp(κ (cos - 1)), which is the paper's up to that constant and never overflows.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.cluster import kmeans_plusplus
from torch import Tensor


def activations(features: Tensor, concepts: Tensor, kappa: float) -> Tensor:
    """Return how well each concept explains each feature, up to the vMF normaliser.

    Args:
        features: (..., C) unit vectors.
        concepts: (K, C) unit vectors.
        kappa: concentration; 65 in the paper.

    Returns:
        (..., K) in (0, 1]: exp(κ (cos - 1)).
    """
    return ((features @ concepts.T - 1) * kappa).exp()


def fit_vmf(
    features: Tensor, count: int, kappa: float, *, seed: int, rounds: int = 150, tolerance: float = 1e-6
) -> Tensor:
    """Fit a mixture of vMF distributions of one fixed concentration by EM, started by k-means++.

    E step: responsibilities r_ik ∝ π_k exp(κ μ_k·f_i). M step: μ_k = Σ r_ik f_i, normalised; π_k = mean r_ik.

    Args:
        features: (N, C) unit vectors, N at least `count`.
        count: number of distributions K.
        kappa: their concentration.
        seed: of k-means++.
        rounds: most EM steps; 150 in the authors' code.
        tolerance: gain of the mean log-likelihood below which it ends.

    Returns:
        (K, C) unit vectors.
    """
    start, _ = kmeans_plusplus(features.cpu().numpy(), count, random_state=seed)
    means = torch.from_numpy(start).to(features)  # (K, C)
    log_share = features.new_full((count,), -float(np.log(count)))
    before = -torch.inf
    for _ in range(rounds):
        log_joint = (features @ means.T - 1) * kappa + log_share  # (N, K)
        log_all = log_joint.logsumexp(dim=1, keepdim=True)  # (N, 1)
        weights = (log_joint - log_all).exp()
        sums = weights.T @ features  # (K, C)
        empty = sums.norm(dim=1, keepdim=True) < 1e-6  # nobody's concept stays where it is
        means = torch.where(empty, means, torch.nn.functional.normalize(sums, dim=1))
        log_share = weights.mean(dim=0).clamp_min(1e-12).log()
        now = float(log_all.mean())
        if now - before < tolerance:
            break
        before = now
    return means


def shares(weights: Tensor) -> Tensor:
    """Normalise activations to a distribution over concepts: (..., K), each sum 1."""
    return weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-30)


def fit_outliers(seen: Tensor, count: int, *, seed: int) -> Tensor:
    """Learn what features look like that belong to no object in particular: n + 1 distributions over concepts.

    Their likelihood of a cell is the largest of them, as in the authors' code; the paper draws Q from features of
    unannotated images, and so do we: cells anywhere in the photos.

    Args:
        seen: (N, K) activations of such cells.
        count: n; 5 in the paper. Fewer where there are fewer cells.
        seed: of k-means.

    Returns:
        (n + 1, K), the first is the mean of all.
    """
    from sklearn.cluster import KMeans

    of_cells = shares(seen)
    general = of_cells.mean(dim=0, keepdim=True)
    count = min(count, len(of_cells))
    groups = KMeans(count, n_init=1, random_state=seed).fit_predict(of_cells.cpu().numpy())
    means = [of_cells[torch.from_numpy(groups == k).to(of_cells.device)].mean(dim=0) for k in range(count)]
    return torch.cat([general, torch.stack(means)])
