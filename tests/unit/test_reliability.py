"""Reliability diagrams, calibration errors and risk-coverage curves, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from amodalpl.calibration.fit import LEVEL_VALUES, LEVELS, Calibration, PixelCounts, fit_pixels
from amodalpl.calibration.reliability import of_labels, of_pixels, risk_at_coverage, thin


def counts(**levels):
    """`p250=(8, 2)`: 8 pixels of probability 0.25, of which 2 belong."""
    found = PixelCounts()
    for name, (pixels, inside) in levels.items():
        found.pixels[int(name[1:])], found.inside[int(name[1:])] = pixels, inside
    return found


def test_error_by_hand():
    found = of_pixels(counts(p0=(60, 0), p500=(20, 4), p900=(20, 18)))
    assert found.stated == (0.0, 0.5, 0.9) and found.seen == (0.0, 0.2, 0.9)
    assert found.share == (0.6, 0.2, 0.2)
    assert found.error == pytest.approx(0.2 * 0.3)


def test_one_bin_averages_before_it_compares():
    """0.34 and 0.38 share the sixth of fifteen bins: one too low, the other too high, and together right."""
    assert of_pixels(counts(p340=(50, 20), p380=(50, 16))).error == pytest.approx(0)
    assert of_pixels(counts(p320=(50, 20), p380=(50, 16))).error == pytest.approx(0.5 * 0.08 + 0.5 * 0.06)


def test_equal_count_bins_split_what_equal_width_averages():
    """Fifteen bins for two probabilities: each has its own."""
    found = of_pixels(counts(p340=(50, 20), p380=(50, 16)), equal_count=True)
    assert found.error == pytest.approx(0.5 * 0.06 + 0.5 * 0.06)


def test_certain_pixels_are_in_the_last_bin():
    assert of_pixels(counts(p1000=(10, 9))).error == pytest.approx(0.1)


def test_calibrated_pixels():
    seen = counts(p500=(100, 20))
    assert of_pixels(seen).error == pytest.approx(0.3)
    assert of_pixels(seen, Calibration(belongs=(0.0, 0.4))).error == pytest.approx(0)


def test_what_was_fitted_is_calibrated():
    rng = np.random.default_rng(0)
    pixels = rng.integers(1000, 2000, LEVELS)
    seen = PixelCounts(pixels, rng.binomial(pixels, LEVEL_VALUES**2))
    error = of_pixels(seen, fit_pixels(seen)).error
    assert of_pixels(seen).error > 0.1 and error is not None and error < 0.005


def test_nothing_to_compare():
    for found in (of_pixels(PixelCounts()), of_labels([], [])):
        assert found.error is None and found.share == ()


def test_labels_in_groups_of_equal_count():
    found = of_labels([0.4, 0.1, 0.3, 0.2], [0.3, 0.1, 0.3, 0.0], groups=2)
    assert found.stated == (0.15, 0.35) and found.seen == (0.05, 0.3) and found.share == (0.5, 0.5)
    assert found.error == pytest.approx(0.5 * 0.1 + 0.5 * 0.05)


def test_fewer_labels_than_groups():
    assert of_labels([0.5, 0.1], [0.5, 0.2]).error == pytest.approx(0.05)


def test_risk_of_the_oracle_and_of_any_order():
    error = [0.4, 0.0, 0.2]
    assert risk_at_coverage(error, error) == pytest.approx([0.0, 0.1, 0.2])
    assert risk_at_coverage([0.5] * 3, error) == pytest.approx([0.2] * 3)
    assert risk_at_coverage([1, 3, 2], error) == pytest.approx([0.4, 0.3, 0.2])


@pytest.mark.parametrize("seed", range(3))
def test_no_order_is_better_than_the_oracle(seed):
    rng = np.random.default_rng(seed)
    error, uncertainty = rng.random(50), rng.integers(0, 5, 50) / 5
    risk = risk_at_coverage(uncertainty.tolist(), error.tolist())
    assert np.all(risk >= risk_at_coverage(error.tolist(), error.tolist()) - 1e-12)
    assert risk[-1] == pytest.approx(error.mean())
    turn = rng.permutation(50)
    assert risk == pytest.approx(risk_at_coverage(uncertainty[turn].tolist(), error[turn].tolist()))


@pytest.mark.parametrize(("labels", "points"), [(0, 0), (1, 1), (7, 7), (100, 100), (12345, 100)])
def test_curves_are_thinned_to_a_hundred_points(labels, points):
    curve = thin(np.linspace(0, 0.5, labels))
    assert len(curve["coverage"]) == len(curve["risk"]) == points
    if labels:
        assert curve["coverage"][-1] == 1.0 and np.all(np.diff(curve["coverage"]) > 0)
        assert curve["risk"][-1] == pytest.approx(0.5 if labels > 1 else 0.0)
