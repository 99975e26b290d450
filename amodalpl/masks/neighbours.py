"""Which masks of an image stand next to each other, with a tolerance for the gaps that annotators leave."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from . import boxes
from .boxed import BoxedMask, BoxedMasks, all_boxed
from .geometry import dilate


def near_pairs(masks: np.ndarray | BoxedMasks, gap_px: int) -> list[tuple[int, int]]:
    """List the pairs of masks that touch or come within a gap of each other.

    Args:
        masks: N, or their (N, H, W) bool stack.
        gap_px: largest number of free pixels between two neighbours, along either axis; 0 asks for contact
            (8-neighbourhood).

    Returns:
        Pairs (i, j) with i < j.
    """
    masks = all_boxed(masks)
    filled = masks.filled
    tight = masks.boxes_xywh[filled]
    near = boxes.boxes_near(tight, tight, gap_px)
    pairs = []
    for a, b in zip(*np.nonzero(np.triu(near, k=1)), strict=True):
        if masks_near(masks[filled[a]], masks[filled[b]], gap_px):
            pairs.append((filled[a], filled[b]))
    return pairs


def masks_near(first: BoxedMask, second: BoxedMask, gap_px: int) -> bool:
    """Tell whether two masks of a frame have at most `gap_px` free pixels between them."""
    reach = gap_px + 1
    x, y, w, h = first.box_xywh
    window = np.s_[max(y - reach, 0) : y + h + reach, max(x - reach, 0) : x + w + reach]
    return bool((dilate(first[window], reach) & second[window]).any())


def neighbours_both_ways(pairs: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
    """Return the neighbours of each object that has any, sorted."""
    groups: dict[int, list[int]] = defaultdict(list)
    for i, j in pairs:
        groups[i].append(j)
        groups[j].append(i)
    return {index: sorted(group) for index, group in sorted(groups.items())}
