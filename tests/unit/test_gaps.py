"""Gaps between masks: measured, turned into a tolerance, closed."""

from __future__ import annotations

import numpy as np
import pytest

from amodalpl.masks.gaps import (
    FARTHEST_PX,
    SMALLEST_PX,
    close_gap,
    derive_tolerance,
    distance_px,
    grow_tight_masks,
    pair_gaps,
)
from amodalpl.masks.geometry import dilate
from amodalpl.report.gaps import gap_histogram


def rectangles(*boxes_xywh, size_hw=(80, 120)):
    masks = np.zeros((len(boxes_xywh), *size_hw), bool)
    for mask, (x, y, w, h) in zip(masks, boxes_xywh, strict=True):
        mask[y : y + h, x : x + w] = True
    return masks


@pytest.mark.parametrize(
    ("second", "gap_px"),
    [((20, 10, 5, 5), 0), ((21, 10, 5, 5), 1), ((27, 10, 5, 5), 7), ((20, 20, 5, 5), 0), ((23, 25, 5, 5), 5),
     ((60, 10, 5, 5), 40)],
    ids=["edge", "one", "seven", "corner", "both axes", "farthest"],
)  # fmt: skip
def test_gap_of_two_rectangles(second, gap_px):
    masks = rectangles((10, 10, 10, 10), second)
    assert pair_gaps(masks) == [gap_px]
    assert pair_gaps(masks[::-1]) == [gap_px]
    assert pair_gaps(masks.transpose(0, 2, 1)) == [gap_px]


@pytest.mark.parametrize("turned", [False, True], ids=["upright", "lying"])
@pytest.mark.parametrize("other", [(63, 0, 4, 200), (63, 0, 4, 103), (63, 101, 4, 99)], ids=["through", "up", "down"])
def test_a_long_object_reaches_beyond_what_is_looked_at(other, turned):
    masks = rectangles((10, 100, 50, 5), other, size_hw=(200, 200))
    masks = masks.transpose(0, 2, 1) if turned else masks
    assert pair_gaps(masks) == [3]
    assert pair_gaps(masks[::-1]) == [3]


def test_pairs_further_apart_are_left_out():
    assert pair_gaps(rectangles((10, 10, 10, 10), (20 + FARTHEST_PX + 1, 10, 5, 5))) == []
    assert pair_gaps(rectangles((10, 10, 10, 10), (24, 10, 5, 5)), farthest_px=3) == []


def test_boxes_may_meet_where_masks_do_not():
    masks = np.zeros((2, 40, 40), bool)
    masks[0] = np.tri(40, k=-6, dtype=bool)
    masks[1] = masks[0].T
    assert pair_gaps(masks) == [5]  # chessboard distance of (i, j) with i - j >= 6 to j - i >= 6 is 6


def test_each_near_pair_counts_once():
    assert sorted(pair_gaps(rectangles((0, 0, 10, 10), (12, 0, 10, 10), (25, 0, 10, 10)))) == [2, 3, 15]


def test_empty_masks_and_lonely_ones_have_no_gap():
    assert pair_gaps(np.zeros((0, 9, 9), bool)) == []
    assert pair_gaps(rectangles((10, 10, 10, 10))) == []
    assert pair_gaps(rectangles((10, 10, 10, 10), (0, 0, 0, 0), (22, 10, 3, 3))) == [2]


@pytest.mark.parametrize("seed", range(5))
def test_gaps_are_least_distances_of_pixels(seed):
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, 60, (30, 30))
    masks = np.stack([owner == k for k in range(5)])
    pixels = [np.argwhere(m) for m in masks]
    brute = [
        abs(pixels[a][:, None] - pixels[b][None]).max(axis=-1).min() - 1 for a in range(5) for b in range(a + 1, 5)
    ]
    assert sorted(pair_gaps(masks)) == sorted(brute)


def test_many_large_masks_are_measured_at_once():
    """500 interleaved rows: each pair that is near is measured in the window of its boxes."""
    masks = np.zeros((250, 500, 64), bool)
    masks[np.arange(250), 2 * np.arange(250)] = True
    gaps = np.bincount(pair_gaps(masks, farthest_px=3))
    assert gaps.tolist() == [0, 249, 0, 248]


def test_distance_is_zero_within():
    mask = rectangles((3, 3, 2, 2), size_hw=(8, 9))[0]
    away = distance_px(mask)
    assert (away[mask] == 0).all() and away[3, 8] == 4 and away[7, 0] == 3


def spread(by_chance, **contact):
    """As many pairs at each distance as chance puts there, and those in contact."""
    gaps = [gap for gap in range(FARTHEST_PX + 1) for _ in range(by_chance)]
    return gaps + [int(name[1:]) for name, count in contact.items() for _ in range(count)]


@pytest.mark.parametrize(
    ("gaps", "gap_px"),
    [
        pytest.param([], 2, id="nothing measured"),
        pytest.param([0] * 49, 2, id="too few pairs to say anything"),
        pytest.param([0] * 100, 1, id="all in contact"),
        pytest.param(spread(10), 1, id="chance alone"),
        pytest.param(spread(10, g0=100, g3=100), 3, id="half of them three apart"),
        pytest.param(spread(10, g0=970, g3=20), 1, id="two in a hundred are not worth it"),
        pytest.param(spread(10, g0=100, g7=15), 7, id="few, but clear of chance"),
        pytest.param(spread(100, g0=1000, g7=20), 1, id="within the noise of chance"),
        pytest.param(spread(0, g20=50), 20, id="widest"),
        pytest.param(spread(0, g25=50), 1, id="beyond the widest is no contact"),
        pytest.param([0] * 60 + [500], 1, id="far pairs are not counted"),
    ],
)
def test_tolerance(gaps, gap_px):
    assert derive_tolerance(gaps).gap_px == gap_px


@pytest.mark.parametrize(
    ("gaps", "contour_inset_px"),
    [
        pytest.param([], 0, id="nothing measured"),
        pytest.param([4] * 49, 0, id="too few pairs to say anything"),
        pytest.param([0] * 100, 0, id="all in contact"),
        pytest.param(spread(10), 0, id="chance alone"),
        pytest.param(spread(10, g0=60, g3=50), 0, id="most in contact"),
        pytest.param(spread(10, g0=50, g3=60), 1, id="most three apart"),
        pytest.param(spread(10, g0=20, g2=100, g3=20), 1, id="two apart"),
        pytest.param(spread(10, g6=100, g7=30), 3, id="six apart"),
        pytest.param(spread(0, g25=50), 0, id="beyond the widest is no contact"),
    ],
)
def test_tight_by_half_of_the_median_gap(gaps, contour_inset_px):
    assert derive_tolerance(gaps).contour_inset_px == contour_inset_px


@pytest.mark.parametrize("radius_px", [1, 2, 3])
def test_loosening_undoes_an_erosion(radius_px):
    """Of shapes without thin parts nothing is lost: a wall on each side of another."""
    masks = np.stack(rectangles((5, 5, 10, 30), (15, 5, 12, 30), (27, 10, 9, 20)))
    eroded = np.stack([~dilate(~mask, radius_px) for mask in masks])
    assert derive_tolerance(pair_gaps(eroded) * 30).contour_inset_px == radius_px
    np.testing.assert_array_equal(grow_tight_masks(eroded, radius_px), masks)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("by_px", [0, 1, 3])
def test_loosening_gives_free_pixels_to_the_nearest(seed, by_px):
    owner = np.random.default_rng(seed).choice(4, (40, 40), p=(0.97, 0.01, 0.01, 0.01))
    masks = np.stack([owner == number for number in (1, 2, 3)])
    found = np.asarray(grow_tight_masks(masks, by_px))
    away = np.stack([distance_px(mask) for mask in masks])
    assert (found | ~masks).all() and found.sum(axis=0).max() == 1
    np.testing.assert_array_equal(found.any(axis=0), away.min(axis=0) <= by_px)
    assert (away[found] == np.broadcast_to(away.min(axis=0), away.shape)[found]).all()


def test_loosening_nothing():
    nothing = np.zeros((2, 5, 5), dtype=bool)
    assert not np.asarray(grow_tight_masks(nothing, 3)).any()
    assert grow_tight_masks(np.zeros((0, 5, 5), dtype=bool), 3).shape == (0, 5, 5)
    whole = np.ones((1, 5, 5), dtype=bool)
    assert np.asarray(grow_tight_masks(whole, 3)).all()


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param([146, 4, 2, 2, 1, 1, 4, 4, 4, 9, 2, 4, 1, 6, 11] + 26 * [4], id="at 14, by chance"),
        pytest.param([193, 2, 6, 4, 6, 12, 3, 18, 8, 8, 12] + 30 * [8], id="at 7, by chance"),
    ],
)
def test_one_distance_that_stands_out_is_no_contact(counts):
    assert derive_tolerance([gap for gap, count in enumerate(counts) for _ in range(count)]).gap_px == SMALLEST_PX


def test_tolerance_says_what_was_measured():
    found = derive_tolerance(spread(10, g0=5, g2=7))
    assert found.by_chance == 10 and len(found.counts) == FARTHEST_PX + 1
    assert found.counts[:4] == (15, 10, 17, 10) and found.gap_px == SMALLEST_PX


@pytest.mark.parametrize("gap_px", range(1, 9))
@pytest.mark.parametrize("free_px", range(9))
def test_closing_a_gap_of_two_walls(gap_px, free_px):
    modal, occluder = rectangles((10, 10, 10, 20), (20 + free_px, 10, 10, 20))
    found_modal, found_occluder = close_gap(modal, occluder, ~(modal | occluder), gap_px)
    if free_px > gap_px:
        assert (found_modal == modal).all() and (found_occluder == occluder).all()
        return
    assert found_modal[20].sum() == 10 + free_px // 2  # the middle one goes to the occluder
    assert found_occluder[20].sum() == 10 + free_px - free_px // 2
    assert (found_modal | found_occluder)[20, 10 : 30 + free_px].all()


@pytest.mark.parametrize("seed", range(4))
def test_closing_only_adds_free_pixels_near_both(seed):
    owner = np.random.default_rng(seed).choice(4, (40, 40), p=(0.9, 0.04, 0.04, 0.02))
    modal, occluder, taken = owner == 1, owner == 2, owner == 3
    before = modal.copy(), occluder.copy()
    found_modal, found_occluder = close_gap(modal, occluder, owner == 0, 3)
    assert (modal == before[0]).all() and (occluder == before[1]).all()
    added = (found_modal & ~modal) | (found_occluder & ~occluder)
    assert added.any() and not (found_modal & found_occluder).any() and not (added & taken).any()
    assert (modal <= found_modal).all() and (occluder <= found_occluder).all()
    assert not (added & ~(dilate(modal, 3) & dilate(occluder, 3))).any()


def test_nothing_to_close():
    modal, occluder = rectangles((10, 10, 10, 20), (22, 10, 10, 20))
    free = ~(modal | occluder)
    for again in (close_gap(modal, occluder, free, 0), close_gap(modal, np.zeros_like(modal), free, 5)):
        assert (again[0] == modal).all()


def test_histogram_is_a_picture_with_or_without_pairs(tmp_path):
    for name, gaps in {"many": spread(10, g0=500), "none": []}.items():
        gap_histogram(derive_tolerance(gaps), tmp_path / f"{name}.png")
        gap_histogram(derive_tolerance(gaps), tmp_path / f"{name} again.png")
        data = (tmp_path / f"{name}.png").read_bytes()
        assert data.startswith(b"\x89PNG") and data == (tmp_path / f"{name} again.png").read_bytes()
    assert (tmp_path / "many.png").read_bytes() != (tmp_path / "none.png").read_bytes()
