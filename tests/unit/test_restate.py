import numpy as np
import pytest
from scipy.stats import beta

from amodalpl.calibration.restate import Restatement, chance_of_right, restate_by


def judged(stated, true, count=2000, seed=0):
    """Labels whose error is spread around a truth that their uncertainty does not say."""
    rng = np.random.default_rng(seed)
    uncertainty, mean = np.full(count, stated), np.full(count, true)
    return uncertainty, rng.beta(4 * mean, 4 * (1 - mean)) < 0.25


def test_chance_of_right_is_that_of_the_spread():
    assert chance_of_right(np.array([0.2, 0.4])) == pytest.approx(beta.cdf(0.25, [0.8, 1.6], [3.2, 2.4]))


@pytest.mark.parametrize(("stated", "true"), [(0.1, 0.4), (0.4, 0.1), (0.2, 0.2)])
def test_the_true_mean_error_is_found_by_verdicts(stated, true):
    uncertainty, right = judged(stated, true)
    found = restate_by(uncertainty, right, np.ones(len(right)))
    assert found(uncertainty).mean() == pytest.approx(true, abs=0.02)


def test_few_verdicts_move_the_level_and_keep_differences():
    uncertainty, right = judged(0.1, 0.4, count=20)
    assert restate_by(uncertainty, right, np.ones(20)).slope == pytest.approx(1, abs=0.5)


def test_uncertainty_that_tells_nothing_is_levelled():
    low, high = judged(0.05, 0.3), judged(0.4, 0.3, seed=1)
    uncertainty, right = (np.concatenate(pair) for pair in zip(low, high, strict=True))
    found = restate_by(uncertainty, right, np.ones(len(right)))
    assert found.slope < 0.1
    assert found(np.array([0.05, 0.4])) == pytest.approx([0.3, 0.3], abs=0.03)


def test_order_is_never_turned():
    low, high = judged(0.05, 0.6), judged(0.4, 0.1, seed=1)
    uncertainty, right = (np.concatenate(pair) for pair in zip(low, high, strict=True))
    assert restate_by(uncertainty, right, np.ones(len(right))).slope == 0


def test_verdicts_weigh_what_they_stand_for():
    rare, common = judged(0.1, 0.6, count=500), judged(0.1, 0.1, count=500, seed=1)
    uncertainty, right = (np.concatenate(pair) for pair in zip(rare, common, strict=True))
    weight = np.repeat([1.0, 9.0], 500)
    found = restate_by(uncertainty, right, weight)(np.array([0.1]))[0]
    assert found < restate_by(uncertainty, right, np.ones(1000))(np.array([0.1]))[0] - 0.05


def test_refused_labels_stay_as_they_are():
    assert Restatement(-2.0, 1.0)(np.array([1.0, 0.5])).tolist() == [1.0, pytest.approx(1 / (1 + np.exp(2.0)))]
