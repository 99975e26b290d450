"""Which masks of a photo claim the same pixels, and how many, without decoding any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import rle
from .rle import Rle

PAIRS_AT_ONCE = 2**20  # of a photo with very many masks


def overlapping_pairs(modal: Sequence[Rle]) -> list[tuple[int, int, int]]:
    """Find the masks of a photo that claim the same pixels.

    Args:
        modal: N masks of one frame.

    Returns:
        (i, j, number of pixels that both have) for i < j, where there is one.
    """
    if len(modal) < 2:
        return []
    rows = max(1, PAIRS_AT_ONCE // len(modal))
    pairs: list[tuple[int, int, int]] = []
    for start in range(0, len(modal), rows):
        common_px = rle.intersections_px(modal[start : start + rows], modal[start:])
        firsts, seconds = np.nonzero(common_px)
        once = firsts < seconds
        firsts, seconds = firsts[once], seconds[once]
        common_px = common_px[firsts, seconds]
        pairs += zip((firsts + start).tolist(), (seconds + start).tolist(), common_px.tolist(), strict=True)
    return pairs


def lost_by_sharing_px(modal: Sequence[Rle], areas_px: Sequence[int], pairs: Sequence[tuple[int, int, int]]) -> int:
    """Count the pixels that masks give up when each keeps one owner.

    Args:
        modal: N masks of one frame.
        areas_px: of the masks.
        pairs: as `overlapping_pairs` gives them.
    """
    partners: dict[int, set[int]] = {}
    for first, second, _ in pairs:
        partners.setdefault(first, set()).add(second)
        partners.setdefault(second, set()).add(first)
    if all(partners[first].isdisjoint(partners[second]) for first, second, _ in pairs):
        return sum(px for _, _, px in pairs)  # no three masks meet, so every pixel counted is given up once
    claimed = sorted(partners)
    return sum(areas_px[index] for index in claimed) - rle.area_px(rle.union(*(modal[index] for index in claimed)))


def sharing_more_than(
    fraction: float, modal: Sequence[Rle], areas_px: Sequence[int], pairs: Sequence[tuple[int, int, int]]
) -> list[int]:
    """Tell which masks have more than a fraction of their pixels claimed by any others.

    Args:
        fraction: 0 to 1.
        modal: N masks of one frame.
        areas_px: of the masks.
        pairs: as `overlapping_pairs` gives them.

    Returns:
        Indices of masks.
    """
    partners: dict[int, list[tuple[int, int]]] = {}
    for first, second, common_px in pairs:
        partners.setdefault(first, []).append((second, common_px))
        partners.setdefault(second, []).append((first, common_px))
    sharing = []
    for index, others in sorted(partners.items()):
        limit_px = fraction * areas_px[index]
        shares = max(px for _, px in others) > limit_px
        if not shares and sum(px for _, px in others) > limit_px:  # only then must the others be united
            union = rle.union(*(modal[other] for other, _ in others))
            shares = rle.intersection_px(modal[index], union) > limit_px
        if shares:
            sharing.append(index)
    return sharing
