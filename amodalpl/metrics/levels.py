"""Mean IoU by level of occlusion, each level weighing the same: the box-prompted papers' protocol.

After Sun et al. 2022 (Bayesian-Amodal) and Liu et al. 2024 (BLADE): the mean IoU of the amodal masks within a level is
a cell, the score is the unweighted mean of the cells. Their masks are prompted by boxes; scores of completers that are
given modal masks are far higher and do not belong in one column with theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from ..errors import DataError, nearest

if TYPE_CHECKING:  # the command line imports the names of the levels, and must not need numpy for that
    from .completion import Counts, Scores

MACRO = "completion, macro over occlusion levels"
MASKS_FROM_BOXES = "masks from boxes, macro over occlusion levels"
CONTEXT_RATE = "context_rate"
"""Key of an annotation: how much of the object's surroundings is covered, 0 to 1."""


@dataclass(frozen=True)
class Level:
    """One cell.

    Attributes:
        name: as in the papers' tables; FG-0 is unoccluded.
        low: least hidden fraction of the true amodal mask.
        high: largest one; both ends belong to the level, as in the papers' code, where 0.2 counts in two levels of
            COCOA-cls.
        context: least and largest covered fraction of the object's surroundings; None asks for none.
    """

    name: str
    low: float
    high: float
    context: tuple[float, float] | None = None

    def holds(self, hidden_fraction: float, context_fraction: float | None = None) -> bool:
        """Tell whether an object belongs here.

        >>> Level("FG-1", 0.0001, 0.3).holds(0.3)
        True
        """
        if not self.low <= hidden_fraction <= self.high:
            return False
        return self.context is None or (
            context_fraction is not None and self.context[0] <= context_fraction <= self.context[1]
        )


@dataclass(frozen=True)
class LevelSet:
    """The levels of one data set, and which of its objects the papers score.

    Attributes:
        name: shown in the protocol's name.
        levels: may leave gaps; what is in none is counted as outside.
        category_names: the papers score these only.
        least_height_px: of the true amodal box; the papers leave out lower objects.
    """

    name: str
    levels: tuple[Level, ...]
    category_names: frozenset[str] = frozenset()
    least_height_px: int = 0

    @property
    def protocol(self) -> str:
        """Name of the score over whatever objects were given."""
        return f"{MACRO} ({self.name})"

    @property
    def selection(self) -> str:
        """Words for the objects that the papers score."""
        return "vehicles" + (f" at least {self.least_height_px} px high" if self.least_height_px else "")

    def selects(self, category_name: str, height_px: int) -> bool:
        """Tell whether the papers score an object."""
        return category_name in self.category_names and height_px >= self.least_height_px


_VOC_VEHICLES = frozenset({"aeroplane", "airplane", "bicycle", "bus", "car", "motorbike", "motorcycle"})
_OBJECT = (("FG-0", 0.0, 0.0), ("FG-1", 0.2, 0.4), ("FG-2", 0.4, 0.6), ("FG-3", 0.6, 0.8))
_CONTEXT = (("BG-1", 0.01, 0.2), ("BG-2", 0.2, 0.4), ("BG-3", 0.4, 0.6))

KINS = LevelSet(
    "KINS bins",
    (
        Level("FG-0", 0.0, 0.0),
        Level("FG-1", 0.0001, 0.3),
        Level("FG-2", 0.3001, 0.6),
        Level("FG-3", 0.6001, 0.9),
    ),
    frozenset({"cyclist", "car", "tram", "truck", "van"}),
    least_height_px=50,
)
COCOA_CLS = LevelSet(
    "COCOA-cls bins",
    (Level("FG-0", 0.0, 0.0), Level("FG-1", 0.0001, 0.2), Level("FG-2", 0.2, 0.4), Level("FG-3", 0.4, 0.7)),
    _VOC_VEHICLES,
)
OCCLUDED_VEHICLES = LevelSet(
    "OccludedVehicles bins",
    (
        Level(*_OBJECT[0]),
        *(Level(f"{o} {c}", low, high, (least, most)) for o, low, high in _OBJECT[1:] for c, least, most in _CONTEXT),
    ),
    _VOC_VEHICLES,
)
"""Ten cells. How much of the surroundings is covered is stated by the data set; masks of the object do not tell it."""
OCCLUDED_VEHICLES_FG = LevelSet(
    "OccludedVehicles bins, object only", tuple(Level(*cell) for cell in _OBJECT), _VOC_VEHICLES
)
"""The four levels of the object, whatever covers its surroundings."""

LEVEL_SETS = {"kins": KINS, "cocoa-cls": COCOA_CLS, "occluded-vehicles": OCCLUDED_VEHICLES_FG}


def choose_levels(name: str | None, truth_format: str) -> LevelSet:
    """Return the bins of occlusion that were asked for, or those of the truth's data set.

    Raises:
        DataError: an unknown name.
    """
    chosen = name or ("kins" if truth_format.startswith("kins") else "cocoa-cls")
    if chosen not in LEVEL_SETS:
        raise DataError(f"levels: expected a known set, got {chosen!r}{nearest(chosen, LEVEL_SETS)}")
    return LEVEL_SETS[chosen]


def compute_levels(
    counts: Sequence[Counts], level_set: LevelSet, context_fractions: Sequence[float] | None = None
) -> Scores:
    """Return the mean IoU of each level and their mean.

    Args:
        counts: of `completion.count_instance`.
        level_set: the levels.
        context_fractions: one per instance, in [0, 1], for levels that ask for it.

    Returns:
        `mean`, the unweighted mean of the levels that have objects; `levels`, how many these are; `instances` within
        a level and `outside` of all; and for each level its mean IoU under its name, None without objects, and
        `NAME_instances`.
    """
    contexts: Sequence[float | None] = context_fractions if context_fractions is not None else [None] * len(counts)
    placed = list(zip(counts, contexts, strict=True))
    cells: dict[str, list[float]] = {}
    inside: set[int] = set()
    for level in level_set.levels:
        members = [n for n, (c, context) in enumerate(placed) if level.holds(c.hidden_fraction, context)]
        cells[level.name] = [counts[n].iou for n in members]
        inside.update(members)
    means = {name: fmean(ious) if ious else None for name, ious in cells.items()}
    filled = [mean for mean in means.values() if mean is not None]
    return {
        "mean": fmean(filled) if filled else None,
        "levels": len(filled),
        "instances": len(inside),
        "outside": len(counts) - len(inside),
        **means,
        **{f"{name}_instances": len(ious) for name, ious in cells.items()},
    }
