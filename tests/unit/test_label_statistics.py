"""Statistics of labels whose numbers are known, however they are divided into parts."""

from __future__ import annotations

from pathlib import Path

from amodalpl.data.records import AnnotationSet, ImageRecord
from amodalpl.labelling.label_features import FEATURES
from amodalpl.labelling.label_statistics import LabelStatistics

DATA = AnnotationSet(
    [ImageRecord(1, "a.png", (4, 4), {})],
    [],
    [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}, {"id": 9, "name": "nobody"}],
    path=Path("a.json"),
)


def label(category_id, growth, uncertainty, *flags):
    return {
        "category_id": category_id,
        "amodalpl": {"growth": growth, "uncertainty": uncertainty, "flags": list(flags)},
    }


LABELS = [
    label(3, 1.0, 0.0, "no_occluder"),
    label(3, 1.5, 0.2),
    label(5, 3.0, 0.6, "low_confidence", "truncated"),
    label(5, 1.0, 1.0, "fully_shared", "low_confidence"),  # nothing of it is visible
    label(5, 1.0, 0.0, "no_occluder", "shared_pixels"),  # others own some of it, which was drawn all the same
]


def test_numbers():
    statistics = LabelStatistics()
    for entry in LABELS:
        statistics.add_label(entry)
    pairs = [{"front": front, "back": back} for front, back in ((1, 2), (2, 1), (1, 7))]
    photos = [{"pairs": pairs, "mutual": [[1, 2]], "cycles": []}, {"pairs": [], "mutual": [], "cycles": [[1]]}]
    boxes = {1: (0, 5, 4, 4), 2: (0, 0, 2, 2), 7: (0, 0, 9, 9)}  # 1 ends at the same height as 7
    for photo in photos:
        statistics.add_order(photo, boxes)
    assert (statistics.ordered, statistics.lower_in_front, statistics.larger_in_front) == (3, 1, 1)
    row = {"reason": "no mask: an empty list"}
    statistics.left_out += [row, row]
    found = statistics.to_json(DATA)
    assert found["counts"] == {
        "photos": 1,
        "annotations": 7,
        "labels": 5,
        "left out": {"no mask": 2},
        "with a possible occluder": 3,
        "grown": 2,
        "ordered pairs": 3,
        "mutual pairs": 1,
        "cycles": 1,
        "flags": {"fully_shared": 1, "low_confidence": 2, "no_occluder": 2, "shared_pixels": 1, "truncated": 1},
    }
    growth = found["growth of labels with a possible occluder"]
    assert (growth["least"], growth["median"], growth["most"], growth["mean"]) == (1.0, 1.5, 3.0, round(5.5 / 3, 6))
    assert found["uncertainty of labels with a possible occluder"]["mean"] == 0.6
    assert found["categories"] == {"3 cat": {"labels": 2, "grown": 1}, "5 dog": {"labels": 3, "grown": 1}}
    assert found["left_out"] == [row, row]


def test_nothing_labelled():
    found = LabelStatistics().to_json(DATA)
    assert found["counts"]["labels"] == 0 and found["categories"] == {}
    assert set(found["growth of labels with a possible occluder"].values()) == {1.0}
    assert set(found["uncertainty of labels with a possible occluder"].values()) == {0.0}


def test_features_of_labels_with_an_occluder_are_kept():
    features = {name: float(n) for n, name in enumerate(FEATURES)}
    statistics = LabelStatistics()
    for flags, occluders in (([], [4]), (["no_occluder"], []), (["runaway"], [4])):
        entry = label(3, 1.0, 0.0, *flags)
        known = {} if "runaway" in flags else {"features": features}
        statistics.add_label({**entry, "amodalpl": {**entry["amodalpl"], "occluders": occluders, **known}})
    assert list(statistics.features) == [float(n) for n in range(len(FEATURES))]
