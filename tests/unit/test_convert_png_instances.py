"""One PNG per object, in folders of their photos or named after them."""

import numpy as np
import pytest
from drawn_data_sets import SIZE_HW, data_set, described, drawn, in_pixels, write_photos
from PIL import Image

from amodalpl.convert import png_instances
from amodalpl.data.records import AnnotationSet, ImageRecord
from amodalpl.errors import DataError
from amodalpl.masks import rle


@pytest.fixture
def photos(tmp_path):
    names = ("a.jpg", "a_1.jpg")
    return write_photos(
        tmp_path / "photos", AnnotationSet([ImageRecord(i, n, SIZE_HW) for i, n in enumerate(names)], [], [])
    )


@pytest.fixture
def masks(tmp_path):
    (tmp_path / "masks").mkdir()
    return tmp_path / "masks"


def save(path, mask, value=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * np.uint8(value)).save(path)


def test_round_trip(tmp_path):
    data = data_set()
    data.categories = [{"id": 1, "name": "../cup: 50% <b>"}, {"id": 2, "name": "Ω\ndog_2"}]
    losses = png_instances.write(data, tmp_path / "out")
    assert losses == {
        "crowd regions": 1,
        "groups": 1,
        "other keys of objects": 2,
        "photos without objects": 1,
        "objects drawn as polygons, now pixels": 4,
    }
    assert (tmp_path / "out" / "a" / "1_..%2Fcup%3A 50%25 %3Cb%3E.png").is_file()
    back = png_instances.read(tmp_path / "out", write_photos(tmp_path / "photos", data))
    data.instances = [thing for thing in data.instances if not thing.is_crowd]
    assert described(back) == described(data, pixels_only=True)
    assert not back.left_out


@pytest.mark.parametrize(
    ("file", "photo", "label"),
    [
        ("a/1.png", "a.jpg", "object"),
        ("a/masks/0f3c.png", "a.jpg", "object"),
        ("train/a/7_traffic_light.png", "a.jpg", "traffic_light"),
        ("a_3.png", "a.jpg", "object"),
        ("a_3_car.png", "a.jpg", "car"),
        ("a_1_2.png", "a_1.jpg", "object"),
        ("a_1.png", "a.jpg", "object"),
    ],
)
def test_names(file, photo, label, masks, photos):
    save(masks / file, drawn((2, 2, 5, 5)), value=1)
    assert described(png_instances.read(masks, photos)) == [(photo, label, in_pixels(drawn((2, 2, 5, 5))))]


def test_objects_come_in_the_order_of_their_numbers(masks, photos):
    for number in (10, 9, 1):
        save(masks / f"a_{number}.png", drawn((0, 0, number, 1)))
    data = png_instances.read(masks, photos)
    assert [rle.area_px(thing.modal_mask.rle) for thing in data.instances] == [1, 9, 10]


def test_bad_masks_are_left_out(masks, photos):
    save(masks / "a_1.png", drawn((2, 2, 5, 5)))
    save(masks / "a_2.png", drawn())
    Image.fromarray(np.arange(2400, dtype=np.uint8).reshape(SIZE_HW)).save(masks / "a_3.png")
    Image.new("RGB", (60, 40)).save(masks / "a_4.png")
    save(masks / "a_5.png", drawn((0, 0, 2, 2), size_hw=(8, 9)))
    save(masks / "b_1.png", drawn((2, 2, 5, 5)))
    data = png_instances.read(masks, photos)
    assert len(data.instances) == 1
    assert {place: reason.partition(":")[0] for place, reason in data.left_out} == {
        "a_2.png": "empty mask",
        "a_3.png": "not a mask of one object",
        "a_4.png": "PNG of colours",
        "a_5.png": "size differs from the photo",
        "b_1.png": "missing photo",
    }


def test_a_link_out_of_the_folder_is_left_out(masks, photos, tmp_path):
    save(tmp_path / "elsewhere.png", drawn((2, 2, 5, 5)))
    save(masks / "a_1.png", drawn((2, 2, 5, 5)))
    (masks / "a_2.png").symlink_to(tmp_path / "elsewhere.png")
    assert [place for place, _ in png_instances.read(masks, photos).left_out] == ["a_2.png"]


def test_missing_sources(masks, photos):
    with pytest.raises(DataError, match="found no PNG; check the path"):
        png_instances.read(masks, photos)
    with pytest.raises(DataError, match="got a file; name the folder"):
        png_instances.read(photos / "a.jpg", photos)
