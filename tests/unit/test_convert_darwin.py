"""Darwin JSON: what the corpus in `tests/files` does not hold."""

import json
import math

import numpy as np
import pytest

from amodalpl.convert import darwin
from amodalpl.errors import DataError
from amodalpl.masks import rle


def square(left, top, right, bottom):
    return [{"x": x, "y": y} for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))]


def read(folder, *annotations, **slot):
    slots = [{"type": "image", "slot_name": "0", "width": 60, "height": 40, **slot}]
    content = {"version": "2.0", "item": {"name": "a.png", "path": "/", "slots": slots}, "annotations": annotations}
    (folder / "a.json").write_text(json.dumps(content))
    return darwin.read(folder / "a.json", None)


def pixels(data):
    return [rle.decode(i.modal) for i in data.instances]


def test_a_hole_in_a_hole_is_filled(tmp_path):
    paths = [square(5, 5, 35, 35), square(10, 10, 30, 30), square(15, 15, 25, 25)]
    (found,) = pixels(read(tmp_path, {"name": "cup", "polygon": {"paths": paths}}))
    expected = np.zeros((40, 60), bool)
    for k, value in enumerate((True, False, True)):
        expected[5 + 5 * k : 35 - 5 * k, 5 + 5 * k : 35 - 5 * k] = value
    np.testing.assert_array_equal(found, expected)


def test_pieces_apart_stay_polygons(tmp_path):
    data = read(tmp_path, {"name": "cup", "polygon": {"paths": [square(1, 1, 5, 5), square(9, 1, 15, 5)]}})
    assert len(data.instances[0].modal_mask.polygons) == 2


def test_an_ellipse_is_turned_by_its_angle_in_radians(tmp_path):
    shape = {"center": {"x": 30, "y": 20}, "radius": {"x": 10, "y": 4}}
    upright = read(tmp_path, {"name": "cup", "ellipse": {**shape, "angle": math.pi / 2}})
    assert rle.box_xywh(upright.instances[0].modal) == (26, 10, 8, 20)


def test_attributes_are_kept(tmp_path):
    entry = {"name": "cup", "polygon": {"paths": [square(1, 1, 5, 5)]}, "attributes": ["broken", 3]}
    assert read(tmp_path, entry).instances[0].extra == {"attributes": {"broken": True}}


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        pytest.param([0, 2399], "raster of another size: expected 2400 pixels, got 2399", id="too few"),
        pytest.param([0, 10**30], "malformed raster: expected whole numbers from 0 to 268435456", id="huge"),
        pytest.param(
            [0, 1, 2], "malformed raster: expected pairs in dense_rle, and mask_annotation_ids_mapping", id="odd"
        ),
    ],
)
def test_a_raster_that_does_not_fit_is_listed(tmp_path, runs, reason):
    layer = {"dense_rle": runs, "mask_annotation_ids_mapping": {"m": 1}}
    data = read(
        tmp_path,
        {"id": "m", "name": "cup", "mask": {}},
        {"id": "r", "name": "r", "raster_layer": layer},
        {"name": "cup", "polygon": {"paths": [square(1, 1, 5, 5)]}},
    )
    assert [why for _, why in data.left_out] == [reason, "empty mask: no pixel of raster_layer is of it"]
    assert len(data.instances) == 1


def test_a_photo_without_a_size_needs_the_photos(tmp_path):
    with pytest.raises(DataError, match="photo of unknown size: the file states none; give the folder of photos"):
        read(tmp_path, width=None)
