"""VIA 2: a project as VIA saves it, exported annotations, and back."""

import json
import math

import pytest
from drawn_data_sets import SIZE_HW, box, data_set, described, write_photos

from amodalpl.convert import via
from amodalpl.data.source import Source
from amodalpl.errors import DataError
from amodalpl.masks import rle

POLYGON = {"name": "polygon", "all_points_x": [1, 5, 5, 1], "all_points_y": [2, 2, 6, 6]}


def region(shape=POLYGON, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes or {"class": "cup"}}


def write(folder, *regions, **top):
    photos = write_photos(folder / "photos", data_set())
    entry = {"filename": "a.png", "size": 77, "regions": list(regions), "file_attributes": {"caption": "", "url": "x"}}
    project = {
        "_via_settings": {"ui": {}, "core": {}, "project": {"name": "cups"}},
        "_via_img_metadata": {"a.png77": entry, **top},
        "_via_attributes": {"region": {"class": {"type": "dropdown"}}, "file": {}},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": ["a.png77"],
    }
    file = folder / "via.json"
    file.write_text(json.dumps(project))
    return file, photos


def test_every_kind_of_shape(tmp_path):
    file, photos = write(
        tmp_path,
        region(**{"class": "cup", "colour": "red"}),
        region({"name": "rect", "x": 4, "y": 12, "width": 6, "height": 8}),
        region({"name": "circle", "cx": 30, "cy": 20, "r": 10}),
        region({"name": "ellipse", "cx": 30, "cy": 20, "rx": 12, "ry": 6, "theta": math.pi / 2}),
        region({"name": "polyline", "all_points_x": [1, 2], "all_points_y": [1, 2]}),
        region({"name": "point", "cx": 3, "cy": 4}),
    )
    data = via.read(file, photos)
    assert data.instances[0].modal_mask.polygons == ((1.0, 2.0, 5.0, 2.0, 5.0, 6.0, 1.0, 6.0),)
    assert data.instances[0].extra == {"attributes": {"colour": "red"}}
    assert data.instances[1].modal_mask.polygons == (box(4, 12, 6, 8),)
    areas = [rle.area_px(thing.modal_mask.pixels(SIZE_HW)) for thing in data.instances[2:]]
    assert areas == [pytest.approx(math.pi * 100, rel=0.04), pytest.approx(math.pi * 72, rel=0.05)]
    x, y, w, h = rle.box_xywh(data.instances[3].modal_mask.pixels(SIZE_HW))
    assert (x, y, x + w, y + h) == pytest.approx((24, 8, 36, 32), abs=1)  # turned by a quarter: upright
    assert [reason for _, reason in data.left_out] == ["not an area: polyline", "not an area: point"]


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({"Label": "dog", "colour": "red"}, "dog"),
        ({"species": "dog"}, "dog"),
        ({"type": {"dog": True, "cat": False}}, "dog"),
        ({"category": 7}, "7"),
    ],
)
def test_the_class_is_found_among_attributes(attributes, name, tmp_path):
    data = via.read(*write(tmp_path, region(**attributes)))
    assert [category["name"] for category in data.categories] == [name]


def test_regions_without_any_attribute_are_objects(tmp_path):
    file, photos = write(tmp_path, {**region(), "region_attributes": {}})
    assert [category["name"] for category in via.read(file, photos).categories] == ["object"]


def test_an_unknown_attribute_for_the_class_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"region_attributes: expected one named class.*got \['species', 'colour'\]"):
        via.read(*write(tmp_path, region(species="dog", colour="red")))


def test_regions_numbered_by_keys_as_in_via_1(tmp_path):
    photos = write_photos(tmp_path / "photos", data_set())
    (tmp_path / "v1.json").write_text(json.dumps({"a.png7": {"filename": "a.png", "regions": {"0": region()}}}))
    assert via.detect(Source(tmp_path / "v1.json"))
    assert len(via.read(tmp_path / "v1.json", photos).instances) == 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (region({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}), "polygon with fewer"),
        (region({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]}), "malformed outline"),
        (region({"name": "rect", "x": 4, "y": 12, "width": None, "height": 8}), "malformed outline"),
        (region({"name": "cube"}), "unknown kind of shape"),
        ({"region_attributes": {}}, "not a region"),
        (region(colour="red"), "object without a class"),
        (region(**{"class": {"dog": True, "cat": True}}), "object of several classes"),
    ],
)
def test_bad_regions_are_left_out_with_a_reason(bad, reason, tmp_path):
    data = via.read(*write(tmp_path, region(), bad))
    assert len(data.instances) == 1 and data.left_out[0][0] == "'a.png77': regions[1]"
    assert data.left_out[0][1].startswith(reason)


def test_photos_that_are_missing_or_elsewhere_are_left_out(tmp_path):
    others = {"b": {"filename": "b.png", "regions": []}, "c": {"filename": "../c.png", "regions": []}, "d": 3}
    data = via.read(*write(tmp_path, region(), **others))
    assert [reason.partition(":")[0] for _, reason in data.left_out] == [
        "missing photo",
        "photo outside the folder",
        "not a photo",
    ]


def test_bad_files(tmp_path):
    file, _ = write(tmp_path, region())
    with pytest.raises(DataError, match="VIA states no sizes; give --images"):
        via.read(file, None)
    file.write_text('{"a": {"filename"')
    with pytest.raises(DataError, match="expected a VIA project .* in JSON, got something else"):
        via.read(file, tmp_path)
    file.write_text('{"images": []}')
    with pytest.raises(DataError, match="expected a VIA 2 project"):
        via.read(file, tmp_path)


def test_round_trip(tmp_path):
    data = data_set()
    losses = via.write(data, tmp_path / "out.json")
    back = via.read(tmp_path / "out.json", write_photos(tmp_path / "photos", data))
    del data.instances[3]
    assert described(back, "extra", pixels_only=True) == described(data, "extra", pixels_only=True)
    assert back.images == data.images and back.categories == data.categories
    assert losses == {
        "crowd regions": 1,
        "groups": 1,
        "masks in pixels, as polygons along pixels": 1,
        "objects of several polygons, joined by slits": 1,
    }
    assert described(back)[0] == described(data)[0]  # as drawn
