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
