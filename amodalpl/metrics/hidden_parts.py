"""Hidden parts of objects, added up photo by photo: scores with intervals, and differences of two predictions.

Objects of a photo are alike, so intervals come from drawing whole photos (`bootstrap.py`); two predictions of the same
objects are compared within each draw, which is far narrower than the difference of two intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .bootstrap import Ratio, draw_photos, ratio_of_sums
from .completion import Counts

HIDDEN = "hidden parts, micro (PCNet/ASBU), with intervals"
METRIC = "invisible_miou"
_OURS = "labels"  # the row of what is evaluated


@dataclass
class HiddenParts:
    """Sums of pixels over the objects of each photo.

    Attributes:
        photos: id -> row -> pixels outside the visible masks, those that truth and prediction share, and those of
            either.
    """

    photos: dict[int, dict[str, tuple[int, int]]] = field(default_factory=dict)

    def add(self, photo_id: int, row: str, counts: Sequence[Counts]) -> None:
        """Add objects of a photo, as one row predicts them."""
        shared, either = self.photos.setdefault(photo_id, {}).get(row, (0, 0))
        shared += sum(c.hidden_intersection_px for c in counts)
        either += sum(c.hidden_union_px for c in counts)
        self.photos[photo_id][row] = (shared, either)

    def ratio(self, row: str, seed: int = 0) -> Ratio:
        """Return the invisible mIoU of a row; rows of equal photos and seeds have the same draws."""
        sums = [self.photos[number][row] for number in sorted(self.photos)]
        draws = draw_photos(len(sums), seed)
        return ratio_of_sums([shared for shared, _ in sums], [either for _, either in sums], draws)

    def scores(self) -> dict[str, dict[str, float | None]]:
        """Return `invisible_miou` of each row, and by how much the labels are better than each of the others."""
        rows = list(next(iter(self.photos.values()), {}))
        found = {row: self.ratio(row) for row in rows}
        if _OURS in found:
            found |= {f"{_OURS} - {row}": found[_OURS].minus(found[row]) for row in rows if row != _OURS}
        return {name: value.as_scores(METRIC) for name, value in found.items()}

    def to_json(self) -> dict[str, dict[str, list[int]]]:
        """Return it as JSON has it, whose keys are text."""
        return {str(number): {row: list(pair) for row, pair in rows.items()} for number, rows in self.photos.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> HiddenParts:
        """Read what `to_json` wrote."""
        pairs = {number: {row: (int(a), int(b)) for row, (a, b) in rows.items()} for number, rows in values.items()}
        return cls({int(number): rows for number, rows in pairs.items()})
