"""Segment Anything: files named after their photos, SA-1B, predicted IoU as score."""

import json

import pytest
from drawn_data_sets import SIZE_HW, described, drawn, in_pixels, write_photos

from amodalpl.convert import sam
from amodalpl.convert.format_table import reader
from amodalpl.data.records import AnnotationSet, ImageRecord
from amodalpl.errors import DataError
from amodalpl.masks import rle


def proposal(*rectangle, **more):
    return {
        "segmentation": rle.to_json(in_pixels(drawn(rectangle)).rle),
        "area": 4,
        "bbox": [0, 0, 2, 2],
        "predicted_iou": 0.95,
        "point_coords": [[3.5, 4.5]],
        "stability_score": 0.97,
        "crop_box": [0, 0, 60, 40],
        **more,
    }


@pytest.fixture
def photos(tmp_path):
    data = AnnotationSet([ImageRecord(1, "a.jpg", SIZE_HW), ImageRecord(2, "sub/b.png", SIZE_HW)], [], [])
    return write_photos(tmp_path / "photos", data)


@pytest.fixture
def masks(tmp_path):
    (tmp_path / "masks" / "sub").mkdir(parents=True)
    return tmp_path / "masks"


def test_a_folder_of_lists(masks, photos):
    (masks / "a.json").write_text(json.dumps([proposal(2, 2, 9, 9), proposal(3, 3, 4, 4, predicted_iou=1.02)]))
    (masks / "sub" / "b.json").write_text(json.dumps([proposal(5, 5, 6, 6)]))
    assert reader("auto", masks).name == "sam"
    data = sam.read(masks, photos)
    extra = {"point_coords": [[3.5, 4.5]], "stability_score": 0.97, "crop_box": [0, 0, 60, 40]}
    assert described(data, "score", "extra") == [
        ("a.jpg", "object", in_pixels(drawn((2, 2, 9, 9))), 0.95, extra),
        ("a.jpg", "object", in_pixels(drawn((3, 3, 4, 4))), 1.0, extra),
        ("sub/b.png", "object", in_pixels(drawn((5, 5, 6, 6))), 0.95, extra),
    ]


def test_sa_1b(masks, photos):
    image = {"image_id": 7, "width": 60, "height": 40, "file_name": "a.jpg"}
    (masks / "sa_7.json").write_text(json.dumps({"image": image, "annotations": [proposal(2, 2, 9, 9, id=123)]}))
    assert reader("auto", masks / "sa_7.json").name == "sam"
    assert described(sam.read(masks / "sa_7.json", photos)) == [("a.jpg", "object", in_pixels(drawn((2, 2, 9, 9))))]


def test_what_is_left_out(masks, photos):
    (masks / "a.json").write_text(
        json.dumps([proposal(2, 2, 9, 9), proposal(2, 2, 9, 9), proposal(1, 1, 2, 2, predicted_iou="x"), 3])
    )
    (masks / "c.json").write_text(json.dumps([proposal(2, 2, 9, 9)]))
    (masks / "d.json").write_text("[{")
    (masks / "e.json").write_text("{}")
    data = sam.read(masks, photos)
    assert len(data.instances) == 1
    assert {place: reason.partition(":")[0] for place, reason in data.left_out} == {
        "a.json: [1]": "second detection of one object",
        "a.json: [2]": "score out of range",
        "a.json: [3]": "score out of range",
        "c.json": "missing photo",
        "d.json": "not JSON",
        "e.json": "not masks of SAM",
    }


def test_missing_sources(masks, photos):
    with pytest.raises(DataError, match="expected a JSON file of masks per photo, found none"):
        sam.read(masks, photos)
    (masks / "a.json").write_text(json.dumps([proposal(2, 2, 9, 9)]))
    with pytest.raises(DataError, match="give the folder of photos with --images"):
        sam.read(masks, None)
