"""How many objects are put together, and where one is put over another, after Zhan et al. 2020 (their `combine`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def draw_number(odds: Sequence[float], rng: np.random.Generator) -> int:
    """Draw 0, 1, 2 ... with given odds: what `rng.choice` draws, without its checks, which take longer.

    Args:
        odds: not all of them 0; they need not sum to 1.
        rng: source of randomness.
    """
    sums = np.cumsum(np.array(odds) / sum(odds))
    return int(np.searchsorted(sums / sums[-1], rng.random(), side="right"))


def draw_offset(rng: np.random.Generator, overlap_fraction: tuple[float, float]) -> tuple[float, float]:
    """Draw a shift under which two unit windows overlap by a uniform fraction of their area.

    The fraction o is drawn first, then dx from U(o - 1, 1 - o), and |dy| follows: (1 - |dx|)(1 - |dy|) = o.

    Args:
        rng: source of randomness.
        overlap_fraction: least and most o, within (0, 1].

    Returns:
        dx, dy in window sides.
    """
    overlap = rng.uniform(*overlap_fraction)
    dx = rng.uniform(overlap - 1, 1 - overlap)
    dy = 1 - overlap / (1 - abs(dx))
    return dx, dy if rng.random() < 0.5 else -dy


def shifted(patch: np.ndarray, dx_px: int, dy_px: int) -> np.ndarray:
    """Move a patch's content; what leaves is lost, what enters is zero.

    Args:
        patch: (P, P[, C]) array.
        dx_px: to the right.
        dy_px: down.

    >>> shifted(np.eye(3, dtype=int), 1, 0).tolist()
    [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    """
    height, width = patch.shape[:2]
    moved = np.zeros_like(patch)
    source = np.s_[max(-dy_px, 0) : height - max(dy_px, 0), max(-dx_px, 0) : width - max(dx_px, 0)]
    target = np.s_[max(dy_px, 0) : height + min(dy_px, 0), max(dx_px, 0) : width + min(dx_px, 0)]
    moved[target] = patch[source]
    return moved


def place_occluder(
    rng: np.random.Generator,
    target: np.ndarray,
    occluder: np.ndarray,
    overlap_fraction: tuple[float, float],
    cut_fraction: tuple[float, float],
    tries: int,
) -> tuple[int, int] | None:
    """Find a shift of the occluder that hides an accepted share of the target.

    Args:
        rng: source of randomness.
        target: (P, P) bool.
        occluder: (P, P) bool, in a patch of its own.
        overlap_fraction: see `draw_offset`.
        cut_fraction: hidden share of the target, least (included) and most (excluded).
        tries: shifts drawn before giving up.

    Returns:
        dx, dy in pixels; None when no drawn shift fits. The reference silently keeps its last try instead.
    """
    side = target.shape[0]
    area = int(np.count_nonzero(target))
    if area == 0:
        return None
    for _ in range(tries):
        dx, dy = draw_offset(rng, overlap_fraction)
        dx_px, dy_px = int(dx * side), int(dy * side)
        rows = np.s_[max(dy_px, 0) : side + min(dy_px, 0), max(dx_px, 0) : side + min(dx_px, 0)]
        back = np.s_[max(-dy_px, 0) : side - max(dy_px, 0), max(-dx_px, 0) : side - max(dx_px, 0)]
        hidden = int(np.count_nonzero(target[rows] & occluder[back])) / area
        if cut_fraction[0] <= hidden < cut_fraction[1]:
            return dx_px, dy_px
    return None
