"""Outlines as tools draw them: sane numbers, and shapes as polygons."""

import math

import pytest
from drawn_data_sets import box, drawn, in_pixels

from amodalpl.data.outlines import ellipse, join, number, rectangle, ring
from amodalpl.data.records import LeftOut, Mask
from amodalpl.masks import rle


@pytest.mark.parametrize("value", [math.nan, math.inf, -(10**9), 10**400, True, "1x", "1_0", "", None, "nan"])
def test_coordinates_are_sane_numbers(value):
    with pytest.raises(LeftOut, match="malformed outline"):
        number(value)


@pytest.mark.parametrize(("value", "expected"), [(1, 1.0), (2.5, 2.5), ("2.5", 2.5), (" -3 ", -3.0), ("1e2", 100.0)])
def test_coordinates_may_be_text(value, expected):
    assert number(value) == expected


@pytest.mark.parametrize("points", [None, [1, 2, 3], [[1, 2, 3]] * 3, "abc"])
def test_points_are_pairs(points):
    with pytest.raises(LeftOut, match="malformed outline: expected pairs"):
        ring(points)


def test_a_polygon_has_three_points():
    with pytest.raises(LeftOut, match="fewer than 3 points: got 2"):
        ring([[1, 2], [3, 4]])


def test_a_box_turns_clockwise_about_its_top_left_corner():
    assert rectangle(10, 20, 4, 2, 90) == pytest.approx((10, 20, 10, 24, 8, 24, 8, 20))


def test_an_ellipse_covers_its_area():
    mask = rle.from_polygons([ellipse(50, 40, 30, 20, 30)], (80, 100))
    assert rle.area_px(mask) == pytest.approx(math.pi * 30 * 20, rel=0.01)
    x, y, w, h = rle.box_xywh(mask)
    assert (x + w / 2, y + h / 2) == pytest.approx((50, 40), abs=0.6)


def test_parts_stay_polygons_unless_one_is_in_pixels():
    first, second = Mask((box(1, 1, 4, 4),)), Mask((box(10, 1, 4, 4),))
    assert join([first, second], (20, 20)).polygons == (*first.polygons, *second.polygons)
    mixed = join([first, in_pixels(drawn((10, 1, 4, 4), size_hw=(20, 20)))], (20, 20))
    assert (rle.decode(mixed.rle) == drawn((1, 1, 4, 4), (10, 1, 4, 4), size_hw=(20, 20))).all()
