"""Crops around cut-outs, and pasting; whole samples are tested with their recipes."""

from __future__ import annotations

import numpy as np
import pytest

from amodalpl.masks.boxes import crop_square
from amodalpl.settings import SynthesisSettings
from amodalpl.synthesis.placement_geometry import draw_view, patch_from, pixels_within

BOX = (30, 40, 20, 10)


def views(count=200, **synthesis):
    settings = SynthesisSettings(**{"shift": 0.0, "scale": (1.0, 1.0), "flip_probability": 0.0, **synthesis})
    return [draw_view(BOX, np.random.default_rng(seed), settings) for seed in range(count)]


@pytest.mark.parametrize("zoom", [0.5, 1.0, 2.0])
def test_zoom_makes_the_object_larger_and_the_crop_smaller(zoom):
    base = crop_square(BOX, 3.0)
    [view] = views(1, scale=(zoom, zoom))
    assert view.square.side == pytest.approx(base.side / zoom)
    assert view.square.x + view.square.side / 2 == pytest.approx(40)
    assert view.square.y + view.square.side / 2 == pytest.approx(45)


def test_shift_is_in_sides_of_the_crop_and_goes_all_ways():
    base = crop_square(BOX, 3.0)
    side = base.side
    away = np.array([(view.square.x - base.x, view.square.y - base.y) for view in views(shift=0.2)])
    assert (abs(away) <= 0.2 * side).all() and (abs(away).max(axis=0) > 0.18 * side).all()
    assert (abs(away.mean(axis=0)) < 0.03 * side).all()


def test_some_are_mirrored():
    assert 0.4 < np.mean([view.flip for view in views(flip_probability=0.5)]) < 0.6


def test_pixels_within_a_box():
    matrix = patch_from(type("Square", (), {"x": 10.0, "y": 20.0, "side": 16.0})(), 8)  # two units a pixel
    inside = pixels_within((12, 24, 4, 6), matrix, 8)
    assert np.flatnonzero(inside.any(axis=0)).tolist() == [1, 2] and inside.sum() == 2 * 3
    mirrored = patch_from(type("Square", (), {"x": 10.0, "y": 20.0, "side": 16.0})(), 8, flip=True)
    np.testing.assert_array_equal(pixels_within((12, 24, 4, 6), mirrored, 8), inside[:, ::-1])
