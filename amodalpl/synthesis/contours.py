"""Contours as they come: loose, tight, coarse. Training sees them so that predicted masks work as input."""

from __future__ import annotations

import cv2
import numpy as np

from ..masks.geometry import dilate


def redraw(mask: np.ndarray, rng: np.random.Generator, largest_px: int) -> np.ndarray:
    """Redraw a mask as another annotator, or a detector, might have.

    One of four, equally likely: tighter (eroded), looser (dilated), coarser (a polygon of few corners), or tighter and
    coarser. The amount is uniform up to `largest_px`.

    Args:
        mask: (P, P) bool.
        rng: source of randomness.
        largest_px: of the erosion, the dilation and the polygon's deviation, in patch pixels; at least 1.

    Returns:
        (P, P) bool; the mask itself where nothing would be left of it.
    """
    way, amount = int(rng.integers(4)), int(rng.integers(1, largest_px + 1))
    drawn = mask
    if way in (0, 3):
        drawn = _eroded(drawn, amount)
    if way == 1:
        drawn = dilate(drawn, amount)
    if way in (2, 3):
        drawn = _coarse(drawn, amount)
    return drawn if drawn.any() else mask


def _eroded(mask: np.ndarray, radius_px: int) -> np.ndarray:
    kernel = np.ones((2 * radius_px + 1, 2 * radius_px + 1), dtype=np.uint8)
    return cv2.erode(mask.view(np.uint8), kernel).view(bool)


def _coarse(mask: np.ndarray, deviation_px: float) -> np.ndarray:
    outlines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    corners = [cv2.approxPolyDP(outline, deviation_px, True) for outline in outlines]
    drawn = np.zeros(mask.shape, dtype=np.uint8)
    cv2.fillPoly(drawn, [c for c in corners if len(c) >= 3], 1)  # even-odd, so that holes stay holes
    return drawn.view(bool)
