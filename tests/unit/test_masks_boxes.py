"""Boxes and crops, against the formula of the PCNet code and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from amodalpl.errors import DataError
from amodalpl.masks.boxes import Square, boxes_near, crop_square, tight_box


@pytest.mark.parametrize(
    ("rows", "columns", "box"),
    [
        pytest.param((3, 4), (5, 6), (5, 3, 1, 1), id="one pixel"),
        pytest.param((2, 9), (1, 5), (1, 2, 4, 7), id="rectangle"),
        pytest.param((0, 10), (0, 12), (0, 0, 12, 10), id="everything"),
    ],
)
def test_tight_box(rows, columns, box):
    mask = np.zeros((10, 12), bool)
    mask[slice(*rows), slice(*columns)] = True
    assert tight_box(mask) == box


def test_empty_mask_has_no_box():
    with pytest.raises(DataError, match="at least one pixel, got an empty one"):
        tight_box(np.zeros((4, 4), bool))


@pytest.mark.parametrize(
    ("box", "side"),
    [
        pytest.param((0, 0, 20, 10), math.sqrt(3 * 20 * 10), id="by area"),
        pytest.param((5, 7, 100, 4), 1.1 * 100, id="long: by width"),
        pytest.param((5, 7, 4, 100), 1.1 * 100, id="tall: by height"),
    ],
)
def test_crop_is_a_square_about_the_centre(box, side):
    square = crop_square(box)
    assert square.side == pytest.approx(side)
    assert square.x + square.side / 2 == pytest.approx(box[0] + box[2] / 2)
    assert square.y + square.side / 2 == pytest.approx(box[1] + box[3] / 2)


def test_crop_contains_its_box_for_any_proportions():
    rng = np.random.default_rng(0)
    for x, y, w, h in rng.integers(1, 200, (50, 4)):
        square = crop_square((x, y, w, h), enlarge_area=float(rng.uniform(1, 7)))
        assert square.x <= x and square.y <= y
        assert square.x + square.side >= x + w and square.y + square.side >= y + h


def test_patch_matrix_maps_pixel_centres():
    matrix = Square(10, 20, 8).patch_from_raster(16)  # two patch pixels per image pixel
    # the centre of image pixel (10, 20) is 0.5 image = 1 patch pixel from the corner: between patch pixels 0 and 1
    np.testing.assert_allclose(matrix @ [10, 20, 1], [0.5, 0.5])
    np.testing.assert_allclose(matrix @ [17, 27, 1], [14.5, 14.5])


def test_patch_matrix_from_a_reduced_raster():
    square = Square(10, 20, 8)
    whole, reduced = square.patch_from_raster(32), square.patch_from_raster(32, (6, 4), 0.5)
    # raster pixel (4, 9) at half scale covers image pixels 14-15, 22-23; its centre is the corner point (15, 23)
    np.testing.assert_allclose(reduced @ [4, 9, 1], whole @ [14.5, 22.5, 1])


@pytest.mark.parametrize("free_px", [0, 1, 2, 3])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_boxes_are_near_up_to_the_gap(free_px, axis):
    first = np.array([[10, 10, 5, 5]])
    second = np.array([[15 + free_px, 10, 5, 5]] if axis == "x" else [[10, 15 + free_px, 5, 5]])
    for gap in range(4):
        assert boxes_near(first, second, gap).item() == (free_px <= gap)
        assert boxes_near(second, first, gap).item() == (free_px <= gap)
