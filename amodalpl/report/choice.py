"""Which labels to look at where there are too many to show them all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

from ..data.label_folder import LabelEntry


def choose(labels: Sequence[LabelEntry], count: int) -> dict[str, list[LabelEntry]]:
    """Choose labels, none twice: two fifths by uncertainty, three tenths by how much was added, the rest evenly by id.

    The worst alone would mislead about the whole, and an even sample alone would hide the worst.

    Args:
        labels: any number.
        count: how many at most.

    Returns:
        Title to labels; one group when all fit.
    """
    by_id = sorted(labels, key=lambda e: e.id)
    by_uncertainty = sorted(by_id, key=lambda e: (-e.uncertainty, -e.growth))
    if len(by_id) <= count:
        return {"All, the most uncertain first": by_uncertainty} if by_uncertainty else {}
    uncertain = by_uncertainty[: math.ceil(count * 0.4)]
    taken = {e.id for e in uncertain}
    grown = list(islice((e for e in sorted(by_id, key=lambda e: -e.growth) if e.id not in taken), count * 3 // 10))
    taken |= {e.id for e in grown}
    rest = [e for e in by_id if e.id not in taken]
    room = count - len(taken)  # fewer than the rest, since not all fit
    even = [rest[k * len(rest) // room] for k in range(room)]
    groups = {"Most uncertain": uncertain, "Grown most": grown, "From all over the file": even}
    return {title: group for title, group in groups.items() if group}


def choose_photos(labels: Sequence[LabelEntry], photos: int, count: int) -> set[int]:
    """Choose whole photos, so that what is shown of one is complete: its labels, who is in front of whom, its order.

    Args:
        labels: of all photos.
        photos: how many photos at most.
        count: how many labels they may have together, about.

    Returns:
        Image ids: all that have labels where they fit, else those of labels that `choose` takes.
    """
    everything = {e.image_id for e in labels}
    if len(everything) <= photos and len(labels) <= count:
        return everything
    fitting = min(photos, max(1, count * len(everything) // len(labels)))
    return {e.image_id for group in choose(labels, fitting).values() for e in group}
