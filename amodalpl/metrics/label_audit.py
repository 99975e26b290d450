"""What a judged sample of labels says of all labels.

Labels are divided into strata, a few of each are drawn at random and judged by a person. Within a stratum the true
share of right ones is bounded as Clopper and Pearson 1934 do. Strata are drawn independently, so H bounds that hold
with probability c^(1/H) each hold together with c (Sidak 1967), and so does their weighted mean: the statement on all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from ..errors import DataError

CONFIDENCE = 0.95
LEAST_PER_STRATUM = 10  # judged, where a stratum has as many; fewer say nearly nothing of it


@dataclass(frozen=True)
class Stratum:
    """Labels that are judged together.

    Attributes:
        labels: how many there are.
        judged: how many of them were drawn at random and judged.
        right: how many of these were right.
    """

    labels: int
    judged: int
    right: int


@dataclass(frozen=True)
class Statement:
    """A statement on all labels.

    Attributes:
        labels: how many it speaks of.
        judged: how many were judged.
        share: estimate of the share of right ones, in [0, 1]; None where a stratum was not judged at all.
        at_least: the share is no lower than this with the confidence, in [0, 1].
        confidence: probability that an audit makes a statement that is true.
    """

    labels: int
    judged: int
    share: float | None
    at_least: float
    confidence: float

    def __str__(self) -> str:
        return (
            f"at least {self.at_least:.1%} of all {self.labels} labels are right, with {self.confidence:.0%} "
            f"confidence, by {self.judged} that were judged"
        )


def allocate(sizes: Sequence[int], total: int, least: int = LEAST_PER_STRATUM) -> list[int]:
    """Divide a sample among strata by their sizes, with a least number each.

    Args:
        sizes: labels per stratum.
        total: labels to judge; more where the least numbers ask for it, fewer where there are no more labels.
        least: of each stratum, where it has as many.

    >>> allocate([900, 100, 4], 60, least=10)
    [46, 10, 4]
    """
    counts = [min(size, least) for size in sizes]
    while sum(counts) < min(total, sum(sizes)):
        open_ = [k for k, size in enumerate(sizes) if counts[k] < size]
        neediest = max(open_, key=lambda k: (sizes[k] / (counts[k] + 1), -k))
        counts[neediest] += 1
    return counts


def draw_sample(strata: Mapping[str, Sequence[int]], total: int, seed: int) -> dict[str, list[int]]:
    """Draw the labels to judge, without replacement.

    Args:
        strata: name -> ids of all its labels.
        total: labels to judge, see `allocate`.
        seed: of the draw.

    Returns:
        Name -> ids in the order they were drawn: the first n of them are a random sample too.
    """
    rng = np.random.default_rng(seed)
    counts = allocate([len(ids) for ids in strata.values()], total)
    return {
        name: [int(ids[k]) for k in rng.permutation(len(ids))[:count]]
        for (name, ids), count in zip(strata.items(), counts, strict=True)
    }


def state(strata: Sequence[Stratum], confidence: float = CONFIDENCE) -> Statement:
    """Make the statement on all labels of the strata.

    Args:
        strata: none of them empty of labels. One that was judged as a whole is known, one that was not judged at all
            counts as wrong.
        confidence: that the bound holds, in (0, 1).

    Raises:
        DataError: more right than judged, or more judged than there are.

    >>> statement = state([Stratum(900, 59, 59), Stratum(100, 100, 80)])
    >>> round(statement.share, 3), round(statement.at_least, 3)
    (0.98, 0.935)
    """
    for stratum in strata:
        if not 0 <= stratum.right <= stratum.judged <= stratum.labels or not stratum.labels:
            raise DataError(f"expected right <= judged <= labels, and labels above 0, got {stratum}")
    labels = sum(s.labels for s in strata)
    sampled = [s for s in strata if 0 < s.judged < s.labels]  # the bound of the others holds in any case
    each = confidence ** (1 / max(1, len(sampled)))
    bounds = [_at_least(s, each) for s in strata]
    shares = [s.right / s.judged for s in strata if s.judged]
    known = len(shares) == len(strata) > 0
    return Statement(
        labels=labels,
        judged=sum(s.judged for s in strata),
        share=sum(s.labels * share for s, share in zip(strata, shares, strict=True)) / labels if known else None,
        at_least=sum(s.labels * bound for s, bound in zip(strata, bounds, strict=True)) / labels if labels else 0.0,
        confidence=confidence,
    )


def _at_least(stratum: Stratum, confidence: float) -> float:
    """Return the one-sided bound of Clopper and Pearson on the share of right labels."""
    if not stratum.right:
        return 0.0
    if stratum.judged == stratum.labels:
        return stratum.right / stratum.labels
    return float(beta.ppf(1 - confidence, stratum.right, stratum.judged - stratum.right + 1))
