"""Whole masks from boxes that cost no training: what any method that is given boxes has to beat.

All are called alike: a photo, a box and a class in, a mask out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from ..masks.boxed import BoxedMask

Box = tuple[float, float, float, float]
Segment = Callable[[np.ndarray, Box, str], np.ndarray]
GRABCUT_ROUNDS = 5
SHAPE_PX = 32  # side of the raster of a mean shape


def filled_box(image: np.ndarray, box_xywh: Box, class_name: str = "") -> np.ndarray:
    """Return the pixels whose centre is in the box.

    Args:
        image: (H, W, 3) uint8 RGB; only its size counts.
        box_xywh: in pixels.
        class_name: ignored.

    >>> filled_box(np.zeros((2, 4, 3), np.uint8), (1, 0, 2, 1)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 0, 0, 0]]
    """
    x, y, w, h = box_xywh
    mask = np.zeros(image.shape[:2], dtype=bool)
    x0, y0, x1, y1 = (max(0, round(edge)) for edge in (x, y, x + w, y + h))
    mask[y0:y1, x0:x1] = True
    return mask


def box_ellipse(image: np.ndarray, box_xywh: Box, class_name: str = "") -> np.ndarray:
    """Return the pixels whose centre is in the ellipse that touches the box's sides; arguments as for `filled_box`."""
    x, y, w, h = box_xywh
    ys, xs = np.indices(image.shape[:2], sparse=True)
    return ((xs + 0.5 - x - w / 2) / (w / 2)) ** 2 + ((ys + 0.5 - y - h / 2) / (h / 2)) ** 2 <= 1


def grabcut(image: np.ndarray, box_xywh: Box, class_name: str = "") -> np.ndarray:
    """Return what GrabCut (Rother et al. 2004, as OpenCV has it) takes for the object, from the box alone.

    Background colours are learnt from half a box around it; where the photo has none of that, nothing tells the object
    apart, and the box is filled. OpenCV's random choices are seeded. Arguments as for `filled_box`.
    """
    inside = filled_box(image, box_xywh)
    x, y, w, h = box_xywh
    window = np.s_[max(0, round(y - h / 2)) : round(y + 1.5 * h), max(0, round(x - w / 2)) : round(x + 1.5 * w)]
    states = np.where(inside[window], cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    if not inside.any() or inside[window].all():
        return inside
    cv2.setRNGSeed(0)
    crop = np.ascontiguousarray(image[window][:, :, ::-1])
    no_box = (0, 0, 0, 0)  # the states say where the object may be
    cv2.grabCut(crop, states, no_box, np.zeros((1, 65)), np.zeros((1, 65)), GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    mask = np.zeros(image.shape[:2], dtype=bool)
    mask[window] = (states == cv2.GC_FGD) | (states == cv2.GC_PR_FGD)
    return mask


@dataclass(frozen=True)
class MeanShapes:
    """The mean shape of each class, laid into a box.

    Attributes:
        shapes: by class name, (32, 32) float share of the objects that have a pixel there, of the box.
        of_all: the same of all objects, for other classes.
    """

    shapes: Mapping[str, np.ndarray]
    of_all: np.ndarray

    def __call__(self, image: np.ndarray, box_xywh: Box, class_name: str) -> np.ndarray:
        """Return where at least half of the class's objects are; arguments as for `filled_box`."""
        x, y, w, h = box_xywh
        shape = self.shapes.get(class_name, self.of_all)
        padded = np.pad(shape, 1, mode="edge").astype(np.float32)  # no fading at the sides of the box
        to_photo = np.array(
            [
                [w / SHAPE_PX, 0, x - w / SHAPE_PX / 2 - 0.5],  # centre of the first padded cell
                [0, h / SHAPE_PX, y - h / SHAPE_PX / 2 - 0.5],
            ]
        )
        laid = cv2.warpAffine(padded, to_photo, image.shape[1::-1], flags=cv2.INTER_LINEAR)
        return (laid >= 0.5) & filled_box(image, box_xywh)


class MeanShapesOf:
    """Adds up whole masks to mean shapes."""

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray] = {}
        self._counts: dict[str, int] = {}

    def add(self, mask: BoxedMask, class_name: str) -> None:
        """Add an object; an empty mask adds nothing."""
        if not mask.any():
            return
        small = cv2.resize(mask.crop.astype(np.float32), (SHAPE_PX, SHAPE_PX), interpolation=cv2.INTER_AREA)
        self._sums[class_name] = self._sums.get(class_name, np.zeros_like(small)) + small
        self._counts[class_name] = self._counts.get(class_name, 0) + 1

    def mean(self) -> MeanShapes | None:
        """Return the shapes; None of no objects."""
        if not self._sums:
            return None
        shapes = {name: total / self._counts[name] for name, total in self._sums.items()}
        of_all = np.sum(list(self._sums.values()), axis=0) / sum(self._counts.values())
        return MeanShapes(shapes, of_all)


FREE: dict[str, Segment] = {"filled box": filled_box, "box ellipse": box_ellipse, "GrabCut": grabcut}
