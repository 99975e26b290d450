"""Growing, contact bands, and the way from the image to the patch and back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from amodalpl.masks.boxes import Square, crop_square, tight_box
from amodalpl.masks.geometry import dilate, filled_hull, from_patch, occlusion_boundary, to_patch, touch, warp_window


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


def test_patch_at_scale_one_is_the_crop():
    mask = np.random.default_rng(0).random((40, 50)) < 0.5
    matrix = Square(7, 9, 16).patch_from_raster(16)
    np.testing.assert_array_equal(to_patch(mask, matrix, 16), mask[9:25, 7:23])
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_patch(image, matrix, 16, linear=True), image[9:25, 7:23])


def test_back_at_scale_one_is_the_patch_and_its_nearest_pixel_outside():
    matrix = Square(7, 9, 16).patch_from_raster(16)
    patch = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    back = from_patch(patch, matrix, (40, 50))
    np.testing.assert_allclose(back[9:25, 7:23], patch, atol=1e-6)
    np.testing.assert_allclose(back[:9, 7:23], np.broadcast_to(patch[0], (9, 16)), atol=1e-6)
    np.testing.assert_allclose(back[25:, 0], patch[-1, 0], atol=1e-6)


def test_outside_of_the_image_is_zero_in_the_patch():
    patch = to_patch(np.ones((10, 10), bool), Square(-5, 0, 10).patch_from_raster(20), 20)
    assert not patch[:, :10].any() and patch[:, 10:].all()


def test_patch_at_scale_two_repeats_pixels():
    mask = np.random.default_rng(3).random((8, 8)) < 0.5
    patch = to_patch(mask, Square(0, 0, 8).patch_from_raster(16), 16)
    np.testing.assert_array_equal(patch, mask.repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize(
    ("radius", "patch_px", "least"),
    [
        pytest.param(8, 64, 0.97, id="enlarged"),
        pytest.param(40, 64, 0.95, id="reduced by two"),
        pytest.param(18, 64, 0.95, id="about one to one"),
    ],
)
def test_there_and_back_keeps_the_shape(radius, patch_px, least):
    mask = disc((58.3, 61.7), radius)
    matrix = crop_square(tight_box(mask)).patch_from_raster(patch_px)
    back = from_patch(to_patch(mask, matrix, patch_px).astype(np.float32), matrix, mask.shape) > 0.5
    assert (back & mask).sum() / (back | mask).sum() > least
    ys, xs = np.nonzero(back)  # no shift by half a pixel, the classic mistake
    assert np.allclose((xs.mean(), ys.mean()), (np.nonzero(mask)[1].mean(), np.nonzero(mask)[0].mean()), atol=0.35)


@pytest.mark.parametrize("seed", range(40))
def test_a_window_is_warped_as_opencv_warps_the_whole(seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (90, 120, 3) if seed % 2 else (90, 120)).astype(np.uint8)
    scale, flip = rng.uniform(0.1, 3), rng.choice([-1, 1])
    matrix = np.array([[flip * scale, 0, rng.uniform(-30, 200)], [0, scale, rng.uniform(-30, 100)]])
    border = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE)[seed % 2]
    whole = cv2.warpAffine(image, matrix, (200, 150), flags=cv2.INTER_LINEAR, borderMode=border)
    window = np.s_[37:140, 51:187]
    np.testing.assert_array_equal(warp_window(image, matrix, window, border=border), whole[window])
    if not seed % 2:  # black surrounds the part as it surrounds the image
        framed = np.zeros((150, 170), np.uint8)
        framed[40:130, 30:150] = image
        whole = cv2.warpAffine(framed, matrix, (200, 150), flags=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(warp_window(image, matrix, window, (30, 40)), whole[window])


def test_the_hull_of_an_l_is_its_triangle_and_two_rows_apart_are_joined():
    corner = np.zeros((7, 9), bool)
    corner[1:6, 2] = corner[5, 2:7] = True
    ys, xs = np.mgrid[:7, :9]
    assert np.array_equal(filled_hull(corner), (xs >= 2) & (ys <= 5) & (ys - 1 >= xs - 2))
    apart = np.zeros((7, 9), bool)
    apart[0, 3:6] = apart[6, 3:6] = True
    assert np.array_equal(filled_hull(apart), (xs >= 3) & (xs < 6))
