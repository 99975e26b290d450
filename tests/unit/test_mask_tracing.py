"""Masks in pixels as polygons: rasterised again, the same pixels."""

import time

import numpy as np
import pytest
from drawn_data_sets import box, drawn, in_pixels

from amodalpl.data.mask_tracing import one_ring, rings
from amodalpl.data.records import Mask
from amodalpl.masks import rle


def rasterised(parts, size_hw):
    return rle.decode(rle.from_polygons(parts, size_hw))


def test_a_rectangle_has_its_four_corners():
    [ring] = rings(in_pixels(drawn((30, 10, 9, 5))))
    assert sorted(zip(ring[::2], ring[1::2], strict=True)) == [(30, 10), (30, 15), (39, 10), (39, 15)]


def test_a_hole_is_reached_by_a_slit():
    mask = drawn((10, 10, 20, 20), holes=[(12, 12, 3, 3), (20, 12, 3, 3), (16, 20, 3, 3)])
    parts = rings(in_pixels(mask))
    assert len(parts) == 1 and (rasterised(parts, mask.shape) == mask).all()


def test_pixels_that_touch_at_a_corner_are_apart():
    mask = np.eye(3, dtype=bool)
    assert len(rings(in_pixels(mask))) == 3


@pytest.mark.parametrize("blocks", [1, 3], ids=["pixels", "blocks"])
def test_any_mask_comes_back(blocks):
    rng = np.random.default_rng(0)
    for _ in range(150):
        mask = rng.random(rng.integers(1, 14, size=2)) < rng.random()
        mask = np.kron(mask, np.ones((blocks, blocks), dtype=bool))
        if not mask.any():
            continue
        outline = in_pixels(mask)
        assert (rasterised(rings(outline), mask.shape) == mask).all()
        assert (rasterised([one_ring(outline, mask.shape)], mask.shape) == mask).all()


def test_masks_of_noise_take_seconds_and_not_minutes():
    """Thousands of specks and of holes; what looks through all corners for each takes half a minute here."""
    rng = np.random.default_rng(0)
    began = time.process_time()
    for share in (0.2, 0.8):
        mask = rng.random((250, 250)) < share
        assert (rasterised(rings(in_pixels(mask)), mask.shape) == mask).all()
    assert time.process_time() - began < 10


def test_polygons_stay_as_they_are():
    outline = Mask((box(1.5, 2, 3, 4), box(10, 2, 3, 4)))
    assert rings(outline) == outline.polygons
    assert one_ring(Mask(outline.polygons[:1]), (20, 20)) == outline.polygons[0]


@pytest.mark.parametrize("second", [(10, 2, 3, 4), (3, 3, 4, 4)], ids=["apart", "overlapping"])
def test_one_ring_covers_the_union(second):
    outline = Mask((box(1, 2, 3, 4), box(*second)))
    joined = one_ring(outline, (20, 20))
    assert (rasterised([joined], (20, 20)) == rasterised(outline.polygons, (20, 20))).all()
