from dataclasses import replace

import numpy as np
import pytest

from amodalpl.calibration.error_model import FEWEST, ErrorModel, LogisticModel, fit_errors, fit_logistic
from amodalpl.labelling.label_features import FEATURES, LabelFeatures

PLAIN = LabelFeatures(0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.8, 0.3, 0.0)
BAY = FEATURES.index("bay")


def features_with(bays):
    rows = np.tile(PLAIN.as_row(), (len(bays), 1))
    rows[:, BAY] = bays
    return rows


def test_expected_value_of_a_share_is_learnt():
    """Where half of the labels have an error of 0.1 and half of 0.5, the mean is expected, not one or the other."""
    bays = np.repeat([0.0, 0.4], 200)
    error = np.where(bays > 0, np.tile([0.3, 0.7], 200), np.tile([0.0, 0.2], 200))
    model = fit_logistic(features_with(bays), error)
    assert model(features_with([0.0, 0.4])) == pytest.approx([0.1, 0.5], abs=0.02)


def test_weights_count_as_copies():
    features, error = features_with([0.0, 0.4, 0.4]), np.array([0.1, 0.2, 0.6])
    twice = fit_logistic(features_with([0.0, 0.4, 0.4, 0.4]), np.array([0.1, 0.2, 0.6, 0.6]))
    model = fit_logistic(features, error, np.array([1.0, 1.0, 2.0]))
    assert model(features)[1] > fit_logistic(features, error)(features)[1]
    assert model(features)[1] == pytest.approx(twice(features)[1], abs=0.05)  # but for the scale of features


def test_labels_with_and_without_something_in_front_have_models_of_their_own():
    asked = np.arange(200) % 2 == 0
    model = fit_errors(features_with(np.zeros(200)), asked, np.where(asked, 0.3, 0.05))
    assert model.error(PLAIN, asked=True) == pytest.approx(0.3, abs=0.01)
    assert model.error(PLAIN, asked=False) == pytest.approx(0.05, abs=0.01)
    assert model.errors(features_with([0, 0]), np.array([True, False])) == pytest.approx([0.3, 0.05], abs=0.01)


def test_too_few_labels_of_a_kind_teach_nothing():
    asked = np.arange(100) < FEWEST - 1
    assert fit_errors(features_with(np.zeros(100)), asked, np.full(100, 0.1)) is None
    assert fit_errors(features_with(np.zeros(100)), np.arange(100) < FEWEST, np.zeros(100)) is None  # all are right


def test_json_there_and_back():
    asked = np.arange(200) % 2 == 0
    model = fit_errors(features_with(np.linspace(0, 0.5, 200)), asked, np.linspace(0.0, 0.6, 200))
    again = ErrorModel.from_json(model.to_json())
    assert again == model and again.error(replace(PLAIN, bay=0.3), True) == model.error(replace(PLAIN, bay=0.3), True)


@pytest.mark.parametrize(
    "change",
    [{"weights": [1.0]}, {"scale": [0.0] * len(FEATURES)}, {"bias": float("nan")}, {"centre": None}, {"bias": "x"}],
    ids=["too few", "scale of nought", "not a number", "nothing", "a word"],
)
def test_a_damaged_model_is_refused(change):
    row = [1.0] * len(FEATURES)
    with pytest.raises((TypeError, ValueError)):
        LogisticModel.from_json({"centre": row, "scale": row, "weights": row, "bias": 0.0, **change})
