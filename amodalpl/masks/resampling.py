"""Resampling between image and patch, to the same values under every version of OpenCV.

OpenCV 4's `cv2.warpAffine` rounds positions to 1/1024 of a pixel. OpenCV 5 computes them otherwise, and a fifth of
all labels would differ. So positions are rounded here, as OpenCV 4 does, and `cv2.remap` takes them as they are.
"""

from __future__ import annotations

import cv2
import numpy as np

_FINE = 10  # positions are rounded to 1/2**10 of a pixel
_LINEAR = 5  # interpolation tells 1/2**5 of a pixel apart
_FAR = 2**29  # no sum of two such positions leaves int32


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
    window = np.s_[:patch_px, :patch_px]
    if linear:
        return warp_window(raster, patch_from_raster, window)
    data = raster.view(np.uint8) if raster.dtype == bool else raster
    x, y = _positions(_inverse(patch_from_raster), window, _FINE)
    patch = cv2.remap(data, _pixels(x, y), np.empty(0), cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
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
    return _interpolated(patch, patch_from_raster, np.s_[: size_hw[0], : size_hw[1]], border=cv2.BORDER_REPLICATE)


def warp_window(
    raster: np.ndarray,
    matrix: np.ndarray,
    window: tuple[slice, slice],
    corner_xy: tuple[int, int] = (0, 0),
    border: int = cv2.BORDER_CONSTANT,
) -> np.ndarray:
    """Return a window of an image that is interpolated through an affine matrix, at the price of the window.

    Its values are those of the whole result: positions are counted from the corner of the image.

    Args:
        raster: (h, w) or (h, w, 3) uint8 or float32, a part of the image.
        matrix: (2, 3) from the image to the result.
        window: rows and columns of the result, with stop.
        corner_xy: x, y in the image of the raster's top left pixel.
        border: what is beyond the raster, as OpenCV names it.
    """
    rows, columns = window
    size_hw = max(rows.stop - (rows.start or 0), 0), max(columns.stop - (columns.start or 0), 0)
    if 0 in size_hw:
        return np.zeros((*size_hw, *raster.shape[2:]), dtype=raster.dtype)
    return _interpolated(raster, _inverse(matrix), window, corner_xy, border)


def _inverse(matrix: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.invertAffineTransform(matrix))


def _interpolated(
    raster: np.ndarray,
    raster_from_result: np.ndarray,
    window: tuple[slice, slice],
    corner_xy: tuple[int, int] = (0, 0),
    border: int = cv2.BORDER_CONSTANT,
) -> np.ndarray:
    x, y = _positions(raster_from_result, window, _FINE - _LINEAR)
    within = 2**_LINEAR - 1
    fraction = ((y & within) << _LINEAR).astype(np.uint16) + (x & within).astype(np.uint16)
    pixels = _pixels((x >> _LINEAR) - corner_xy[0], (y >> _LINEAR) - corner_xy[1])
    return cv2.remap(raster, pixels, fraction, cv2.INTER_LINEAR, borderMode=border)


def _positions(raster_from_result: np.ndarray, window: tuple[slice, slice], coarser: int) -> list[np.ndarray]:
    """Return where in the raster the pixels of a window lie.

    Args:
        raster_from_result: (2, 3) affine matrix.
        window: rows and columns of the result.
        coarser: bits by which the unit is larger than the finest.

    Returns:
        x and y, int32; both broadcast to (H, W), so that a matrix that does not turn costs a row and a column.
    """
    columns, rows = (np.arange(side.start or 0, side.stop) for side in reversed(window))
    found = []
    for by_x, by_y, shift in raster_from_result:
        by_column = _rounded(by_x * columns) if by_x else np.zeros(1, np.int32)
        by_row = _rounded(by_y * rows[:, None] + shift) if by_y else _rounded(np.array([shift]))
        found.append((by_column + by_row + (1 << coarser >> 1)) >> coarser)
    return found


def _rounded(at: np.ndarray) -> np.ndarray:
    return np.rint(at * 2**_FINE).clip(-_FAR, _FAR).astype(np.int32)


def _pixels(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return (H, W, 2) int16 x and y of pixels, as `cv2.remap` takes them."""
    pixels = np.empty((*np.broadcast_shapes(x.shape, y.shape), 2), np.int16)
    for axis, at in enumerate((x, y)):
        pixels[..., axis] = at.clip(-(2**15), 2**15 - 1).astype(np.int16)
    return pixels
