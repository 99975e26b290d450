"""Masks drawn too tight, as the network sees them: grown, with what that leaves of the gaps between them."""

from __future__ import annotations


def gaps_of_grown(gap_px: int, contour_inset_px: int) -> tuple[int, int]:
    """Return the tolerances for gaps between masks that were grown: to recover the order, and to complete.

    Each gap is narrower from both sides. Growing brings nothing back that was too narrow, and leaves clefts along
    ragged contacts, where the contour of an object then seems to turn away from its occluder. To complete, they are
    closed; the order is better without.

    Args:
        gap_px: tolerance for gaps between the masks as drawn.
        contour_inset_px: by how much each mask is grown.

    >>> gaps_of_grown(7, 3)
    (1, 4)
    >>> gaps_of_grown(2, 0)
    (2, 2)
    """
    ordering_px = max(0, gap_px - 2 * contour_inset_px)
    return ordering_px, ordering_px + contour_inset_px
