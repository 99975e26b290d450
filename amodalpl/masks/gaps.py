"""Gaps between masks: how wide they are in a data set, what follows from it, and how they are closed.

Annotators and detectors leave pixels free between objects that touch in the world. The reference codes of PCNet-M and
ASBU then see no contact, order no pair and complete nothing. Here nearness is one number everywhere: the free pixels
between two masks along either axis (chessboard distance minus one), at most the tolerance.

Where objects in contact typically leave a gap, contours are drawn too tight, all along and not only where they meet;
masks are grown by half of that gap before anything looks at them. What gaps remain are closed pair by pair.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from . import boxes
from .boxed import BoxedMask, BoxedMasks, all_boxed
from .boxes import tight_box
from .geometry import dilate

FARTHEST_PX = 40  # gaps are counted up to here
WIDEST_PX = 20  # no tolerance is wider: objects further apart do not touch in any sensible annotation
OF_CONTACT = 0.1  # share of the pairs in contact below which distances that stand out do so by chance
SMALLEST_PX = 1  # polygons drawn along one another leave single pixels free
OF_PEAK = 0.05  # and as many as this share of the commonest distance
FEWEST_PAIRS = 50  # fewer say too little
UNMEASURED_PX = 2  # what suits hand-drawn polygons
STRIP_PX = 2**22  # of a large image are grown at a time
DEVIATIONS = 3  # a distance shows contact when it has that many standard deviations more pairs than chance puts there


def pair_gaps(masks: np.ndarray | BoxedMasks, farthest_px: int = FARTHEST_PX) -> list[int]:
    """Measure the free pixels between the masks of every near pair of an image.

    Args:
        masks: N, disjoint, or their (N, H, W) bool stack.
        farthest_px: pairs further apart are left out.

    Returns:
        One number per pair, 0 for contact (8-neighbourhood).
    """
    masks = all_boxed(masks)
    filled = masks.filled
    tight = masks.boxes_xywh[filled]
    near = np.triu(boxes.boxes_near(tight, tight, farthest_px), k=1)
    gaps = []
    for a in np.flatnonzero(near.any(axis=1)):
        x, y, w, h = tight[a]
        reach = farthest_px + 1
        left, top = max(x - reach, 0), max(y - reach, 0)
        away = distance_px(masks[filled[a]][top : y + h + reach, left : x + w + reach])
        for b in np.flatnonzero(near[a]):
            other_x, other_y, other_w, other_h = tight[b]
            x0, y0 = max(other_x, left), max(other_y, top)
            x1, y1 = min(other_x + other_w, left + away.shape[1]), min(other_y + other_h, top + away.shape[0])
            other = masks[filled[b]][y0:y1, x0:x1]
            gap_px = int(away[y0 - top : y1 - top, x0 - left : x1 - left][other].min()) - 1 if other.any() else reach
            if gap_px <= farthest_px:
                gaps.append(max(gap_px, 0))
    return gaps


def distance_px(mask: np.ndarray) -> np.ndarray:
    """Return the chessboard distance of each pixel to a mask.

    Args:
        mask: (H, W) bool with at least one pixel.

    Returns:
        (H, W) float32, whole numbers, 0 within the mask.
    """
    return cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_C, 3)


@dataclass(frozen=True)
class GapTolerance:
    """What was measured of the gaps of a data set, and what follows.

    Attributes:
        gap_px: the tolerance.
        counts: pairs with 0, 1, 2 ... free pixels between them.
        by_chance: pairs per pixel of distance that have nothing to do with each other.
        contour_inset_px: by how much contours are drawn too tight: half of the median gap of pairs in contact.
    """

    gap_px: int
    counts: tuple[int, ...]
    by_chance: float
    contour_inset_px: int = 0


def derive_tolerance(gaps: Iterable[int]) -> GapTolerance:
    """Derive how many free pixels between two masks still mean contact.

    Unrelated objects stand at any distance about equally often, objects in contact at a few distances only, so the
    median shows how many pairs chance puts at each. Neighbouring distances that all have clearly more, and together a
    tenth of what is so much more, show contact; the tolerance is the largest of them, and at most 20 pixels. With fewer
    than 50 pairs it is 2, and contours are not taken to be tight.

    Args:
        gaps: of many pairs, as `pair_gaps` gives them.

    >>> derive_tolerance([0] * 50 + [2] * 50 + list(range(41))).gap_px
    2
    >>> derive_tolerance([4] * 50 + [5] * 20 + list(range(41))).contour_inset_px
    2
    """
    counts = np.bincount(np.minimum(np.fromiter(gaps, dtype=np.int64), FARTHEST_PX + 1), minlength=FARTHEST_PX + 2)
    counts = counts[: FARTHEST_PX + 1]
    by_chance = float(np.median(counts))
    near = counts[: WIDEST_PX + 1]
    clear = np.maximum(by_chance + DEVIATIONS * np.sqrt(by_chance + 1), OF_PEAK * near.max())
    if counts.sum() < FEWEST_PAIRS:
        return GapTolerance(UNMEASURED_PX, tuple(int(c) for c in counts), by_chance)
    contact = np.where(near > clear, near - by_chance, 0.0)
    runs = np.split(np.arange(len(near)), np.flatnonzero(np.diff(contact > 0)) + 1)
    widest = max((int(run[-1]) for run in runs if contact[run].sum() > OF_CONTACT * contact.sum()), default=0)
    up_to = np.cumsum(contact[: widest + 1])
    typical_px = int(np.searchsorted(up_to, up_to[-1] / 2)) if up_to[-1] else 0
    return GapTolerance(max(widest, SMALLEST_PX), tuple(int(c) for c in counts), by_chance, typical_px // 2)


def grow_tight_masks(masks: np.ndarray | BoxedMasks, by_px: int) -> BoxedMasks:
    """Grow masks that were drawn too tight: each free pixel near some goes to the nearest of them.

    Args:
        masks: N, disjoint, or their (N, H, W) bool stack.
        by_px: how near, chessboard distance; 0 returns the masks themselves.

    Returns:
        N, disjoint; each contains what it was.

    >>> row = np.arange(7)[None]
    >>> np.asarray(grow_tight_masks(np.stack([row == 0, row == 5]), 2)).astype(int).tolist()
    [[[1, 1, 1, 0, 0, 0, 0]], [[0, 0, 0, 1, 1, 1, 1]]]
    """
    masks = all_boxed(masks)
    if by_px <= 0 or not masks.filled:
        return masks
    height, width = masks.size_hw
    owners = np.zeros((height, width), dtype=np.int32)  # 0 is nobody
    for number, mask in enumerate(masks, start=1):
        owners[mask.window][mask.crop] = number
    strips = []  # of the rows, since distances take several times the memory of owners
    rows = max(STRIP_PX // width, 1)
    for top in range(0, height, rows):
        above = min(by_px + 1, top)
        strip = owners[top - above : top + rows + by_px + 1]
        strips.append(_nearest_owner(strip, by_px)[above : above + rows])
    owners = np.concatenate(strips)

    def grown(number: int, mask: BoxedMask) -> BoxedMask:
        x, y, w, h = mask.box_xywh
        left, top = max(x - by_px, 0), max(y - by_px, 0)
        around = owners[top : y + h + by_px, left : x + w + by_px]
        return BoxedMask.cut(around == number, (left, top), masks.size_hw)

    return BoxedMasks((grown(k, m) for k, m in enumerate(masks, start=1)), masks.size_hw)


def _nearest_owner(owners: np.ndarray, by_px: int) -> np.ndarray:
    """Give each free pixel (0) that is near owned ones to the owner of the nearest, (h, w) int32."""
    is_free = owners == 0
    if is_free.all():
        return owners
    away_px, nearest = cv2.distanceTransformWithLabels(
        is_free.view(np.uint8), cv2.DIST_C, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner_of = np.zeros(int(nearest.max()) + 1, dtype=np.int32)
    owner_of[nearest[~is_free]] = owners[~is_free]
    return np.where(is_free & (away_px <= by_px), owner_of[nearest], owners)


def close_gap(modal: np.ndarray, occluder: np.ndarray, free: np.ndarray, gap_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Close the gap between an object and its occluder: each free pixel between them goes to the nearer one.

    Between means in a gap that no wider square fits into, so that two that touch stay as they are; masks that face each
    other only at a corner are left apart.

    Args:
        modal: (H, W) bool.
        occluder: (H, W) bool, disjoint from `modal`.
        free: (H, W) bool, pixels that belong to nobody.
        gap_px: widest gap that is closed, in pixels of this frame.

    Returns:
        modal, occluder: (H, W) bool, disjoint; of equal distances the occluder gets the pixel, because there the
        completion decides.

    >>> row = np.arange(6)[None]
    >>> modal, occluder = close_gap(row == 0, row == 4, (row > 0) & (row != 4), 3)
    >>> modal.astype(int).tolist(), occluder.astype(int).tolist()
    ([[1, 1, 0, 0, 0, 0]], [[0, 0, 1, 1, 1, 0]])
    """
    if gap_px <= 0:
        return modal, occluder
    between = free & _closed(modal | occluder, gap_px) & dilate(modal, gap_px) & dilate(occluder, gap_px)
    if not between.any():
        return modal, occluder
    x, y, w, h = tight_box(between)
    reach = gap_px + 1
    window = np.s_[max(y - reach, 0) : y + h + reach, max(x - reach, 0) : x + w + reach]
    to_modal = distance_px(np.ascontiguousarray(modal[window]))
    to_occluder = distance_px(np.ascontiguousarray(occluder[window]))
    between = between[window] & (to_modal + to_occluder <= gap_px + 1)
    modal, occluder = modal.copy(), occluder.copy()
    nearer = to_modal < to_occluder
    modal[window] |= between & nearer
    occluder[window] |= between & ~nearer
    return modal, occluder


def _closed(mask: np.ndarray, gap_px: int) -> np.ndarray:
    """Fill what is too narrow for a square wider than the gap: what lies between masks, not what lies around them."""
    side = gap_px + 1 + gap_px % 2
    return cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_CLOSE, np.ones((side, side), dtype=np.uint8)).view(bool)
