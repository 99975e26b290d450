"""The poses of a class: objects that look alike cell by cell, found by spectral clustering and hard EM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .concepts import shares
from .model import Template

_PRIOR_RANGE = (0.01, 0.99)  # nothing is certain, so that no cell's log-likelihood is infinite
_BORROWED = 1.0  # objects that the mean of the class counts for in each cell, where a pose has few
SPECTRAL_MOST = 400  # objects that are compared pair by pair; all others join the pose that explains them best


@dataclass(frozen=True)
class Examples:
    """Unoccluded objects of one class on one grid.

    Attributes:
        seen: (N, H, W, K) activations; zero beyond the crop of an object.
        foreground: (N, H, W) bool, cells that are taken for the object.
        valid: (N, H, W) bool, cells of the crop within the photo.
    """

    seen: Tensor
    foreground: Tensor
    valid: Tensor


def on_grid(cells: Tensor, columns: int) -> Tensor:
    """Cut or pad (h, w, ...) around its middle column to (h, columns, ...); both counts even; new cells are 0."""
    missing = columns - cells.shape[1]
    if missing <= 0:
        return cells[:, -missing // 2 : cells.shape[1] + missing // 2]
    side = cells.new_zeros(cells.shape[0], missing // 2, *cells.shape[2:])
    return torch.cat([side, cells, side], dim=1)


def similarity(seen: Tensor) -> Tensor:
    """Compare objects cell by cell: the mean over cells of the cosine between their activations.

    Args:
        seen: (N, H, W, K) activations.

    Returns:
        (N, N) in 0 to 1, symmetric, 1 on the diagonal where an object has any cell.
    """
    unit = torch.nn.functional.normalize(seen.flatten(1, 2), dim=-1)  # (N, HW, K)
    filled = (unit.abs().sum(dim=-1) > 0).sum(dim=1).clamp_min(1)  # (N,)
    flat = unit.flatten(1)
    return (flat @ flat.T) / (filled[:, None] * filled[None, :]).to(flat).sqrt()


def cluster_poses(seen: Tensor, count: int, *, seed: int) -> Tensor:
    """Group objects by pose, before EM.

    Args:
        seen: (N, H, W, K) activations.
        count: poses M; with as many objects or fewer, each object is a pose.
        seed: of the clustering.

    Returns:
        (N,) int64 pose of each.
    """
    from sklearn.cluster import SpectralClustering

    if len(seen) <= count:
        return torch.arange(len(seen))
    if count == 1:
        return torch.zeros(len(seen), dtype=torch.int64)
    alike = similarity(seen).cpu().numpy().astype(np.float64) + 1e-6  # a graph in one piece
    found = SpectralClustering(count, affinity="precomputed", assign_labels="kmeans", random_state=seed).fit_predict(
        alike
    )
    return torch.from_numpy(found.astype(np.int64))


def estimate(examples: Examples, pose: Tensor, count: int) -> Template:
    """Estimate the distributions of each pose from its members (M step).

    α and β of a cell are mean shares of concepts over members that show the object, or not, there; p is the share of
    members that do, where a cell beyond a member's crop does not. Cells with few members borrow from the class's mean.

    Args:
        examples: of the class.
        pose: (N,) int64.
        count: poses M.
    """
    of_cells = shares(examples.seen)  # (N, H, W, K)
    here = (examples.foreground & examples.valid).to(of_cells)  # (N, H, W)
    around = (~examples.foreground & examples.valid).to(of_cells)
    usual, surroundings = _mean(of_cells, here), _mean(of_cells, around)
    member = torch.nn.functional.one_hot(pose.to(of_cells.device), count).to(of_cells)  # (N, M)
    n_here, n_around = (torch.einsum("nm,nhw->mhw", member, cells) for cells in (here, around))

    def mean_of(cells: Tensor, number: Tensor, borrowed: Tensor) -> Tensor:
        total = torch.einsum("nm,nhw,nhwk->mhwk", member, cells, of_cells)
        return (total + _BORROWED * borrowed) / (number + _BORROWED)[..., None]

    prior = n_here / member.sum(dim=0).clamp_min(1)[:, None, None]
    return Template(
        mean_of(here, n_here, usual), mean_of(around, n_around, surroundings), prior.clamp(*_PRIOR_RANGE), surroundings
    )


def log_likelihood(examples: Examples, template: Template) -> Tensor:
    """Return (N, M), the mean over an object's cells of log(p α·x + (1-p) β·x), centred (eq. 5 and 6)."""
    prior = template.prior[..., None]
    fused = prior * template.foreground + (1 - prior) * template.context  # (M, H, W, K)
    met = torch.einsum("nhwk,mhwk->nmhw", examples.seen, fused).clamp_min(1e-30).log()
    counted = examples.valid[:, None].to(met)
    return (met * counted).sum(dim=(2, 3)) / counted.sum(dim=(2, 3)).clamp_min(1)


def fit_poses(
    examples: Examples, count: int, *, seed: int, rounds: int = 10, start: Tensor | None = None
) -> tuple[Template, Tensor]:
    """Learn the poses of a class: spectral clustering, then hard EM until fewer than 1 % of the objects change theirs.

    Args:
        examples: of the class; the first `SPECTRAL_MOST` are compared pair by pair.
        count: poses M, at most.
        seed: of the clustering.
        rounds: most steps; 10 in the authors' code.
        start: (N,) pose of each object in place of the clustering.

    Returns:
        The template, of as many poses as have members, and the pose of each object.
    """
    if start is None:
        few = Examples(*(getattr(examples, f)[:SPECTRAL_MOST] for f in Examples.__dataclass_fields__))
        start = cluster_poses(few.seen, count, seed=seed)
        if len(start) < len(examples.seen):
            start = log_likelihood(examples, estimate(few, *_numbered(start))).argmax(dim=1).cpu()
    pose = start
    for _ in range(rounds):
        template = estimate(examples, *_numbered(pose))
        pose = _numbered(pose)[0]
        better = log_likelihood(examples, template).argmax(dim=1).cpu()
        changed = float((better != pose).double().mean())
        pose = better
        if changed < 0.01:
            break
    pose, number = _numbered(pose)
    return estimate(examples, pose, number), pose


def _numbered(pose: Tensor) -> tuple[Tensor, int]:
    """Number the poses that have members from 0 on."""
    kept, again = torch.unique(pose, return_inverse=True)
    return again, len(kept)


def _mean(of_cells: Tensor, counted: Tensor) -> Tensor:
    """Return the mean (K,) of cells (N, H, W, K); an even distribution where none counts."""
    total = torch.einsum("nhw,nhwk->k", counted, of_cells)
    even = torch.full_like(total, 1 / len(total))
    number = counted.sum()
    return total / number if float(number) > 0 else even
