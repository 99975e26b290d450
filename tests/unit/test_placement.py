"""Where occluders are put."""

from __future__ import annotations

import numpy as np
import pytest

from amodalpl.synthesis.placement import draw_offset, place_occluder, shifted


def test_two_windows_overlap_by_exactly_the_drawn_fraction():
    rng = np.random.default_rng(0)
    for fraction in np.linspace(0.05, 1.0, 20):
        for _ in range(20):
            dx, dy = draw_offset(rng, (fraction, fraction))
            assert (1 - abs(dx)) * (1 - abs(dy)) == pytest.approx(fraction)


def test_overlap_is_uniform_in_its_range_and_all_four_quadrants_occur():
    rng = np.random.default_rng(1)
    offsets = np.array([draw_offset(rng, (0.4, 1.0)) for _ in range(2000)])
    overlap = (1 - abs(offsets)).prod(axis=1)
    assert overlap.min() > 0.4 and overlap.max() <= 1
    assert overlap.mean() == pytest.approx(0.7, abs=0.02)
    assert np.histogram(overlap, bins=4, range=(0.4, 1.0))[0].min() > 400
    quadrants = (offsets[:, 0] > 0) * 2 + (offsets[:, 1] > 0)
    assert np.bincount(quadrants).min() > 400


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, -2), (-4, 1), (8, 0), (0, -8)])
def test_shift_moves_and_fills_with_zero(dx, dy):
    patch = np.random.default_rng(2).integers(1, 9, (8, 8, 3))
    moved = shifted(patch, dx, dy)
    for y in range(8):
        for x in range(8):
            inside = 0 <= y - dy < 8 and 0 <= x - dx < 8
            np.testing.assert_array_equal(moved[y, x], patch[y - dy, x - dx] if inside else 0)


def blobs(rng, side=32):
    ys, xs = np.mgrid[:side, :side]
    return [
        (xs - rng.uniform(10, 22)) ** 2 + (ys - rng.uniform(10, 22)) ** 2 <= rng.uniform(5, 12) ** 2 for _ in range(2)
    ]


@pytest.mark.parametrize("cut", [(0.001, 0.9), (0.3, 0.5)])
def test_hidden_share_lies_within_the_accepted_range(cut):
    rng = np.random.default_rng(3)
    placed = 0
    for _ in range(50):
        target, occluder = blobs(rng)
        offset = place_occluder(rng, target, occluder, (0.4, 1.0), cut, 100)
        if offset is None:
            continue
        placed += 1
        hidden = (target & shifted(occluder, *offset)).sum() / target.sum()
        assert cut[0] <= hidden < cut[1]
    assert placed > 40


@pytest.mark.parametrize(
    ("cut", "hidden_px"),
    [
        pytest.param((0.001, 1.0), {1, 2}, id="all is too much"),
        pytest.param((0.25, 0.5), {1}, id="half is too much"),
        pytest.param((0.5, 0.9), {2}, id="half is enough"),
        pytest.param((0.6, 1.0), set(), id="nothing between half and all"),
    ],
)
def test_least_share_is_included_and_most_excluded(cut, hidden_px):
    """Of four pixels, the edge of what covers everything can leave none, two or three."""
    rng = np.random.default_rng(4)
    dot, everything = np.zeros((16, 16), bool), np.ones((16, 16), bool)
    dot[7:9, 7:9] = True
    offsets = [place_occluder(rng, dot, everything, (0.1, 1.0), cut, 50) for _ in range(60)]
    assert {int((dot & shifted(everything, *offset)).sum()) for offset in offsets if offset} == hidden_px


def test_impossible_placements_are_told_not_faked():
    rng = np.random.default_rng(5)
    target, empty = np.ones((16, 16), bool), np.zeros((16, 16), bool)
    assert place_occluder(rng, target, empty, (0.4, 1.0), (0.001, 0.9), 20) is None
    assert place_occluder(rng, empty, target, (0.4, 1.0), (0.001, 0.9), 20) is None


def test_same_generator_same_place():
    target, occluder = blobs(np.random.default_rng(6))
    first, second = (
        place_occluder(np.random.default_rng(7), target, occluder, (0.4, 1.0), (0.1, 0.6), 100) for _ in range(2)
    )
    assert first is not None and first == second
