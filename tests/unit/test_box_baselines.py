"""What boxes give for free, against numbers made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from amodalpl.masks.boxed import boxed
from amodalpl.metrics.box_baselines import MeanShapesOf, box_ellipse, filled_box, grabcut

GREY = np.full((40, 60, 3), 100, np.uint8)


def test_a_filled_box_has_the_pixels_whose_centre_it_holds():
    assert filled_box(GREY, (10, 5, 20, 10)).sum() == 200
    assert filled_box(GREY, (9.6, 4.6, 20, 10)).nonzero()[1].min() == 10
    assert filled_box(GREY, (-5, -5, 10, 10)).sum() == 25  # what of it is in the photo


def test_an_ellipse_has_its_area_and_its_axes():
    mask = box_ellipse(GREY, (10, 5, 40, 30))
    assert mask.sum() == pytest.approx(np.pi * 20 * 15, rel=0.01)
    assert not (mask & ~filled_box(GREY, (10, 5, 40, 30))).any()
    assert mask[20, 10] and mask[20, 49] and not mask[5, 10]


def test_grabcut_finds_a_red_square_and_not_what_is_around_it():
    rng = np.random.default_rng(0)
    image = rng.integers(80, 120, (60, 80, 3)).astype(np.uint8)
    truth = np.zeros((60, 80), bool)
    truth[20:40, 30:50] = True
    image[truth] = (220, 20, 20)
    found = grabcut(image, (27, 17, 26, 26))
    assert (found & truth).sum() / (found | truth).sum() > 0.95
    np.testing.assert_array_equal(found, grabcut(image, (27, 17, 26, 26)))  # OpenCV's chance is seeded


def test_grabcut_without_a_background_fills_the_box():
    assert grabcut(GREY, (0, 0, 60, 40)).all()


def test_the_mean_shape_is_where_half_of_the_class_is():
    """Two full boxes and one left half of class a: all of the left half, two thirds of the right; b is a left half."""
    shapes = MeanShapesOf()
    full, left = np.ones((32, 32), bool), np.zeros((33, 33), bool)
    left[:32, :16] = True
    left[32, 32] = True  # the corner that makes its box that of 33 pixels
    for mask, name in ((full, "a"), (full, "a"), (left, "b"), (np.zeros((4, 4), bool), "b")):
        shapes.add(boxed(mask), name)
    mean = shapes.mean()
    assert mean(GREY, (10, 5, 20, 10), "a").sum() == 200
    half = mean(GREY, (10, 5, 40, 20), "b")
    assert half[6:24, 11:28].all() and not half[6:23, 32:48].any()
    assert mean(GREY, (10, 5, 20, 10), "unheard of").sum() == 200  # two of all three fill the box


def test_a_shape_is_scaled_to_the_box():
    shapes = MeanShapesOf()
    ys, xs = np.indices((64, 64))
    shapes.add(boxed((ys - 31.5) ** 2 + (xs - 31.5) ** 2 <= 32**2), "disc")
    laid, ellipse = shapes.mean()(GREY, (10, 5, 40, 20), "disc"), box_ellipse(GREY, (10, 5, 40, 20))
    assert (laid & ellipse).sum() / (laid | ellipse).sum() > 0.95


def test_no_shapes_are_none():
    assert MeanShapesOf().mean() is None
