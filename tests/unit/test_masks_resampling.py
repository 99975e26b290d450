"""The way from the image to the patch and back."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest

from amodalpl.masks.boxes import Square, crop_square, tight_box
from amodalpl.masks.resampling import from_patch, to_patch, warp_window

OPENCV_4 = pytest.mark.skipif(int(cv2.__version__.split(".")[0]) != 4, reason="OpenCV 5 resamples by another rule")


def disc(centre, radius, size_hw=(120, 120)):
    ys, xs = np.mgrid[: size_hw[0], : size_hw[1]]
    return (xs - centre[0]) ** 2 + (ys - centre[1]) ** 2 <= radius**2


def turned(seed, reach=3.0):
    """Return an affine matrix: scaled and shifted, on odd seeds also turned, on every third mirrored."""
    rng = np.random.default_rng(seed)
    angle, scale = rng.uniform(-3, 3) * (seed % 2), rng.uniform(0.1, reach)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn[:, 0] *= 1 if seed % 3 else -1
    return np.concatenate([turn, rng.uniform(-30, 100, (2, 1))], axis=1)


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


@OPENCV_4
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


@OPENCV_4
@pytest.mark.parametrize("seed", range(40))
def test_patches_are_those_of_opencv_4(seed):
    matrix, rng = turned(seed), np.random.default_rng(seed)
    mask, probability = rng.random((70, 90)) < 0.5, rng.random((64, 64)).astype(np.float32)
    nearest = cv2.warpAffine(mask.view(np.uint8), matrix, (64, 64), flags=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(to_patch(mask, matrix, 64), nearest.view(bool))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    back = cv2.warpAffine(probability, matrix, (90, 70), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    np.testing.assert_array_equal(from_patch(probability, matrix, (70, 90)), back)


def test_patches_are_the_same_under_every_version_of_opencv():
    ys, xs = np.mgrid[:97, :131]
    mask, image = (xs * xs + 3 * ys) % 7 < 3, ((xs * 31 + ys * 17) % 256).astype(np.uint8)
    probability = ((xs * 7 + ys * 13) % 101 / 101).astype(np.float32)[:64, :64].copy()
    sums = [hashlib.sha256() for _ in range(3)]
    for k in range(1, 60):
        matrix = np.array([[k / 19, 0, 5 - k / 7], [0, k / 23, k / 11 - 3]])
        sums[0].update(to_patch(mask, matrix, 64).tobytes())
        sums[1].update(to_patch(image, matrix, 64, linear=True).tobytes())
        sums[2].update(from_patch(probability, matrix, (80, 90)).tobytes())
    assert [digest.hexdigest()[:12] for digest in sums] == ["2aef06495346", "6f7b3cb6d17b", "cbf7ea40857e"]


def test_nothing_is_asked_of_an_empty_window():
    assert warp_window(np.ones((4, 4, 3), np.uint8), np.eye(2, 3), np.s_[3:3, 0:2]).shape == (0, 2, 3)
