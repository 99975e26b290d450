"""Outlines as tools draw them, checked and made into masks: polygons, boxes, ellipses, crops of pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..masks import rle
from .mask_parsing import MAX_COORDINATE_PX, as_number, brief
from .records import LeftOut, Mask

DECIMALS = 5  # of pixels, kept of coordinates that a file states as fractions, so that they come back as drawn
CORNERS_OF_A_CIRCLE = 72  # a circle of 100 px is off by a twentieth of a pixel


def number(value: Any) -> float:
    """Return a coordinate, which may be written as text.

    Raises:
        LeftOut: not a finite number within what photos can have.
    """
    value = as_number(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_COORDINATE_PX:
        raise LeftOut(f"malformed outline: expected coordinates within {MAX_COORDINATE_PX} pixels, got {brief(value)}")
    return float(value)


def decimal(text: Any) -> float:
    """Return a coordinate that is written as text.

    Raises:
        LeftOut: as `number` does.
    """
    try:
        return number(float(text))
    except (TypeError, ValueError):
        raise LeftOut(f"malformed outline: expected a number, got {brief(text)}") from None


def ring(points: Any) -> tuple[float, ...]:
    """Return a polygon, flat, from a list of pairs x, y.

    Raises:
        LeftOut: not pairs of numbers, or fewer than 3.
    """
    if not isinstance(points, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in points):
        raise LeftOut(f"malformed outline: expected pairs of x and y, got {brief(points)}")
    if len(points) < 3:
        raise LeftOut(f"polygon with fewer than 3 points: got {len(points)}")
    return tuple(number(value) for point in points for value in point)


def rectangle(x: float, y: float, width: float, height: float, degrees: float = 0.0) -> tuple[float, ...]:
    """Return a box as a polygon, turned clockwise about its top left corner.

    >>> rectangle(1, 2, 3, 4)
    (1.0, 2.0, 4.0, 2.0, 4.0, 6.0, 1.0, 6.0)
    """
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64)
    return _placed(corners, x, y, degrees)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> tuple[float, ...]:
    """Return an ellipse around x, y as a polygon of `CORNERS_OF_A_CIRCLE` corners, turned clockwise about x, y."""
    angles = np.arange(CORNERS_OF_A_CIRCLE) * (2 * math.pi / CORNERS_OF_A_CIRCLE)
    corners = np.stack([radius_x * np.cos(angles), radius_y * np.sin(angles)], axis=1)
    return _placed(corners, x, y, degrees)


def _placed(corners: np.ndarray, x: float, y: float, degrees: float) -> tuple[float, ...]:
    if degrees:
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        corners = corners @ np.array([[cos, sin], [-sin, cos]])  # y points down, so this is clockwise to the eye
    return tuple(number(value) for value in (corners + (x, y)).ravel().tolist())


def join(outlines: Sequence[Mask], size_hw: tuple[int, int]) -> Mask:
    """Return the union of the parts of one object: polygons stay polygons unless a part is in pixels."""
    if len(outlines) == 1:
        return outlines[0]
    if all(outline.rle is None for outline in outlines):
        return Mask(tuple(part for outline in outlines for part in outline.polygons))
    return Mask(rle=rle.union(*(outline.pixels(size_hw) for outline in outlines)))


def crop_of_pixels(crop: np.ndarray, corner_xy: tuple[int, int], size_hw: tuple[int, int]) -> Mask:
    """Return a mask that is given as a crop.

    Args:
        crop: (h, w) bool.
        corner_xy: of its top left pixel in the photo.
        size_hw: of the photo.

    Raises:
        LeftOut: no true pixel in the photo.
    """
    mask = rle.encode_in_frame(crop, corner_xy, size_hw)
    if not rle.area_px(mask):
        raise LeftOut("empty mask: no pixel of it is in the photo")
    return Mask(rle=mask)
