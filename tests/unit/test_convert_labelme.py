"""labelme folders: files as labelme 5 writes them, and back."""

import base64
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from drawn_data_sets import SIZE_HW, box, data_set, described, drawn, write_photos
from PIL import Image

from amodalpl.convert import labelme
from amodalpl.data.source import Source
from amodalpl.errors import DataError
from amodalpl.masks import rle

SQUARE = [[1, 2], [5, 2], [5, 6], [1, 6]]


def png(mask, mode="1"):
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).convert(mode).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def shape(label="cup", points=SQUARE, shape_type="polygon", **more):
    entry = {"label": label, "points": points, "group_id": None, "description": "", "shape_type": shape_type}
    return {**entry, "flags": {}, "mask": None, **more}


def write(folder, *shapes, name="a.json", **top):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": "a.png", "imageData": None}
    content |= {"imageHeight": SIZE_HW[0], "imageWidth": SIZE_HW[1], **top}
    file.write_text(json.dumps(content), encoding="utf-8")
    return folder


def areas(data):
    sizes = {photo.id: photo.size_hw for photo in data.images}
    return [rle.area_px(thing.modal_mask.pixels(sizes[thing.image_id])) for thing in data.instances]


def test_every_kind_of_shape(tmp_path):
    folder = write(
        tmp_path,
        shape(flags={"occluded": True}, description="the red one"),
        shape(points=[[10, 20], [4, 12]], shape_type="rectangle"),
        shape(points=[[30, 20], [36, 28]], shape_type="circle"),
        shape(points=[[50, 30], [52, 31]], shape_type="mask", mask=png(np.array([[1, 0, 1], [1, 1, 1]]))),
        shape(points=SQUARE, shape_type="linestrip"),
        shape(points=[[1, 1]], shape_type="point"),
    )
    data = labelme.read(folder, None)
    assert data.images[0].size_hw == SIZE_HW and [category["name"] for category in data.categories] == ["cup"]
    assert data.instances[0].modal_mask.polygons == ((1.0, 2.0, 5.0, 2.0, 5.0, 6.0, 1.0, 6.0),)
    assert data.instances[0].extra == {"description": "the red one", "attributes": {"occluded": True}}
    assert data.instances[1].modal_mask.polygons == (box(4, 12, 6, 8),)
    assert areas(data)[:2] == [16, 48] and areas(data)[2] == pytest.approx(math.pi * 100, rel=0.02)
    assert rle.box_xywh(data.instances[3].modal_mask.rle) == (50, 30, 3, 2) and areas(data)[3] == 5
    assert data.left_out == [
        ("a.json: shapes[4]", "not an area: linestrip"),
        ("a.json: shapes[5]", "not an area: point"),
    ]


def test_group_id_joins_parts_of_one_label(tmp_path):
    part = {"points": [[10, 2], [12, 2], [12, 4], [10, 4]]}
    folder = write(tmp_path, shape(group_id=1), shape("dog", group_id=1), shape(group_id=1, **part), shape(group_id=2))
    data = labelme.read(folder, None)
    assert [(thing.category_id, thing.group, len(thing.modal_mask.polygons)) for thing in data.instances] == [
        (1, 1, 2),
        (2, 1, 1),
        (1, None, 1),
    ]
    assert areas(data) == [16 + 4, 16, 16]


def test_a_mask_and_a_polygon_join_in_pixels(tmp_path):
    mask = shape(group_id=1, points=[[10, 2], [11, 3]], shape_type="mask", mask=png(np.ones((2, 2))))
    data = labelme.read(write(tmp_path, shape(group_id=1), mask), None)
    assert areas(data) == [16 + 4] and data.instances[0].modal_mask.rle is not None


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (shape(points=[[1, 2], [3, 4]]), "polygon with fewer than 3 points"),
        (shape(points=[[1, 2], [3, float("nan")], [4, 4]]), "malformed outline"),
        (shape(points=None), "malformed outline"),
        (shape(points=SQUARE[:3], shape_type="circle"), "malformed outline: expected the 2 points of a circle"),
        (shape(shape_type="cube"), "unknown kind of shape: 'cube'"),
        (shape(shape_type="mask", points=SQUARE[:2], mask="!"), "malformed mask: expected a PNG"),
        (shape(shape_type="mask", points=SQUARE[:2], mask=None), "malformed mask: expected a PNG"),
        (shape(shape_type="mask", points=SQUARE[:2], mask=png(np.ones((41, 3)))), "mask larger than its photo"),
        (shape(shape_type="mask", points=[[70, 3], [71, 3]], mask=png(np.ones((1, 2)))), "empty mask"),
        (shape(label=None), "object without a class"),
        (shape(score="high"), "score out of range"),
        ("shape", "not a shape"),
    ],
)
def test_bad_shapes_are_left_out_with_a_reason(bad, reason, tmp_path):
    data = labelme.read(write(tmp_path, shape(), bad), None)
    assert len(data.instances) == 1
    [(place, why)] = data.left_out
    assert place.startswith("a.json: ") and why.startswith(reason)


def test_other_files_second_entries_and_hostile_names_are_left_out(tmp_path):
    write(tmp_path, shape())
    write(tmp_path, shape(), name="b.json")
    write(tmp_path, shape(), name="c.json", imagePath="../../etc/photo.png")
    (tmp_path / "d.json").write_text(json.dumps({"images": [], "annotations": []}))
    (tmp_path / "e.json").write_text('{"shapes": [')
    data = labelme.read(tmp_path, None)
    assert len(data.images) == len(data.instances) == 1
    assert [(place, reason.partition(":")[0]) for place, reason in data.left_out] == [
        ("b.json", "second entry of a photo"),
        ("c.json", "photo outside the folder"),
        ("d.json", "not a labelme file"),
        ("e.json", "not JSON"),
    ]


def test_photos_are_found_where_labelme_says_and_where_they_were_moved(tmp_path):
    photos = write_photos(tmp_path / "photos", data_set())
    folder = tmp_path / "labels"
    write(folder, shape(), imagePath="..\\photos\\a.png")
    write(folder, shape(), name="sub dir/b.json", imagePath="ä & <b>.png", imageHeight=30, imageWidth=50)
    write(folder, shape(), name="c.json", imagePath="C:\\somewhere\\empty.png", imageHeight=8, imageWidth=9)
    write(folder, shape(), name="d.json", imagePath="none.png")
    data = labelme.read(folder, photos)
    assert [photo.file_name for photo in data.images] == ["a.png", "empty.png", "sub dir/ä & <b>.png"]
    assert data.left_out == [("d.json", "missing photo: none.png")]


def test_the_photo_is_believed_not_the_copy_in_the_file(tmp_path):
    copy = png(np.ones((7, 9)))
    folder = write(tmp_path, shape(), imageData=copy, imageHeight=None, imageWidth=None)
    assert labelme.read(folder, None).images[0].size_hw == (7, 9)  # there is no photo
    write_photos(folder, data_set())
    assert labelme.read(folder, None).images[0].size_hw == SIZE_HW
    write(tmp_path, shape(), imageHeight=20, imageWidth=20)
    with pytest.raises(DataError, match="size differs from the photo: expected 60 x 40"):
        labelme.read(folder, None)


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="expected labelme files .* found no JSON file"):
        labelme.read(tmp_path, None)


def test_round_trip(tmp_path):
    data = data_set()
    losses = labelme.write(data, tmp_path / "out")
    photos = write_photos(tmp_path / "photos", data)
    back = labelme.read(tmp_path / "out", photos)
    fields = ("group", "is_crowd", "score", "extra")
    for thing in back.instances:
        if thing.extra.get("description") == "":
            del thing.extra["description"]
    assert not losses and not back.left_out
    assert sorted(described(back, *fields), key=repr) == sorted(described(data, *fields), key=repr)
    assert {photo.file_name: photo.size_hw for photo in back.images} == {
        photo.file_name: photo.size_hw for photo in data.images
    }


def test_what_is_written_can_stand_beside_the_photos(tmp_path):
    data = data_set()
    labelme.write(data, tmp_path)
    write_photos(tmp_path, data)
    assert Source(tmp_path).some(".json") and labelme.detect(Source(tmp_path))
    assert len(labelme.read(tmp_path, None).instances) == len(data.instances)
    written = json.loads((tmp_path / "sub dir" / "ä & <b>.json").read_text(encoding="utf-8"))
    assert written["imagePath"] == "ä & <b>.png" and written["imageHeight"] == 30


def test_what_does_not_fit_is_counted(tmp_path):
    data = data_set()
    data.front_of.append((1, 2))
    data.categories[0]["supercategory"] = "kitchen"
    data.instances[5] = replace(data.instances[5], category_id=1)  # a group within one class
    losses = labelme.write(data, tmp_path)
    assert losses == {
        "order in depth, pairs": 1,
        "other keys of classes": 1,
        "groups of objects of one class": 1,
    }


def test_two_photos_of_one_stem_are_refused(tmp_path):
    data = data_set()
    data.images[2] = replace(data.images[2], file_name="a.jpg")
    with pytest.raises(DataError, match=r"a.jpg and a.png would both be described by a.json"):
        labelme.write(data, tmp_path)


def test_masks_keep_holes(tmp_path):
    data = data_set()
    labelme.write(data, tmp_path)
    back = labelme.read(tmp_path, None)
    [mask] = [thing.modal_mask.rle for thing in back.instances if thing.modal_mask.rle]
    assert (rle.decode(mask) == drawn((30, 10, 9, 9), (41, 20, 3, 2), holes=[(33, 12, 2, 3)])).all()
