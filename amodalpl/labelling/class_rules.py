"""What the settings say of single classes (`labels.per_class`), by the ids of a file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from ..errors import SettingsError, nearest
from ..settings import ClassSettings
from .acyclic import Arrow, turned
from .ordering import OcclusionEdge


@dataclass(frozen=True)
class ClassRules:
    """What is settled of classes, by category id.

    Attributes:
        thresholds: probability above which a pixel belongs to an object.
        kept_modal: classes that are never completed.
        in_front: pairs of classes, the first always in front of the second.
    """

    thresholds: Mapping[int, float] = field(default_factory=dict)
    kept_modal: frozenset[int] = frozenset()
    in_front: frozenset[tuple[int, int]] = frozenset()

    def settled(self, classes: Sequence[int], pairs: Iterable[OcclusionEdge]) -> set[Arrow]:
        """Return front and back of those of some objects that their classes settle.

        Args:
            classes: of the objects.
            pairs: that the photo shows, either way.
        """
        both_ways = {arrow for p in pairs for arrow in ((p.front, p.back), (p.back, p.front))}
        return {(front, back) for front, back in both_ways if (classes[front], classes[back]) in self.in_front}

    def kept(self, classes: Sequence[int] | None) -> set[int]:
        """Return indices of those of some objects that are never completed; none where nobody knows their classes."""
        return {index for index, kind in enumerate(() if classes is None else classes) if kind in self.kept_modal}


NO_RULES = ClassRules()


def class_rules(per_class: Mapping[str, ClassSettings], names: Mapping[int, str], where: str) -> ClassRules:
    """Look the classes of the settings up.

    Args:
        per_class: of the settings.
        names: of the classes of a file, by category id.
        where: that file, as messages call it.

    Raises:
        SettingsError: the file has no such class.
    """
    ids = defaultdict(list)
    for category_id, name in names.items():
        ids[name].append(category_id)
    for name in [*per_class, *(other for ours in per_class.values() for other in ours.in_front_of)]:
        if name not in ids:
            raise SettingsError(f"labels.per_class: {where} has no class {name!r}{nearest(name, ids)}")
    return ClassRules(
        thresholds={k: o.threshold for name, o in per_class.items() for k in ids[name] if o.threshold is not None},
        kept_modal=frozenset(k for name, ours in per_class.items() if ours.keep_modal for k in ids[name]),
        in_front=frozenset(
            pair for name, o in per_class.items() for other in o.in_front_of for pair in product(ids[name], ids[other])
        ),
    )


def in_settled_directions(pairs: Iterable[OcclusionEdge], settled: set[Arrow]) -> list[OcclusionEdge]:
    """Turn pairs as classes say; of two that seem to hide each other, only the settled direction stays.

    >>> found = [OcclusionEdge(1, 0, 5.0), OcclusionEdge(1, 2, 3.0)]
    >>> [(pair.front, pair.back, pair.evidence_px) for pair in in_settled_directions(found, {(0, 1)})]
    [(0, 1, -5.0), (1, 2, 3.0)]
    """
    pairs = list(pairs)
    there = {(pair.front, pair.back) for pair in pairs}
    kept = []
    for pair in pairs:
        wanted = (pair.back, pair.front)
        if wanted not in settled:
            kept.append(pair)
        elif wanted not in there:
            kept.append(turned(pair))
    return kept
