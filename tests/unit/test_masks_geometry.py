"""Growing, hulls and contact bands."""

from __future__ import annotations

import numpy as np
import pytest

from amodalpl.masks.geometry import dilate, filled_hull, occlusion_boundary, touch


def rectangle(rows, columns, size_hw=(40, 40)):
    mask = np.zeros(size_hw, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def disc(centre, radius, size_hw=(120, 120)):
    ys, xs = np.mgrid[: size_hw[0], : size_hw[1]]
    return (xs - centre[0]) ** 2 + (ys - centre[1]) ** 2 <= radius**2


def test_dilate_grows_by_a_square():
    np.testing.assert_array_equal(
        dilate(rectangle((10, 12), (20, 21)), 3), rectangle((10 - 3, 12 + 3), (20 - 3, 21 + 3))
    )


def test_dilate_stops_at_the_frame():
    np.testing.assert_array_equal(dilate(rectangle((0, 1), (0, 1)), 2), rectangle((0, 3), (0, 3)))


def test_dilate_by_nothing_is_the_mask():
    mask = rectangle((1, 3), (1, 3))
    np.testing.assert_array_equal(dilate(mask, 0), mask)


@pytest.mark.parametrize(
    ("second", "meets"),
    [
        pytest.param(((10, 20), (20, 30)), True, id="share an edge"),
        pytest.param(((15, 25), (15, 25)), True, id="overlap"),
        pytest.param(((20, 30), (20, 30)), False, id="share a corner only"),
        pytest.param(((10, 20), (21, 30)), False, id="one free pixel"),
    ],
)
def test_touch_is_4_neighbourhood(second, meets):
    a, b = rectangle((10, 20), (10, 20)), rectangle(*second)
    assert touch(a, b) is meets and touch(b, a) is meets


def test_boundary_of_abutting_rectangles_is_two_pixels_each_side():
    left, right = rectangle((10, 20), (5, 15)), rectangle((10, 20), (15, 25))
    # each grown by 2: columns 3-16 and 13-26, rows 8-21; both: columns 13-16
    np.testing.assert_array_equal(occlusion_boundary(left, right), rectangle((8, 22), (13, 17)))


@pytest.mark.parametrize(("width_px", "columns"), [(3, (14, 16)), (5, (13, 17)), (7, (12, 18))])
def test_boundary_width(width_px, columns):
    left, right = rectangle((0, 40), (0, 15)), rectangle((0, 40), (15, 40))
    np.testing.assert_array_equal(occlusion_boundary(left, right, width_px), rectangle((0, 40), columns))


@pytest.mark.parametrize(("free_px", "columns"), [(0, 4), (1, 3), (3, 1), (4, 0), (9, 0)])
def test_boundary_narrows_with_the_gap_and_vanishes_at_four(free_px, columns):
    band = occlusion_boundary(rectangle((0, 40), (0, 15)), rectangle((0, 40), (15 + free_px, 40)))
    assert band.sum() == 40 * columns


def test_boundary_is_symmetric():
    a, b = disc((50, 50), 25), disc((80, 55), 20)
    np.testing.assert_array_equal(occlusion_boundary(a, b), occlusion_boundary(b, a))


def test_the_hull_of_an_l_is_its_triangle_and_two_rows_apart_are_joined():
    corner = np.zeros((7, 9), bool)
    corner[1:6, 2] = corner[5, 2:7] = True
    ys, xs = np.mgrid[:7, :9]
    assert np.array_equal(filled_hull(corner), (xs >= 2) & (ys <= 5) & (ys - 1 >= xs - 2))
    apart = np.zeros((7, 9), bool)
    apart[0, 3:6] = apart[6, 3:6] = True
    assert np.array_equal(filled_hull(apart), (xs >= 3) & (xs < 6))
