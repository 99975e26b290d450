"""Masks kept in their boxes, against arrays of the whole image."""

from __future__ import annotations

import numpy as np
import pytest

from amodalpl.masks import rle
from amodalpl.masks.boxed import BoxedMask, all_boxed, boxed, common_window, decode, in_common_box

SIZE_HW = (12, 16)


def drawn(seed, count=4):
    """Random masks; the first has every pixel, the last none."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, *SIZE_HW), bool)
    for mask in masks[1:-1]:
        (top, bottom), (left, right) = np.sort(rng.integers(0, (13, 17), (2, 2)), axis=0).T
        mask[top:bottom, left:right] = rng.random((bottom - top, right - left)) < 0.7
    masks[0] = True
    return masks


@pytest.mark.parametrize("seed", range(20))
def test_a_window_is_that_of_the_whole_array(seed):
    masks, kept = drawn(seed), all_boxed(drawn(seed))
    np.testing.assert_array_equal(np.asarray(kept), masks)
    for window in (np.s_[3:9, 2:20], np.s_[0:12, 0:16], np.s_[5:5, 1:4], np.s_[11:30, 15:40]):
        for mask, of_box in zip(masks, kept, strict=True):
            np.testing.assert_array_equal(of_box[window], mask[window])
        np.testing.assert_array_equal(kept.any_of([1, 2, 3], window), masks[1:4].any(axis=0)[window])
        assert set(np.flatnonzero(masks[(slice(None), *window)].any(axis=(1, 2)))) <= set(kept.meeting(window))


@pytest.mark.parametrize("seed", range(20))
def test_what_two_masks_share(seed):
    (_, first, second, nothing), (_, a, b, c) = drawn(seed), all_boxed(drawn(seed))
    np.testing.assert_array_equal(a.united(b), first | second)
    np.testing.assert_array_equal(a.without(b), first & ~second)
    assert a.shared_px(b) == (first & second).sum() and a.shared_px(c) == 0
    shared_px = (drawn(seed) & first).sum(axis=(1, 2))
    assert all_boxed(drawn(seed)).shared_px(a) == {k: px for k, px in enumerate(shared_px) if px}
    assert all_boxed(drawn(seed)).shared_px(c) == {}
    np.testing.assert_array_equal(a.united(c), first)
    assert not c.any() and not c.at_edge and c.area_px == nothing.sum() == 0
    at_edge = first[0].any() or first[-1].any() or first[:, 0].any() or first[:, -1].any()
    assert a.at_edge == at_edge and a.area_px == first.sum() and a.any() == first.any()


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_are_those_of_the_whole_array(seed):
    for mask, of_box in zip(drawn(seed), all_boxed(drawn(seed)), strict=True):
        assert of_box.encode() == rle.encode(mask)
        again = decode(rle.encode(mask))
        assert again.box_xywh == of_box.box_xywh
        np.testing.assert_array_equal(again, mask)


@pytest.mark.parametrize(
    "counts",
    [[20, 30, 0, 5, 137], [0, 0, 20, 30, 142], [20, 30, 142, 0], [0, 192], [192], [100, 92]],
    ids=["a run of nothing", "begins with nothing twice", "ends with nothing", "all", "none", "to the last pixel"],
)
def test_odd_run_lengths_are_read_as_pycocotools_reads_them(counts):
    encoded = rle.from_uncompressed(counts, SIZE_HW)
    np.testing.assert_array_equal(decode(encoded), rle.decode(encoded))


def test_a_mask_keeps_its_box_only():
    mask = np.zeros((4000, 6000), bool)
    mask[100:110, 5000:5020] = True
    kept = boxed(mask)
    assert kept.crop.nbytes == 200 and kept.box_xywh == (5000, 100, 20, 10) and boxed(kept) is kept
    assert BoxedMask.cut(mask[90:120, 4990:5030], (4990, 90), (4000, 6000)).box_xywh == kept.box_xywh


def test_in_a_common_box():
    first, second, nothing = np.zeros((3, *SIZE_HW), bool)
    first[2:4, 3:5], second[6:7, 1:2] = True, True
    masks = [boxed(mask) for mask in (first, second, nothing)]
    assert common_window(*masks) == np.s_[2:7, 1:5]
    assert [part.sum() for part in in_common_box(*masks)] == [4, 1, 0]
    assert in_common_box(masks[2])[0].shape == (1, 1)
