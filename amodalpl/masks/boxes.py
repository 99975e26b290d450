"""Boxes and square crops, in pixels of the whole image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import DataError


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the smallest box around the true pixels.

    Args:
        mask: (H, W) bool.

    Returns:
        x, y, width, height in pixels; x + width is one past the last true column, as in `pycocotools.mask.toBbox`.

    Raises:
        DataError: no pixel is true.

    >>> tight_box(np.eye(3, 5, k=1, dtype=bool))
    (1, 0, 3, 3)
    """
    columns = np.flatnonzero(mask.any(axis=0))
    if columns.size == 0:
        raise DataError("expected a mask with at least one pixel, got an empty one")
    rows = np.flatnonzero(mask.any(axis=1))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


@dataclass(frozen=True)
class Square:
    """A square crop, which may stick out of the image.

    Attributes:
        x: left edge in image pixels, may be negative or fractional.
        y: top edge.
        side: length in image pixels.
    """

    x: float
    y: float
    side: float

    def widened(self, factor: float) -> Square:
        """Return the square of `factor` times the side around the same centre."""
        grown = self.side * (factor - 1) / 2
        return Square(self.x - grown, self.y - grown, self.side * factor)

    def patch_from_raster(
        self, patch_px: int, corner_xy: tuple[float, float] = (0, 0), raster_scale: float = 1.0
    ) -> np.ndarray:
        """Return the (2, 3) float64 affine matrix from a raster of the image to the square's patch.

        Args:
            patch_px: side of the patch in pixels.
            corner_xy: x, y in the image of the raster's top left corner (0, 0 for the image itself).
            raster_scale: raster pixels per image pixel, for rasters that are stored reduced.

        Pixel centres map to pixel centres: patch centre + 0.5 = (image position - square corner) * patch_px / side.
        """
        scale = patch_px / self.side
        dx = (corner_xy[0] + 0.5 / raster_scale - self.x) * scale - 0.5
        dy = (corner_xy[1] + 0.5 / raster_scale - self.y) * scale - 0.5
        return np.array([[scale / raster_scale, 0.0, dx], [0.0, scale / raster_scale, dy]])


def crop_square(box_xywh: tuple[int, int, int, int], enlarge_area: float = 3.0, margin: float = 1.1) -> Square:
    """Return the square around an object that a completer looks at.

    The side is max(sqrt(enlarge_area * w * h), margin * w, margin * h), centred on the box, after Zhan et al. 2020
    (`enlarge_box` 3.0 in their configs). Their truncation to whole pixels is not copied.

    >>> round(crop_square((10, 10, 10, 10)).side, 3)
    17.321
    """
    x, y, w, h = box_xywh
    side = max(math.sqrt(enlarge_area * w * h), margin * w, margin * h)
    return Square(x + w / 2 - side / 2, y + h / 2 - side / 2, side)


def boxes_near(first_xywh: np.ndarray, second_xywh: np.ndarray, gap_px: float) -> np.ndarray:
    """Tell which boxes come within a gap of each other.

    Args:
        first_xywh: (N, 4) boxes.
        second_xywh: (M, 4) boxes.
        gap_px: largest number of free pixels between them that still counts as near; 0 means touching.

    Returns:
        (N, M) bool.
    """
    a, b = np.asarray(first_xywh, dtype=float)[:, None], np.asarray(second_xywh, dtype=float)[None]
    gap_x = np.maximum(a[..., 0] - (b[..., 0] + b[..., 2]), b[..., 0] - (a[..., 0] + a[..., 2]))
    gap_y = np.maximum(a[..., 1] - (b[..., 1] + b[..., 3]), b[..., 1] - (a[..., 1] + a[..., 3]))
    return (gap_x <= gap_px) & (gap_y <= gap_px)
