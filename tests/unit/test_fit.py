"""From probabilities to expected errors, and to what can be promised."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from amodalpl.calibration.fit import (
    LEVEL_VALUES,
    LEVELS,
    Calibration,
    Evidence,
    PixelCounts,
    RiskGuarantee,
    choose_promise,
    fit_labels,
    fit_pixels,
)
from amodalpl.completion.predictor import CompletionPrediction, CompletionRequest, Scene


def at_levels(**pixels):
    """Counts from probabilities in thousandths, as in `p250=4`."""
    counts = np.zeros(LEVELS, np.int64)
    for name, number in pixels.items():
        counts[int(name[1:])] = number
    return counts


def answer(probability, behind, modal):
    probability = np.asarray(probability, np.float32)
    window = np.s_[0 : probability.shape[0], 0 : probability.shape[1]]
    return CompletionPrediction(
        CompletionRequest(Scene(np.zeros((2, *probability.shape), bool)), 0, (1,)),
        0,
        window,
        probability,
        np.asarray(behind, bool),
        np.asarray(modal, bool),
    )


ROW = answer([[0.9, 0.8, 0.25, 0.2504, 0.7]], [[0, 1, 1, 1, 0]], [[1, 0, 0, 0, 0]])


def test_pixels_are_counted_in_the_band_only():
    counts = PixelCounts()
    truth = np.array([[True, True, False, True, True]])
    for _ in range(2):
        counts.add(ROW, truth)
    np.testing.assert_array_equal(counts.pixels, at_levels(p800=2, p250=4))
    np.testing.assert_array_equal(counts.inside, at_levels(p800=2, p250=2))


def test_visible_pixels_are_not_behind_anything():
    counts = PixelCounts()
    counts.add(answer([[0.5, 0.5]], [[1, 1]], [[1, 0]]), np.array([[True, True]]))
    assert counts.pixels.sum() == 1


def test_evidence_by_hand():
    found = Evidence.of(ROW, np.array([[True, True, False, False, False]]))
    assert found.visible_px == 1
    np.testing.assert_array_equal(found.added, at_levels(p800=1))
    np.testing.assert_array_equal(found.left_out, at_levels(p250=2))


def test_growth_into_open_ground_is_evidence_too():
    found = Evidence.of(ROW, np.array([[True, True, False, False, True]]))
    np.testing.assert_array_equal(found.added, at_levels(p800=1, p700=1))


def test_implied_error_by_hand():
    evidence = Evidence(6, at_levels(p750=4), at_levels(p250=8))
    assert Calibration().implied_error(evidence) == pytest.approx(1 - (6 + 3) / (6 + 4 + 2))
    halved = Calibration(belongs=(0.0, 0.5))
    assert halved.implied_error(evidence) == pytest.approx(1 - (6 + 1.5) / (6 + 4 + 1))


@pytest.mark.parametrize(
    ("added", "left_out", "error"),
    [
        pytest.param({}, {}, 0, id="nothing to be unsure about"),
        pytest.param({"p1000": 5}, {"p0": 5}, 0, id="sure of all"),
        pytest.param({"p0": 10}, {}, 0.5, id="added what cannot belong"),
        pytest.param({}, {"p1000": 30}, 0.75, id="left out what must belong"),
    ],
)
def test_implied_error_of_certain_pixels(added, left_out, error):
    evidence = Evidence(10, at_levels(**added), at_levels(**left_out))
    assert Calibration().implied_error(evidence) == pytest.approx(error)


def test_uncertainty_is_the_implied_error_mapped():
    evidence = Evidence(10, at_levels(p0=10), at_levels())
    found = Calibration((0.0, 1.0), (0.1, 0.3)).uncertainty(evidence)
    assert found == pytest.approx(0.2)


# pixels


def test_pixels_by_hand():
    counts = PixelCounts(at_levels(p100=10, p500=20, p900=10), at_levels(p100=1, p500=8, p900=7))
    found = fit_pixels(counts)
    assert found.probability == (0.1, 0.5, 0.9) and found.belongs == (0.1, 0.4, 0.7)
    assert found.belongs_by_level[[0, 100, 300, 1000]] == pytest.approx([0.1, 0.1, 0.25, 0.7])


def test_pixels_that_violate_the_order_are_pooled_by_their_number():
    counts = PixelCounts(at_levels(p200=30, p600=10), at_levels(p200=18, p600=2))
    found = fit_pixels(counts)
    assert found.probability == (0.3,) and found.belongs == (0.5,)


def test_no_pixels_leave_the_identity():
    assert fit_pixels(PixelCounts()) == Calibration()


def test_sure_pixels_that_are_often_wrong_are_corrected():
    rng = np.random.default_rng(0)
    pixels = rng.integers(100, 1000, LEVELS)
    true_share = 0.2 + 0.5 * LEVEL_VALUES**2
    counts = PixelCounts(pixels, np.rint(pixels * true_share).astype(int))
    found = fit_pixels(counts)
    assert len(found.probability) == 20 and np.abs(found.belongs_by_level - true_share).max() < 0.04


# labels


@pytest.mark.parametrize("seed", range(5))
def test_map_never_decreases_and_stays_in_range(seed):
    rng = np.random.default_rng(seed)
    doubt = rng.random(200)
    error = np.clip(0.5 * doubt + rng.normal(0, 0.3, 200), 0, 1)
    found = fit_labels(doubt.tolist(), error.tolist())
    assert np.all(np.diff(found.doubt) > 0) and np.all(np.diff(found.expected_error) > 0)
    answers = [found.error(x) for x in np.linspace(0, 1, 50)]
    assert np.all(np.diff(answers) >= 0) and 0 <= answers[0] and answers[-1] == 1


def test_two_groups_by_hand():
    doubt = [0.1] * 5 + [0.5] * 5
    error = [0.0, 0.1, 0.2, 0.3, 0.4] + [0.6] * 5
    found = fit_labels(doubt, error)
    assert found.doubt == (0.1, 0.5, 1.0) and found.expected_error == (0.2, 0.6, 1.0)
    assert found.error(0.0) == pytest.approx(0.2)
    assert found.error(0.3) == pytest.approx(0.4)


def test_doubt_beyond_what_was_seen_goes_on_to_one():
    found = fit_labels([0.1] * 5 + [0.2] * 5, [0.05] * 5 + [0.1] * 5)
    assert found.error(0.2) == pytest.approx(0.1)
    assert found.error(0.6) == pytest.approx(0.55)
    assert found.error(1.0) == 1.0


def test_violators_are_pooled_into_one_knot():
    doubt = [0.1] * 5 + [0.2] * 5 + [0.3] * 5
    error = [0.1] * 5 + [0.5] * 5 + [0.3] * 5
    found = fit_labels(doubt, error)
    assert found.doubt == (0.1, 0.25, 1.0) and found.expected_error == (0.1, 0.4, 1.0)


def test_between_the_first_and_the_last_knot_no_two_doubts_become_equal():
    rng = np.random.default_rng(0)
    doubt = np.sort(rng.random(200))
    found = fit_labels(doubt.tolist(), (doubt**2).tolist())
    answers = [found.error(d) for d in doubt if d >= found.doubt[0]]
    assert np.all(np.diff(answers) > 0)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_too_few_labels_leave_the_identity(count):
    found = fit_labels([0.3] * count, [0.9] * count)
    assert found == Calibration()
    assert found.error(0.37) == pytest.approx(0.37)


def test_all_equal_doubts_are_one_knot_and_the_end():
    found = fit_labels([0.25] * 20, [0.1] * 10 + [0.3] * 10)
    assert found.doubt == (0.25, 1.0) and found.expected_error == (0.2, 1.0)


def test_order_of_labels_does_not_matter():
    rng = np.random.default_rng(1)
    doubt, error = rng.random(60), rng.random(60)
    turn = rng.permutation(60)
    assert fit_labels(doubt.tolist(), error.tolist()) == fit_labels(doubt[turn].tolist(), error[turn].tolist())


def test_calibration_json_round_trip():
    found = fit_labels(np.linspace(0, 1, 50).tolist(), np.linspace(0.1, 0.7, 50).tolist())
    assert Calibration.from_json(json.loads(json.dumps(found.to_json()))) == found


# promise


def test_fifty_nine_good_labels_are_the_fewest():
    assert choose_promise([0.2] * 59, [0.9] * 59) == RiskGuarantee(0.2)
    assert choose_promise([0.2] * 58, [0.9] * 58) is None


def test_bound_is_the_largest_that_holds():
    uncertainty = [0.1] * 100 + [0.2] * 100 + [0.24] * 100
    iou = [0.9] * 200 + [0.5] * 100
    assert choose_promise(uncertainty, iou) == RiskGuarantee(0.2)


@pytest.mark.parametrize(("bad", "holds"), [(8, True), (9, False)], ids=["Clopper-Pearson allows 8", "but not 9"])
def test_margin_of_three_hundred_labels(bad, holds):
    """scipy.stats.binom.cdf(8, 300, 0.05) = 0.0347 and cdf(9, ...) = 0.0653."""
    found = choose_promise([0.2] * 300, [0.5] * bad + [0.9] * (300 - bad))
    assert (found is not None) is holds


def test_iou_must_be_above_the_value():
    assert choose_promise([0.1] * 100, [0.75] * 100) is None


def test_order_of_labels_does_not_change_the_promise():
    rng = np.random.default_rng(2)
    uncertainty = rng.random(400)
    iou = 1 - uncertainty * rng.random(400)
    turn = rng.permutation(400)
    found = choose_promise(uncertainty.tolist(), iou.tolist())
    assert found is not None and found == choose_promise(uncertainty[turn].tolist(), iou[turn].tolist())


@pytest.mark.parametrize("seed", range(3))
def test_promise_is_kept_on_other_labels(seed):
    """Errors spread around the stated one: of fresh labels under the bound, 95 % are good."""
    rng = np.random.default_rng(seed)
    stated = rng.random((2, 2000)) * 0.6
    iou = np.clip(1 - stated + rng.normal(0, 0.08, stated.shape), 0, 1)
    found = choose_promise(stated[0].tolist(), iou[0].tolist())
    assert found is not None and 0.1 < found.uncertainty_at_most <= 0.25
    assert np.mean(iou[1][stated[1] <= found.uncertainty_at_most] > 0.75) >= 0.94


def test_a_label_that_expects_less_is_never_promised():
    """All good, yet the promise ends at an uncertainty of a quarter: it is never empty."""
    found = choose_promise([0.1] * 200 + [0.25] * 50 + [0.3] * 50 + [1.0] * 50, [0.9] * 350)
    assert found == RiskGuarantee(0.25)
    assert choose_promise([0.3] * 500, [0.9] * 500) is None


def test_no_labels_no_promise():
    assert choose_promise([], []) is None


def test_promise_in_words_and_in_json():
    found = RiskGuarantee(0.2125)
    assert str(found) == (
        "of labels with an occluder and uncertainty up to 0.212, 95% have an IoU above 0.75 on pasted occlusions"
    )
    assert RiskGuarantee.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_labels_are_made_without_waiting_for_statistics():
    """scikit-learn takes seconds to import, and only training fits anything."""
    code = "import sys, amodalpl.pipeline.make_labels; print(sorted({'sklearn', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"doubt": [0.0, 0.5, 1.0]}, "got 3 of `doubt` for 2 of `expected_error`", id="one more"),
        pytest.param({"probability": [], "belongs": []}, "got 0 of `probability` for 0 of `belongs`", id="none"),
        pytest.param({"doubt": [0.5, 0.5]}, "expected increasing numbers in `doubt`", id="twice the same"),
        pytest.param({"belongs": [0.0, 1.1]}, "expected numbers from 0 to 1 in `probability`", id="above 1"),
    ],
)  # fmt: skip
def test_a_calibration_that_is_none_is_refused(change, message):
    sound = Calibration((0.0, 1.0), (0.05, 0.9), (0.0, 1.0), (0.0, 1.0)).to_json()
    assert Calibration.from_json(sound).to_json() == sound
    with pytest.raises(ValueError, match=message):
        Calibration.from_json({**sound, **change})
