"""Statistics of a label file, added up label by label: counts, and quantiles of growth and uncertainty."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..data.label_file import NOTHING_IN_FRONT
from ..data.records import AnnotationSet, reason_kind
from .label_features import FEATURES

_LEVELS = {"least": 0, "median": 0.5, "90 %": 0.9, "99 %": 0.99, "most": 1}


@dataclass
class LabelStatistics:
    """Running sums; of a label that the network was asked about, a few numbers are kept.

    Attributes:
        labels: how many there were.
        flags: labels by flag.
        of_category: labels by category id.
        grown_of_category: those of them that grew.
        growth: of the labels with a possible occluder, whole over drawn area.
        uncertainty: of the same.
        features: what labels with an occluder look like, `len(FEATURES)` numbers each.
        order: ordered pairs, mutual pairs and cycles.
        ordered: objects that are in any pair.
        lower_in_front: pairs whose front object ends lower in the photo, by the boxes of what is visible.
        larger_in_front: pairs whose front object has the larger box.
        left_out: a row for each annotation of a photo that got no label, with its reason.
    """

    labels: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    of_category: Counter[int] = field(default_factory=Counter)
    grown_of_category: Counter[int] = field(default_factory=Counter)
    growth: array = field(default_factory=lambda: array("d"))
    uncertainty: array = field(default_factory=lambda: array("d"))
    features: array = field(default_factory=lambda: array("d"))
    order: Counter[str] = field(default_factory=Counter)
    ordered: int = 0
    lower_in_front: int = 0
    larger_in_front: int = 0
    left_out: list[dict[str, Any]] = field(default_factory=list)

    def add_photo(self, photo: Mapping[str, Any]) -> None:
        """Count the entries of a photo, as `write_label_files` takes them."""
        self.add_order(photo["order"], {label["id"]: label["visible_bbox"] for label in photo["labels"]})
        self.left_out += photo["left_out"]
        for label in photo["labels"]:
            self.add_label(label)

    def add_label(self, label: Mapping[str, Any]) -> None:
        """Count an annotation of a label file."""
        ours, growth = label["amodalpl"], label["amodalpl"]["growth"]
        self.labels += 1
        self.flags.update(ours["flags"])
        self.of_category[label["category_id"]] += 1
        self.grown_of_category[label["category_id"]] += growth > 1
        if not NOTHING_IN_FRONT & set(ours["flags"]):
            self.growth.append(growth)
            self.uncertainty.append(ours["uncertainty"])
            if "features" in ours and ours["occluders"]:
                self.features.extend(ours["features"][name] for name in FEATURES)

    def add_order(self, photo: Mapping[str, Any], boxes_xywh: Mapping[int, Sequence[int]]) -> None:
        """Count the pairs of an entry of an order file, given the boxes of what is visible of the photo's labels."""
        for kind in ("pairs", "mutual", "cycles"):
            self.order[kind] += len(photo[kind])
        self.ordered += len({pair[side] for pair in photo["pairs"] for side in ("front", "back")})
        for pair in photo["pairs"]:
            (_, y, w, h), (_, other_y, other_w, other_h) = boxes_xywh[pair["front"]], boxes_xywh[pair["back"]]
            self.lower_in_front += y + h > other_y + other_h
            self.larger_in_front += w * h > other_w * other_h

    def to_json(self, data: AnnotationSet) -> dict[str, Any]:
        """Return the content of `stats.json`.

        Args:
            data: what was labelled; what its reader left out is listed first.
        """
        left_out = [*map(asdict, data.dropped), *self.left_out]
        growth, uncertainty = np.array(self.growth), np.array(self.uncertainty)
        return {
            "counts": {
                "photos": len(data.images),
                "annotations": self.labels + len(left_out),
                "labels": self.labels,
                "left out": dict(sorted(Counter(reason_kind(row["reason"]) for row in left_out).items())),
                "with a possible occluder": len(growth),
                "grown": int((growth > 1).sum()),
                "ordered pairs": self.order["pairs"],
                "mutual pairs": self.order["mutual"],
                "cycles": self.order["cycles"],
                "flags": dict(sorted(self.flags.items())),
            },
            "growth of labels with a possible occluder": _quantiles(growth if growth.size else np.ones(1)),
            "uncertainty of labels with a possible occluder": _quantiles(
                uncertainty if uncertainty.size else np.zeros(1)
            ),
            "categories": {
                f"{category_id} {name}": {
                    "labels": self.of_category[category_id],
                    "grown": self.grown_of_category[category_id],
                }
                for category_id, name in data.category_names.items()
                if self.of_category[category_id]
            },
            "left_out": left_out,
        }


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return {"mean": round(float(values.mean()), 6)} | {
        name: round(float(np.quantile(values, level)), 6) for name, level in _LEVELS.items()
    }
