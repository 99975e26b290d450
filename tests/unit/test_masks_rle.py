"""Run lengths: what goes in comes out, in the frame it belongs to."""

from __future__ import annotations

import json

import numpy as np
import pytest

from amodalpl.masks import rle


def noise(seed, size_hw=(7, 11)):
    return np.random.default_rng(seed).random(size_hw) < 0.4


@pytest.mark.parametrize("size_hw", [(1, 1), (7, 11), (64, 3)])
def test_decode_returns_what_was_encoded(size_hw):
    mask = noise(1, size_hw)
    decoded = rle.decode(rle.encode(mask))
    assert decoded.dtype == bool and decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, mask)


@pytest.mark.parametrize("layout", ["rows", "columns", "every second row", "numbers", "no pixels"])
def test_a_mask_is_the_same_however_it_lies_in_memory(layout):
    mask = noise(2, (8, 11))
    same = {
        "rows": mask, "columns": np.asfortranarray(mask), "every second row": mask.repeat(2, axis=0)[::2],
        "numbers": mask.astype(np.int64), "no pixels": mask[:, :0],
    }[layout]  # fmt: skip
    np.testing.assert_array_equal(rle.decode(rle.encode(same)), mask[:, : same.shape[1]])


def test_empty_mask_survives():
    empty = rle.encode(np.zeros((4, 6), bool))
    assert rle.area_px(empty) == 0
    assert rle.box_xywh(empty) == (0, 0, 0, 0)
    assert not rle.decode(empty).any()


def test_area_and_box_of_a_rectangle():
    mask = np.zeros((20, 30), bool)
    mask[4:9, 10:22] = True
    assert rle.area_px(rle.encode(mask)) == 5 * 12
    assert rle.box_xywh(rle.encode(mask)) == (10, 4, 12, 5)


@pytest.mark.parametrize(
    ("corner_xy", "kept_px"),
    [
        pytest.param((5, 3), 12, id="inside"),
        pytest.param((-2, 0), 6, id="left"),
        pytest.param((8, 8), 4, id="right and below"),
        pytest.param((0, -2), 4, id="above"),
        pytest.param((10, 0), 0, id="outside"),
        pytest.param((-9, -9), 0, id="far outside"),
    ],
)
def test_crop_is_put_into_its_frame_and_cut(corner_xy, kept_px):
    encoded = rle.encode_in_frame(np.ones((3, 4), bool), corner_xy, (10, 10))
    frame = np.zeros((30, 30), bool)  # the same with 10 pixels around
    x, y = corner_xy
    frame[10 + y : 13 + y, 10 + x : 14 + x] = True
    np.testing.assert_array_equal(rle.decode(encoded), frame[10:20, 10:20])
    assert rle.area_px(encoded) == kept_px


def test_a_crop_in_its_frame_has_the_very_bytes_of_the_whole_mask():
    """Of full, empty, dense and sparse crops, that stick out, touch edges or fill frames up to some hundred pixels."""
    rng = np.random.default_rng(0)
    for _ in range(3000):
        height, width = rng.integers(1, rng.choice([9, 300]), 2)
        h, w = rng.integers(1, 40, 2)
        crop = rng.random((h, w)) < rng.choice([0.0, 0.03, 0.5, 0.97, 1.0])
        x, y = int(rng.integers(-w, width + 1)), int(rng.integers(-h, height + 1))
        frame = np.zeros((height + 2 * h, width + 2 * w), bool)
        frame[y + h : y + 2 * h, x + w : x + 2 * w] = crop
        wanted = rle.encode(frame[h : h + height, w : w + width])
        assert rle.encode_in_frame(crop, (x, y), (int(height), int(width))) == wanted


def test_uncompressed_runs_go_down_the_columns():
    mask = rle.decode(rle.from_uncompressed([2, 3, 1], (3, 2)))
    assert mask.astype(int).tolist() == [[0, 1], [0, 1], [1, 0]]


def test_polygons_are_united():
    two = rle.from_polygons([[0, 0, 4, 0, 4, 4, 0, 4], [2, 2, 8, 2, 8, 6, 2, 6]], (10, 10))
    assert rle.area_px(two) == 16 + 24 - 4


def test_union_and_intersection_count_pixels():
    a, b = noise(2), noise(3)
    assert rle.area_px(rle.union(rle.encode(a), rle.encode(b))) == (a | b).sum()
    assert rle.intersection_px(rle.encode(a), rle.encode(b)) == (a & b).sum()


def test_many_at_once_are_the_same_as_one_by_one():
    rng = np.random.default_rng(5)
    masks = [rng.random((40, 50)) < rng.choice([0.0, 0.01, 0.5]) for _ in range(300)]  # pycocotools itself stops at 255
    coded = [rle.encode(mask) for mask in masks]
    np.testing.assert_array_equal(rle.areas_px(coded), [mask.sum() for mask in masks])
    np.testing.assert_array_equal(rle.boxes_xywh(coded), [rle.box_xywh(one) for one in coded])
    common = rle.intersections_px(coded[:20], coded)
    np.testing.assert_array_equal(common, [[(a & b).sum() for b in masks] for a in masks[:20]])
    united = rle.decode(rle.union(*coded[:20]))
    np.testing.assert_array_equal(united, np.any(masks[:20], axis=0))


def test_none_at_all_are_fine():
    assert rle.areas_px([]).shape == (0,) and rle.boxes_xywh([]).shape == (0, 4)
    assert rle.intersections_px([], [rle.encode(noise(6))]).shape == (0, 1)


def test_intersections_of_large_masks_are_exact():
    whole = rle.from_uncompressed([0, 2**28], (2**14, 2**14))
    all_but_one = rle.from_uncompressed([1, 2**28 - 1], (2**14, 2**14))
    assert rle.intersections_px([whole], [all_but_one, whole]).tolist() == [[2**28 - 1, 2**28]]
    assert rle.intersections_px([all_but_one], [whole]).tolist() == [[2**28 - 1]]


def test_many_objects_of_polygons_stay_apart():
    square, moved = [0, 0, 4, 0, 4, 4, 0, 4], [2, 2, 8, 2, 8, 6, 2, 6]
    objects = rle.from_many_polygons([[square], [square, moved], [moved]], (10, 10))
    assert rle.areas_px(objects).tolist() == [16, 16 + 24 - 4, 24]
    assert objects[1] == rle.from_polygons([square, moved], (10, 10))


def test_json_form_is_json_and_reads_back():
    mask = noise(4)
    form = json.loads(json.dumps(rle.to_json(rle.encode(mask))))
    assert form["size"] == [7, 11] and isinstance(form["counts"], str)
    again = {"size": form["size"], "counts": form["counts"].encode()}
    np.testing.assert_array_equal(rle.decode(again), mask)
