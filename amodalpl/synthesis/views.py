"""How the recipe `pair` looks at a cut-out: the crop that is drawn, and where each pixel of its patch comes from.

A view is never turned, so a patch is some rows and columns of the stored mask. They are numbers that can be worked out
before any pixel is touched, and used wherever the pixels are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..masks.boxes import Square, crop_square
from ..settings import SynthesisSettings

_FINE = 1024  # parts of a pixel that OpenCV counts in, and so do we, to take the same pixels


@dataclass(frozen=True)
class View:
    """A crop around a cut-out, in pixels of its photo, mirrored or not."""

    square: Square
    flip: bool


def draw_view(box_xywh: tuple[int, int, int, int], rng: np.random.Generator, settings: SynthesisSettings) -> View:
    """Draw a jittered crop.

    Args:
        box_xywh: of the cut-out.
        rng: source of randomness.
        settings: `enlarge_box`, `shift`, `scale`, `flip_probability` are used.
    """
    base = crop_square(box_xywh, settings.enlarge_box)
    shift_x, shift_y = rng.uniform(-settings.shift, settings.shift, size=2) * base.side
    side = base.side / rng.uniform(*settings.scale)
    centre_x, centre_y = base.x + base.side / 2 + shift_x, base.y + base.side / 2 + shift_y
    flip = bool(rng.random() < settings.flip_probability)
    return View(Square(centre_x - side / 2, centre_y - side / 2, side), flip)


def picked(patch_from_raster: np.ndarray, size_hw: np.ndarray, patch_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which row and column of a raster each row and column of its patch takes: `to_patch`, nearest, upright.

    Args:
        patch_from_raster: (..., 2, 3) as `Square.patch_from_raster` gives it.
        size_hw: (..., 2), of the rasters.
        patch_px: P, side of the patches.

    Returns:
        rows, columns: (..., P) int64 each; -1 where the patch reaches beyond the raster.

    >>> picked(np.array([[2.0, 0.0, 2.5], [0.0, 2.0, 0.5]]), np.array([2, 2]), 6)
    (array([ 0,  0,  1,  1, -1, -1]), array([-1, -1,  0,  0,  1,  1]))
    """
    matrix = patch_from_raster[..., None]  # (..., 2, 3, 1)
    inverse = 1.0 / (matrix[..., 0, 0, :] * matrix[..., 1, 1, :])
    per_column, per_row = matrix[..., 1, 1, :] * inverse, matrix[..., 0, 0, :] * inverse  # (..., 1)
    at = np.arange(patch_px)
    # OpenCV rounds step and start apart along x, their sum along y
    columns = np.rint(per_column * at * _FINE) + np.rint(-(per_column * matrix[..., 0, 2, :]) * _FINE)
    rows = np.rint((per_row * at - per_row * matrix[..., 1, 2, :]) * _FINE)
    return _within(rows, size_hw[..., :1]), _within(columns, size_hw[..., 1:])


def _within(fine: np.ndarray, size: np.ndarray) -> np.ndarray:
    whole = (fine.astype(np.int64) + _FINE // 2) // _FINE
    return np.where((whole < 0) | (whole >= size), -1, whole)
