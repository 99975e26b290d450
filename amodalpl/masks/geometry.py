"""Raster geometry: growing masks, contact bands, resampling between image and patch."""

from __future__ import annotations

import cv2
import numpy as np


def count_px(mask: np.ndarray) -> int:
    """Return how many pixels are true, as a plain number: from numpy 2.4 on, numpy's own count is not one to JSON."""
    return int(np.count_nonzero(mask))


def dilate(mask: np.ndarray, radius_px: int) -> np.ndarray:
    """Grow a mask by a square of side 2 * radius + 1.

    Args:
        mask: (H, W) bool.
        radius_px: 0 returns the mask itself.
    """
    if radius_px <= 0:
        return mask
    kernel = np.ones((2 * radius_px + 1, 2 * radius_px + 1), dtype=np.uint8)
    return cv2.dilate(mask.view(np.uint8), kernel).view(bool)


def filled_hull(mask: np.ndarray) -> np.ndarray:
    """Return the convex hull of a mask's pixel centres, its edge included.

    Args:
        mask: (H, W) bool; at least one pixel is true.
    """
    rows = np.flatnonzero(mask.any(axis=1))  # only the ends of a row can be corners of the hull
    ends = mask[rows].argmax(axis=1), mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    corners = np.concatenate([np.stack([columns, rows], axis=1) for columns in ends])  # (2 rows, 2) x, y
    outline = cv2.convexHull(corners.astype(np.int32))
    filled = np.zeros(mask.shape, dtype=np.uint8)
    cv2.fillConvexPoly(filled, outline, 1)
    return filled.view(bool)


def touch(first: np.ndarray, second: np.ndarray) -> bool:
    """Tell whether two masks overlap or share an edge (4-neighbourhood): "bordering" in Zhan et al. 2020.

    Args:
        first: (H, W) bool.
        second: (H, W) bool, same frame.
    """
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return bool((cv2.dilate(first.view(np.uint8), cross).view(bool) & second).any())


def occlusion_boundary(modal: np.ndarray, occluder: np.ndarray, width_px: int = 5) -> np.ndarray:
    """Return the band where an object meets its occluder.

    The intersection of both masks, each grown once by a `width_px` square: ASBU (Nguyen and Todorovic 2021), section 3,
    with the 5 of their code. Measured in pixels of the patch.

    Args:
        modal: (H, W) bool, what is visible of the object.
        occluder: (H, W) bool, what is in front of it.
        width_px: odd side of the growing square.
    """
    radius = width_px // 2
    return dilate(modal, radius) & dilate(occluder, radius)


def to_patch(raster: np.ndarray, patch_from_raster: np.ndarray, patch_px: int, *, linear: bool = False) -> np.ndarray:
    """Resample a raster into a patch; outside the raster is zero.

    Args:
        raster: (H, W) bool, or (H, W) or (H, W, 3) uint8 or float32.
        patch_from_raster: (2, 3) affine matrix as `Square.patch_from_raster` gives it.
        patch_px: side of the patch.
        linear: interpolate (images, probabilities); masks take the nearest pixel.

    Returns:
        (patch_px, patch_px[, 3]) of the raster's dtype.
    """
    data = raster.view(np.uint8) if raster.dtype == bool else raster
    patch = cv2.warpAffine(
        data,
        patch_from_raster,
        (patch_px, patch_px),
        flags=cv2.INTER_LINEAR if linear else cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return patch.view(bool) if raster.dtype == bool else patch


def warp_window(
    raster: np.ndarray,
    matrix: np.ndarray,
    window: tuple[slice, slice],
    corner_xy: tuple[int, int] = (0, 0),
    border: int = cv2.BORDER_CONSTANT,
) -> np.ndarray:
    """Return a window of what `cv2.warpAffine` interpolates of an image, bit for bit, at the price of the window.

    It rounds positions to 1/1024 of a pixel by column and by row, which depends on where an array begins; so positions
    are computed as for the whole.

    Args:
        raster: (h, w) or (h, w, 3) uint8, a part of the image.
        matrix: (2, 3) from the image to the result.
        window: rows and columns of the result, with start and stop.
        corner_xy: x, y in the image of the raster's top left pixel.
        border: what is beyond the raster, as OpenCV names it.
    """
    rows, columns = window
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return np.zeros((max(rows.stop - rows.start, 0), max(columns.stop - columns.start, 0)), dtype=raster.dtype)
    inverse = np.asarray(cv2.invertAffineTransform(matrix))
    x, y = np.arange(columns.start, columns.stop), np.arange(rows.start, rows.stop)
    whole, fraction = [], []
    for (by_x, by_y, shift), corner in zip(inverse, corner_xy, strict=True):
        by_column = np.clip(np.rint(by_x * x * 1024), -(2**31), 2**31 - 1).astype(np.int64)
        by_row = np.clip(np.rint((by_y * y + shift) * 1024), -(2**31), 2**31 - 1).astype(np.int64)
        position = (by_column + by_row[:, None] + 16) >> 5  # in 1/32 of a pixel
        whole.append(np.clip((position >> 5) - corner, -(2**15), 2**15 - 1).astype(np.int16))
        fraction.append((position & 31).astype(np.uint16))
    return cv2.remap(
        raster, np.stack(whole, axis=-1), fraction[1] * 32 + fraction[0], cv2.INTER_LINEAR, borderMode=border
    )


def from_patch(patch: np.ndarray, patch_from_raster: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resample a patch of probabilities back into a raster (the inverse of `to_patch`, interpolated).

    Raster pixels beyond the patch get the value of its nearest pixel.

    Args:
        patch: (P, P) float32.
        patch_from_raster: (2, 3) affine matrix that made the patch.
        size_hw: of the raster.

    Returns:
        (H, W) float32.
    """
    return cv2.warpAffine(
        patch,
        patch_from_raster,
        (size_hw[1], size_hw[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
