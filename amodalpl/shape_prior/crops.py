"""Masks as the shape auto-encoder of `plausibility` sees them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ..masks.boxes import tight_box

CROP_PX = 28  # the paper's
PLANES = 2  # the mask and its hollows


def crop_shapes(masks: Sequence[np.ndarray]) -> Tensor:
    """Return each mask in its tight box, centred, its aspect kept, and its hollows (convex hull minus mask) beside it.

    A mirrored mask has the mirrored crop.

    Args:
        masks: N masks, each (h, w) bool in any frame, with at least one pixel.

    Returns:
        (N, 2, CROP_PX, CROP_PX) float32 in [0, 1].
    """
    crops = np.zeros((len(masks), PLANES, CROP_PX, CROP_PX), dtype=np.float32)
    for crop, mask in zip(crops, masks, strict=True):
        x, y, w, h = tight_box(mask)
        shape = np.ascontiguousarray(mask[y : y + h, x : x + w]).astype(np.uint8)
        hull = np.zeros_like(shape)
        cv2.fillConvexPoly(hull, cv2.convexHull(np.argwhere(shape)[:, ::-1].astype(np.int32)), 1)
        # even sizes leave equal margins, so that a mirrored mask has the mirrored crop
        width, height = (max(2, 2 * round(CROP_PX / 2 * side / max(w, h))) for side in (w, h))
        top, left = (CROP_PX - height) // 2, (CROP_PX - width) // 2
        method = cv2.INTER_AREA if max(w, h) > CROP_PX else cv2.INTER_LINEAR
        for plane, part in zip(crop, (shape, hull & ~shape), strict=True):
            resized = cv2.resize(part.astype(np.float32), (width, height), interpolation=method)
            plane[top : top + height, left : left + width] = resized
    return torch.from_numpy(crops)
