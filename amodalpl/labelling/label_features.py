"""What an object and its label look like, in a few numbers that tell how far the label can be believed.

The error that the network's probabilities imply knows of annotated occluders only. An object in two pieces, or with a
bay in its contour that no other object fills, may be hidden all the same, by something without a mask. These numbers
need masks only, no photo and no truth, so that labels of hold-outs and of a user's photos are described alike. How many
neighbours an object has, and how much of its contour they touch, are left out: objects of a hold-out stand apart, so
that there a lonely object is a suspicious one, and on photos it is not (LOG.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields

import cv2
import numpy as np

from ..masks.boxed import BoxedMask, BoxedMasks, Window
from ..masks.geometry import count_px, dilate, filled_hull

PIECE = 0.02  # of the object's area; smaller pieces are slips of the pen
STRAIGHT = 0.0075  # of the contour's length: how far a straight run may be from the contour
EDGE_PX = 2  # contours this near to the edge of the photo end there


@dataclass(frozen=True)
class LabelFeatures:
    """What an object and its label look like, in shares, in [0, 1] but for the pieces.

    Attributes:
        implied: the error that the completer's probabilities imply; 0 where it was not asked.
        grown: of the label, what was added to what is seen.
        at_edge: of the contour, what lies at the edge of the photo.
        bay: of the convex hull, what neither the object nor any other has.
        behind: of the convex hull, what others have.
        straight: longest straight run of the contour where nothing touches it, over the whole contour.
        slender: shorter over longer side of the smallest rectangle around the largest piece.
        size: side of a square as large as the object, over that of one as large as the photo.
        pieces: of the object, beyond the first, at most 3.
    """

    implied: float
    grown: float
    at_edge: float
    bay: float
    behind: float
    straight: float
    slender: float
    size: float
    pieces: float

    def to_json(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)

    def as_row(self) -> list[float]:
        """Return the numbers in the order of `FEATURES`."""
        return [float(value) for value in astuple(self)]


FEATURES = tuple(field.name for field in fields(LabelFeatures))


def describe_label(masks: BoxedMasks, target: int, whole: BoxedMask, implied: float, gap_px: int) -> LabelFeatures:
    """Describe a visible object and its label.

    Args:
        masks: visible parts of all objects of the photo, disjoint.
        target: index of the object; at least one of its pixels is visible.
        whole: its label; contains what is visible.
        implied: the error that the completer's probabilities imply, in [0, 1].
        gap_px: free pixels between two objects that touch, at most.
    """
    mask, reach = masks[target], gap_px + EDGE_PX
    (x, y, w, h), (height, width) = mask.box_xywh, masks.size_hw
    window = np.s_[max(y - reach, 0) : min(y + h + reach, height), max(x - reach, 0) : min(x + w + reach, width)]
    at_edge = _at_edge(window, masks.size_hw)
    seen, others = mask[window], masks.any_of((k for k in masks.meeting(window) if k != target), window)
    hull, touched = filled_hull(seen), dilate(others, gap_px + 1)
    contour = seen & ~_inside(seen)
    largest = max(_outlines(seen), key=cv2.contourArea)
    sides = sorted(cv2.minAreaRect(largest)[1])
    return LabelFeatures(
        implied=implied,
        grown=1 - mask.area_px / whole.area_px,
        at_edge=count_px(contour & at_edge) / count_px(contour),
        bay=count_px(hull & ~seen & ~others) / count_px(hull),
        behind=count_px(hull & others) / count_px(hull),
        straight=_longest_straight(largest[:, 0], ~(touched | at_edge)),
        slender=(sides[0] + 1) / (sides[1] + 1),
        size=float(np.sqrt(mask.area_px / (height * width))),
        pieces=float(min(max(count_pieces(seen) - 1, 0), 3)),
    )


def count_pieces(mask: np.ndarray) -> int:
    """Count the pieces of a mask that do not touch, but for slips of the pen.

    Args:
        mask: (h, w) bool.
    """
    least_px = PIECE * count_px(mask)
    return sum(cv2.contourArea(outline) > least_px for outline in _outlines(mask))


def _outlines(mask: np.ndarray) -> Sequence[np.ndarray]:
    outlines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return outlines


def _inside(mask: np.ndarray) -> np.ndarray:
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return cv2.erode(mask.view(np.uint8), cross, borderType=cv2.BORDER_CONSTANT, borderValue=0).view(bool)


def _at_edge(window: Window, size_hw: tuple[int, int]) -> np.ndarray:
    """Return the pixels of a window at the edge of the photo, (h, w) bool."""
    rows, columns = (np.arange(part.start, part.stop) for part in window)
    height, width = size_hw
    return ((rows < EDGE_PX) | (rows >= height - EDGE_PX))[:, None] | (
        (columns < EDGE_PX) | (columns >= width - EDGE_PX)
    )


def _longest_straight(outline_xy: np.ndarray, free: np.ndarray) -> float:
    """Return the longest straight run of a closed outline times the share of it that is free, over its length.

    Args:
        outline_xy: (N, 2) int32 pixels of the outline in order.
        free: (h, w) bool, pixels that nothing touches.
    """
    length = cv2.arcLength(outline_xy, True)
    if length == 0:
        return 0.0
    corners = cv2.approxPolyDP(outline_xy, STRAIGHT * length, True)[:, 0]
    longest = 0.0
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = np.rint(a + np.linspace(0, 1, 20)[:, None] * (b - a)).astype(int)
        longest = max(longest, float(np.hypot(*(b - a)) * free[along[:, 1], along[:, 0]].mean()))
    return longest / length
