from dataclasses import replace

import numpy as np
import pytest

from amodalpl.calibration.fit import RiskGuarantee
from amodalpl.calibration.likeness import FEWEST, JudgedLabels, promise_among, weigh
from amodalpl.labelling.label_features import FEATURES, LabelFeatures

PLAIN = LabelFeatures(0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.8, 0.3, 0.0)
BAY = FEATURES.index("bay")
PROMISE = RiskGuarantee(0.1)


def features_with(bays):
    rows = np.tile(PLAIN.as_row(), (len(bays), 1))
    rows[:, BAY] = bays
    return rows


def spread(count, low, high, seed=0):
    return features_with(np.random.default_rng(seed).uniform(low, high, count))


def judged(good_below=1.0, count=1000):
    """Labels with bays of any size up to 0.4; those with larger ones than given are bad."""
    features = spread(count, 0.0, 0.4)
    return JudgedLabels(features, np.full(count, 0.05), features[:, BAY] < good_below)


def test_weights_move_the_looks_to_those_of_others():
    mine, theirs = spread(4000, 0.0, 0.4), features_with(np.random.default_rng(1).triangular(0.0, 0.0, 0.4, 500))
    weight = weigh(mine, theirs)
    assert weight.mean() == pytest.approx(1)
    assert np.average(mine[:, BAY], weights=weight) == pytest.approx(theirs[:, BAY].mean(), abs=0.02)


def test_a_promise_stands_among_labels_that_look_alike():
    found = promise_among(PROMISE, judged(good_below=0.39), spread(300, 0.0, 0.4, seed=1))
    assert found.promise == PROMISE and found.alike > 0.9 and "look like these" in found.reason


def test_it_is_withheld_where_labels_look_unlike():
    found = promise_among(PROMISE, judged(), spread(300, 0.38, 0.4))
    assert found.promise is None and found.alike < 1 / 3 and "look unlike" in found.reason


def test_it_is_withheld_where_labels_that_look_so_are_bad():
    """Few labels of the hold-out are bad; among the user's, that kind is more common."""
    hold_out = judged(good_below=0.39)  # bad are 2.5 %
    assert promise_among(PROMISE, hold_out, spread(300, 0.0, 0.4, seed=1)).promise
    found = promise_among(PROMISE, hold_out, features_with(np.random.default_rng(1).triangular(0.0, 0.4, 0.4, 300)))
    assert found.promise is None and found.alike > 1 / 3 and "too few" in found.reason


def test_too_few_good_labels_are_not_called_bad():
    """40 good ones: no bad one is among them, and 59 would be needed."""
    found = promise_among(PROMISE, judged(count=40), spread(300, 0.0, 0.4, seed=1))
    assert found.promise is None and "worth 3" in found.reason
    assert "good" in promise_among(PROMISE, judged(good_below=0.2), spread(300, 0.0, 0.4, seed=1)).reason


def test_labels_above_the_bound_take_no_part():
    hold_out = judged(good_below=0.2)
    stated = replace(hold_out, uncertainty=np.where(hold_out.good, 0.05, 0.2))
    assert promise_among(PROMISE, stated, spread(300, 0.0, 0.4, seed=1)).promise == PROMISE
    assert promise_among(PROMISE, hold_out, spread(300, 0.0, 0.4, seed=1)).promise is None


def test_too_few_labels_are_not_compared():
    few = spread(FEWEST - 1, 0.3, 0.4)
    assert promise_among(PROMISE, judged(), few).promise == PROMISE
    assert promise_among(PROMISE, judged(), few).alike is None
    assert promise_among(PROMISE, None, spread(300, 0.3, 0.4)).promise == PROMISE


def test_without_a_promise_there_is_a_reason():
    assert promise_among(None, judged(), spread(300, 0.0, 0.4)).reason.startswith("the hold-out has too few")


def test_json_there_and_back():
    before = judged(0.3)
    after = JudgedLabels.from_json(before.to_json())
    assert np.allclose(after.features, before.features, atol=1e-4)
    assert (after.good == before.good).all() and (after.uncertainty == before.uncertainty).all()


def test_damaged_labels_are_refused():
    value = judged(count=40).to_json()
    for change in ({"good": [1]}, {"features": value["features"][1:]}, {"features": [[1.0]]}):
        with pytest.raises(ValueError):
            JudgedLabels.from_json({**value, **change})
