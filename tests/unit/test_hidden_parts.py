"""Hidden parts photo by photo: sums, differences and their intervals by arithmetic."""

import numpy as np
import pytest

from amodalpl.metrics.completion import count_instance
from amodalpl.metrics.hidden_parts import HiddenParts


def counts(shared, predicted, hidden):
    """An object of one visible pixel, with so many pixels of truth and prediction beside it."""
    line = np.arange(60)[None]
    truth, modal = line <= hidden, line == 0
    return count_instance((line <= shared) | ((line > 30) & (line <= 30 + predicted - shared)), truth, modal)


def parts():
    found = HiddenParts()
    for photo, (ours, hull) in enumerate([((8, 10, 10), (4, 4, 10)), ((6, 6, 12), (6, 8, 12)), ((5, 5, 5), (1, 2, 5))]):
        found.add(photo, "labels", [counts(*ours)])
        found.add(photo, "convex hull", [counts(*hull)])
    return found


def test_a_row_is_the_ratio_of_its_sums():
    scores = parts().scores()
    assert scores["labels"]["invisible_miou"] == pytest.approx((8 + 6 + 5) / (12 + 12 + 5))
    assert scores["convex hull"]["invisible_miou"] == pytest.approx((4 + 6 + 1) / (10 + 14 + 6))


def test_a_difference_is_taken_within_each_draw():
    found = parts()
    for photo, rows in found.photos.items():
        found.photos[photo] = {**rows, "the same": rows["labels"]}
    scores = found.scores()
    assert scores["labels - convex hull"]["invisible_miou"] == pytest.approx(19 / 29 - 11 / 30)
    assert set(scores["labels - the same"].values()) == {0.0}  # though each of the two has a wide interval
    assert scores["labels"]["invisible_miou_low"] < scores["labels"]["invisible_miou_high"] - 0.1


def test_objects_of_a_photo_are_added_up():
    found = HiddenParts()
    found.add(7, "labels", [counts(8, 10, 10)])
    found.add(7, "labels", [counts(6, 6, 12), counts(5, 5, 5)])
    assert found.photos == {7: {"labels": (19, 29)}}


def test_read_again_it_is_the_same():
    found = parts()
    assert HiddenParts.from_json(found.to_json()) == found


def test_without_photos_there_is_no_score():
    assert HiddenParts().scores() == {}
