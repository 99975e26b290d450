"""From raw doubt to expected error."""

from __future__ import annotations

import json

import numpy as np
import pytest

from amodalpl.calibration import Calibration, fit_calibration


@pytest.mark.parametrize("seed", range(5))
def test_map_never_decreases_and_stays_in_range(seed):
    rng = np.random.default_rng(seed)
    doubt = rng.random(200)
    error = np.clip(0.5 * doubt + rng.normal(0, 0.3, 200), 0, 1)
    found = fit_calibration(doubt.tolist(), error.tolist())
    assert np.all(np.diff(found.doubt) > 0) and np.all(np.diff(found.expected_error) >= 0)
    answers = [found.error(x) for x in np.linspace(0, 1, 50)]
    assert np.all(np.diff(answers) >= 0) and 0 <= answers[0] and answers[-1] <= 1


def test_two_groups_by_hand():
    doubt = [0.1] * 5 + [0.5] * 5
    error = [0.0, 0.1, 0.2, 0.3, 0.4] + [0.6] * 5
    found = fit_calibration(doubt, error)
    assert found.doubt == (0.1, 0.5) and found.expected_error == (0.2, 0.6)
    assert found.error(0.0) == pytest.approx(0.2)
    assert found.error(0.3) == pytest.approx(0.4)
    assert found.error(1.0) == pytest.approx(0.6)


def test_violators_are_pooled():
    doubt = [0.1] * 5 + [0.2] * 5 + [0.3] * 5
    error = [0.1] * 5 + [0.5] * 5 + [0.3] * 5
    assert fit_calibration(doubt, error).expected_error == (0.1, 0.4, 0.4)


def test_overall_mean_is_kept():
    rng = np.random.default_rng(0)
    doubt, error = rng.random(100), rng.random(100)
    found = fit_calibration(doubt.tolist(), error.tolist())  # ten groups of ten
    assert np.mean(found.expected_error) == pytest.approx(error.mean(), abs=1e-5)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_too_few_objects_leave_the_identity(count):
    found = fit_calibration([0.3] * count, [0.9] * count)
    assert found == Calibration()
    assert found.error(0.37) == pytest.approx(0.37)


def test_all_equal_doubts_are_one_knot():
    found = fit_calibration([0.25] * 20, [0.1] * 10 + [0.3] * 10)
    assert len(found.doubt) == 1 and found.error(0.9) == found.error(0.0)


def test_order_of_objects_does_not_matter():
    rng = np.random.default_rng(1)
    doubt, error = rng.random(60), rng.random(60)
    turn = rng.permutation(60)
    assert fit_calibration(doubt.tolist(), error.tolist()) == fit_calibration(
        doubt[turn].tolist(), error[turn].tolist()
    )


def test_json_round_trip():
    found = fit_calibration(np.linspace(0, 1, 50).tolist(), np.linspace(0.1, 0.7, 50).tolist())
    assert Calibration.from_json(json.loads(json.dumps(found.to_json()))) == found
