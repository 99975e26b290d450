"""Raster geometry: growing masks, hulls, contact bands."""

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
