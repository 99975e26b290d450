"""Cityscapes: what lies on top hides what is below, groups are crowds, roads are stuff."""

import json

import numpy as np
import pytest
from drawn_data_sets import SIZE_HW, box, drawn, in_pixels, write_photos
from PIL import Image

from amodalpl.convert import cityscapes
from amodalpl.convert.format_table import reader
from amodalpl.data.records import AnnotationSet, ImageRecord, Mask
from amodalpl.data.source import Source
from amodalpl.errors import DataError

FRAME = "aachen/aachen_000000_000019"
PHOTO = f"{FRAME}_leftImg8bit.png"
LIST = f"{FRAME}_gtFine_polygons.json"


def corners(x, y, w, h):
    return [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]


def thing(label, *rectangle, **more):
    return {"label": label, "polygon": corners(*rectangle), **more}


STREET = [
    thing("out of roi", 0, 0, 60, 2),
    thing("road", 0, 20, 60, 20),
    thing("car", 10, 10, 20, 20),
    thing("person", 25, 12, 4, 6, date="01-Jan-2016"),
    thing("license plate", 12, 20, 4, 2),
    thing("cargroup", 40, 10, 10, 8),
    thing("polegroup", 55, 5, 2, 8),
    thing("robot", 52, 30, 6, 6),
    thing("sky", 26, 13, 1, 1, deleted=1),
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "gtFine" / "aachen").mkdir(parents=True)
    return tmp_path / "gtFine"


def write(folder, objects=STREET, name=LIST, **top):
    (folder / name).write_text(json.dumps({"imgHeight": 40, "imgWidth": 60, "objects": objects, **top}))
    return folder


@pytest.mark.parametrize("photos", [True, False])
def test_layers_of_polygons(photos, folder, tmp_path):
    write(folder)
    assert reader("auto", folder).name == "cityscapes"
    images = (
        write_photos(tmp_path / "photos", AnnotationSet([ImageRecord(1, PHOTO, SIZE_HW)], [], [])) if photos else None
    )
    data = cityscapes.read(folder, images)
    assert [(photo.file_name, photo.size_hw) for photo in data.images] == [(PHOTO, SIZE_HW)]
    names = {category["id"]: category["name"] for category in data.categories}
    assert names == {7: "road", 18: "polegroup", 24: "person", 26: "car", 34: "robot"}
    road, car, person, group, poles, robot = data.instances
    assert road.modal_mask == in_pixels(drawn((0, 20, 60, 20), holes=[(10, 20, 20, 10), (52, 30, 6, 6)]))
    assert car.modal_mask == in_pixels(drawn((10, 10, 20, 20), holes=[(25, 12, 4, 6)]))  # the plate hides nothing
    assert person.modal_mask == Mask((box(25, 12, 4, 6),))
    assert [thing.is_stuff for thing in data.instances] == [True, False, False, False, True, False]
    assert [thing.is_crowd for thing in data.instances] == [False, False, False, True, False, False]
    assert (names[group.category_id], names[poles.category_id]) == ("car", "polegroup")
    assert data.front_of == [(car.id, road.id), (person.id, car.id), (robot.id, road.id)]
    assert [(place.partition(": ")[2], reason) for place, reason in data.left_out] == [
        ("objects[4]", "region without an object: license plate"),
        ("objects[8]", "deleted object"),
        ("objects[0]", "region without an object: out of roi"),
    ]


def test_polygons_of_other_tools_may_be_called_so(tmp_path):
    task = {"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": []}]}
    file = tmp_path / "data_polygons.json"
    file.write_text(json.dumps([task]))
    assert reader("auto", file).name == "label-studio" and not cityscapes.detect(Source(tmp_path))


def test_what_is_covered_is_left_out(folder):
    write(folder, [thing("car", 10, 10, 4, 4), thing("truck", 8, 8, 9, 9)])
    data = cityscapes.read(folder, None)
    assert data.left_out == [(f"{LIST}: objects[0]", "fully hidden: later polygons cover it")]
    assert data.front_of == []


def test_instance_ids(folder):
    numbers = np.zeros(SIZE_HW, dtype=np.uint16)
    for value, (x, y, w, h) in {
        7: (0, 20, 60, 20),
        26000: (10, 10, 9, 9),
        26001: (30, 10, 9, 9),
        24: (50, 5, 5, 5),
    }.items():
        numbers[y : y + h, x : x + w] = value
    numbers[0, 0] = 999
    Image.fromarray(numbers).save(folder / f"{FRAME}_gtFine_instanceIds.png")
    assert reader("auto", folder).name == "cityscapes"
    data = cityscapes.read(folder, None)
    assert [(thing.category_id, thing.is_crowd, thing.is_stuff) for thing in data.instances] == [
        (7, False, True), (24, True, False), (26, False, False), (26, False, False),
    ]  # fmt: skip
    assert data.instances[3].modal_mask == in_pixels(drawn((30, 10, 9, 9)))
    assert [reason for _, reason in data.left_out] == [
        "region without an object: unlabeled",
        "value without a class: expected class * 1000 + number, got 999",
    ]


def test_polygons_go_before_instance_ids(folder):
    Image.fromarray(np.full(SIZE_HW, 26000, dtype=np.uint16)).save(folder / f"{FRAME}_gtFine_instanceIds.png")
    assert len(cityscapes.read(write(folder), None).instances) == 6


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("car", "object without a class: got None"),
        ({"label": "car"}, "malformed outline: expected pairs of x and y, got NoneType"),
        ({"label": "car", "polygon": [[1, 2], [3, 4]]}, "polygon with fewer than 3 points: got 2"),
        (thing("car", 1e300, 0, 4, 4), "malformed outline: expected coordinates within 131072 pixels, got 1e"),
        (thing("car", 70, 0, 4, 4), "mask outside the photo"),
    ],
    ids=["no object", "no polygon", "a line", "far away", "outside"],
)  # fmt: skip
def test_bad_objects_are_left_out(entry, reason, folder):
    data = cityscapes.read(write(folder, [entry, thing("car", 1, 1, 4, 4)]), None)
    assert len(data.instances) == 1
    assert data.left_out[0][0] == f"{LIST}: objects[0]" and data.left_out[0][1].startswith(reason)


@pytest.mark.parametrize(
    ("top", "reason"),
    [
        ({"imgHeight": "tall"}, "photo of unknown size: expected imgHeight and imgWidth, got 'tall' and 60"),
        ({"imgHeight": 10**9}, "impossible size"),
        ({"objects": None}, "not polygons of Cityscapes"),
    ],
    ids=["text", "huge", "no objects"],
)
def test_bad_files(top, reason, folder):
    with pytest.raises(DataError, match=rf"could read none of 1 entries \({LIST}: {reason}"):
        cityscapes.read(write(folder, **top), None)


def test_half_a_file_and_no_file(folder):
    with pytest.raises(DataError, match=r"expected files \*_polygons.json or \*_instanceIds.png, found none"):
        cityscapes.read(folder, None)
    (folder / LIST).write_text('{"imgHeight": 40, ')
    with pytest.raises(DataError, match="not JSON"):
        cityscapes.read(folder, None)


def test_a_photo_of_another_size_or_none(folder, tmp_path):
    write(folder)
    photos = write_photos(tmp_path / "photos", AnnotationSet([ImageRecord(1, PHOTO, (8, 9))], [], []))
    with pytest.raises(DataError, match="size differs from the photo: expected 9 x 8 as"):
        cityscapes.read(folder, photos)
    write(folder, name="aachen/b_gtFine_polygons.json")
    with pytest.raises(DataError, match="could read none of 2 entries"):
        cityscapes.read(folder, photos)
