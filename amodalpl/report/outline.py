"""Masks as outlines that a page can draw at any size."""

from __future__ import annotations

import cv2
import numpy as np

from ..masks import rle
from ..masks.rle import Rle

_STEPS = 400  # corners are moved by at most one part in so many of a mask's longer side, which no picture shows


def svg_path(mask: np.ndarray, corner_xy: tuple[int, int] = (0, 0)) -> str:
    """Trace the borders of a mask, holes included, as an SVG path to be filled by the even-odd rule.

    Args:
        mask: (H, W) bool.
        corner_xy: x, y of its top left pixel in the frame of the path.

    Returns:
        Path in half pixels of the frame, relative, integers only; empty for an empty mask. The border runs a quarter of
        a pixel inside the pixels' edges, so that the thinnest mask has an area too.

    >>> svg_path(np.ones((2, 3), bool))
    'M0 0l0 3 5 0 0 -3z'
    """
    doubled = np.repeat(np.repeat(mask.view(np.uint8), 2, axis=0), 2, axis=1)
    contours, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    tolerance = max(1.0, max(doubled.shape) / _STEPS) if max(mask.shape) > 8 else 0.0
    offset = 2 * np.array(corner_xy)
    parts = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, tolerance, closed=True)[:, 0, :].astype(int) + offset  # (K, 2) x, y
        steps = " ".join(f"{x} {y}" for x, y in np.diff(points, axis=0))
        parts.append(f"M{points[0, 0]} {points[0, 1]}" + (f"l{steps}z" if steps else "h1v1h-1z"))
    return "".join(parts)


def svg_paths(modal: Rle, amodal: Rle, shared: Rle | None = None, masked: Rle | None = None) -> dict[str, str]:
    """Trace the parts of one label, in half pixels of its photo.

    Args:
        modal: the visible part.
        amodal: the whole object.
        shared: pixels of the hidden part that belong to other masks, and were not completed; None for none.
        masked: pixels of other masks, for labels that go on where nothing has a mask; None for the others.

    Returns:
        `modal`, `amodal`, `hidden` (completed behind other masks), `unmasked` (completed where no mask is) and
        `shared`, each as `svg_path` has it, empty where there are no such pixels.
    """
    x, y, w, h = box = rle.box_xywh(rle.union(modal, amodal))
    seen, whole = (rle.decode_box(mask, box) for mask in (modal, amodal))
    unseen = whole & ~seen
    others = unseen & rle.decode_box(shared, box) if shared is not None else np.zeros_like(unseen)
    free = unseen & ~others & ~rle.decode_box(masked, box) if masked is not None else np.zeros_like(unseen)
    parts = {"modal": seen, "hidden": unseen & ~others & ~free, "shared": others, "unmasked": free}
    paths = {name: svg_path(mask, (x, y)) if mask.any() else "" for name, mask in parts.items()}
    return {**paths, "amodal": svg_path(whole, (x, y)) if unseen.any() else paths["modal"]}
