"""The model itself: likelihoods of a grid of features under each pose and displacement, and what each cell shows.

A template of a class has M poses on a grid of H x W cells around the object's centre. Each cell has a distribution over
concepts if the object is there (α) and one if its surroundings are (β), and the prior p that the object is there
(eq. 5). A crop of h x w cells lies somewhere on that grid. Both grids have their centres in the middle; displacement
(dy, dx) is that of the object's centre from the crop's, in cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .concepts import activations

CLUTTER, OBJECT, CONTEXT = 0, 1, 2
"""What a cell shows: something else that hides the object, the object, its surroundings."""
_TINY = 1e-30


@dataclass(frozen=True)
class Template:
    """What is learnt of a class.

    Attributes:
        foreground: (M, H, W, K) distributions α over concepts, where the object is.
        context: (M, H, W, K) distributions β, where its surroundings are.
        prior: (M, H, W) probability p that the object is there, within (0, 1).
        surroundings: (K,) distribution of the surroundings beyond the grid.
    """

    foreground: Tensor
    context: Tensor
    prior: Tensor
    surroundings: Tensor

    @property
    def size_hw(self) -> tuple[int, int]:
        """Cells of the grid."""
        return self.prior.shape[1], self.prior.shape[2]


@dataclass(frozen=True)
class Placement:
    """The best pose and displacement of a batch of B objects.

    Attributes:
        pose: (B,) int64.
        shift_yx: (B, 2) int64, of the object's centre from the crop's, in cells.
        score: (B,) mean log-likelihood ratio per cell, 0 or more.
    """

    pose: Tensor
    shift_yx: Tensor
    score: Tensor


@dataclass(frozen=True)
class Decision:
    """What each cell of a batch of B crops shows, on any grid.

    Attributes:
        log_joint: (B, h, w, 3) of clutter, object, context.
        prior: (B, h, w) that the object is there.
    """

    log_joint: Tensor
    prior: Tensor

    @property
    def labels(self) -> Tensor:
        """(B, h, w) int64, the most likely of `CLUTTER`, `OBJECT`, `CONTEXT`."""
        return self.log_joint.argmax(dim=-1)


class CompositionalModel(nn.Module):
    """Concepts, outlier models and the templates of all classes, as buffers.

    Args:
        concepts: (K, C) unit vectors.
        outliers: (n, K) distributions over concepts of what may hide an object.
        templates: by category id.
        kappa: concentration of the concepts.
        context_share: ω of the fused template that poses are chosen by, 0 to 1; 0.2 in the authors' code.
        hidden_prior: P(z) that a cell is hidden, 0 to 1. At 0.5 it drops out, as in the authors' code.
    """

    concepts: Tensor
    outliers: Tensor

    def __init__(
        self,
        concepts: Tensor,
        outliers: Tensor,
        templates: dict[int, Template],
        *,
        kappa: float = 65.0,
        context_share: float = 0.2,
        hidden_prior: float = 0.5,
    ) -> None:
        super().__init__()
        self.kappa, self.context_share, self.hidden_prior = kappa, context_share, hidden_prior
        self.register_buffer("concepts", concepts)
        self.register_buffer("outliers", outliers)
        self.categories = sorted(templates)
        for category_id, template in templates.items():
            for name, value in vars(template).items():
                self.register_buffer(f"{name}_{category_id}", value)

    def template(self, category_id: int) -> Template:
        """Return what was learnt of a class."""
        return Template(*(getattr(self, f"{name}_{category_id}") for name in Template.__dataclass_fields__))

    def seen(self, features: Tensor) -> Tensor:
        """Return activations (..., K) of unit features (..., C)."""
        return activations(features, self.concepts, self.kappa)

    def clutter(self, seen: Tensor) -> Tensor:
        """Return log Q of each cell (...), the best of the outlier models, of activations (..., K)."""
        return (seen @ self.outliers.T).clamp_min(_TINY).log().amax(dim=-1)

    def place(self, seen: Tensor, category_id: int, *, centred: bool, valid: Tensor | None = None) -> Placement:
        """Find the pose, and the displacement unless it is known, that explain the cells best (eq. 7).

        Every cell of the crop meets every cell of the template in one matrix product; a displacement is a set of such
        meetings. Its score is the mean over cells of max(0, log((1-ω) p α·x + ω (1-p) β·x) - log Q): cells that clutter
        explains better count nothing, so an occluder does not speak against a pose. Cells beyond the template's grid
        are surroundings.

        Args:
            seen: (B, h, w, K) activations.
            category_id: class of all of them.
            centred: the centre of the crop is that of the whole object.
            valid: (B, h, w) bool, cells within the photo; None means all.

        Returns:
            One placement per crop; of equal scores, the one nearest to the centre.
        """
        template = self.template(category_id)
        batch, height, width, _ = seen.shape
        rows = _axis_meetings(height, template.size_hw[0], centred).to(seen.device)  # (Dy, h): template's row, or -1
        columns = _axis_meetings(width, template.size_hw[1], centred).to(seen.device)  # (Dx, w)
        prior = template.prior[..., None]
        fused = (1 - self.context_share) * prior * template.foreground + self.context_share * (
            1 - prior
        ) * template.context  # (M, H, W, K)
        met = torch.einsum("bak,mck->bmac", seen.flatten(1, 2), fused.flatten(1, 2))  # (B, M, hw, HW)
        beyond = self.context_share * (seen.flatten(1, 2) @ template.surroundings)  # (B, hw)
        ratio = met.clamp_min(_TINY).log() - self.clutter(seen).flatten(1, 2)[:, None, :, None]
        gained = ratio.clamp_min(0)
        gained_beyond = (beyond.clamp_min(_TINY).log() - self.clutter(seen).flatten(1, 2)).clamp_min(0)
        counted = torch.ones_like(gained_beyond) if valid is None else valid.flatten(1, 2).to(gained_beyond)

        cell = rows[:, None, :, None] * template.size_hw[1] + columns[None, :, None, :]  # (Dy, Dx, h, w)
        inside = (rows >= 0)[:, None, :, None] & (columns >= 0)[None, :, None, :]
        cell = cell.clamp_min(0).flatten(2).flatten(0, 1)  # (D, hw)
        inside = inside.flatten(2).flatten(0, 1)
        cells = torch.arange(height * width, device=seen.device)
        picked = gained[:, :, cells, cell]  # (B, M, D, hw)
        picked = torch.where(inside, picked, gained_beyond[:, None, None, :])
        score = (picked * counted[:, None, None]).sum(dim=-1) / counted.sum(dim=1).clamp_min(1)[:, None, None]

        shifts = torch.cartesian_prod(_shifts(template.size_hw[0], centred), _shifts(template.size_hw[1], centred))
        nearest_first = (shifts**2).sum(dim=1).argsort(stable=True).to(seen.device)
        best = score[:, :, nearest_first].transpose(1, 2).flatten(1)  # (B, D M), displacement first
        top, at = best.max(dim=1)
        poses = score.shape[1]
        shift = shifts.to(seen.device)[nearest_first[at // poses]]
        return Placement(at % poses, shift, top)

    def decide(self, seen: Tensor, category_id: int, placed: Placement) -> Decision:
        """Tell of each cell of the crop whether it shows the object, its surroundings, or what hides it (eq. 9, 10).

        log-joints, as in the authors' code: clutter p Q, object p α·x, context (1-p) β·x, the latter two weighed by
        1 - P(z), the first by P(z). Of a cell that was not looked at only the prior is known: the object is there and
        hidden (p), or not (1-p).

        Args:
            seen: (B, h, w, K) activations; 0 in cells that were not looked at.
            category_id: class of all of them.
            placed: of `place`.
        """
        size_hw = (seen.shape[1], seen.shape[2])
        template = self.template(category_id)
        prior = self.spread(template.prior, placed, size_hw, _TINY)  # (B, h, w)
        foreground = self.spread(template.foreground, placed, size_hw, template.surroundings)
        context = self.spread(template.context, placed, size_hw, template.surroundings)
        hidden = torch.tensor(self.hidden_prior, device=seen.device).clamp(1e-6, 1 - 1e-6)
        log_object = (prior * (seen * foreground).sum(dim=-1)).clamp_min(_TINY).log() + (1 - hidden).log()
        log_context = ((1 - prior) * (seen * context).sum(dim=-1)).clamp_min(_TINY).log() + (1 - hidden).log()
        log_clutter = prior.clamp_min(_TINY).log() + self.clutter(seen) + hidden.log()
        looked_at = torch.stack([log_clutter, log_object, log_context], dim=-1)
        by_prior = torch.stack([prior, torch.full_like(prior, _TINY), 1 - prior], dim=-1).clamp_min(_TINY).log()
        return Decision(torch.where((seen.sum(dim=-1) > 0)[..., None], looked_at, by_prior), prior)

    def spread(self, grid: Tensor, placed: Placement, size_hw: tuple[int, int], beyond: Tensor | float) -> Tensor:
        """Lay each object's pose of a template on a grid around the crop's centre.

        Args:
            grid: (M, H, W) or (M, H, W, K).
            placed: of B objects.
            size_hw: cells of the grid that is wanted; its centre is that of the crop.
            beyond: value of cells beyond the template.

        Returns:
            (B, *size_hw) or (B, *size_hw, K).
        """
        rows = _meeting(size_hw[0], grid.shape[1], placed.shift_yx[:, 0])  # (B, h)
        columns = _meeting(size_hw[1], grid.shape[2], placed.shift_yx[:, 1])  # (B, w)
        inside = (rows >= 0)[:, :, None] & (columns >= 0)[:, None, :]
        values = grid[
            placed.pose[:, None, None], rows.clamp_min(0)[:, :, None], columns.clamp_min(0)[:, None, :]
        ]  # (B, h, w[, K])
        inside = inside if grid.ndim == 3 else inside[..., None]
        return torch.where(inside, values, torch.as_tensor(beyond, dtype=values.dtype, device=values.device))


def _shifts(cells: int, centred: bool) -> Tensor:
    """Return displacements along one axis: up to half of the template either way."""
    return torch.zeros(1, dtype=torch.int64) if centred else torch.arange(-(cells // 2), cells // 2 + 1)


def _meeting(crop: int, template: int, shift: Tensor) -> Tensor:
    """Return which cell of the template each cell of a crop meets along one axis: (D, crop), -1 for none."""
    at = torch.arange(crop, device=shift.device) - crop // 2 + template // 2
    met = at[None, :] - shift[:, None]
    return torch.where((met >= 0) & (met < template), met, -1)


def _axis_meetings(crop: int, template: int, centred: bool) -> Tensor:
    return _meeting(crop, template, _shifts(template, centred))
