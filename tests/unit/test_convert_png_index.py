"""One PNG per photo whose pixels are numbers: of objects, or of classes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from drawn_data_sets import SIZE_HW, box, data_set, described, drawn, in_pixels, write_photos
from PIL import Image

from amodalpl.convert import png_index
from amodalpl.convert.shared.numbers_png import read_numbers, write_numbers
from amodalpl.data.records import AnnotationSet, ImageRecord, Instance, Mask
from amodalpl.data.source import Source
from amodalpl.errors import DataError
from amodalpl.masks import rle

TWO_AND_ONE = np.kron(np.array([[1, 0, 1], [2, 0, 0]]), np.ones((20, 20), dtype=int))  # 40 x 60


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos", AnnotationSet([ImageRecord(1, "a.jpg", SIZE_HW)], [], []))


@pytest.fixture
def masks(tmp_path):
    (tmp_path / "masks").mkdir()
    return tmp_path / "masks"


def save(path, numbers, mode=np.uint8):
    Image.fromarray(numbers.astype(mode)).save(path)


def areas(data):
    names = {category["id"]: category["name"] for category in data.categories}
    return [(names[thing.category_id], rle.area_px(thing.modal_mask.rle)) for thing in data.instances]


def test_round_trip(tmp_path):
    data = data_set()
    data.instances[0] = replace(data.instances[0], modal_mask=Mask((box(0.25, 3, 9, 8),)))  # apart from the next
    losses = png_index.write(data, tmp_path / "out")
    assert losses == {
        "crowd regions": 1,
        "groups": 1,
        "other keys of objects": 2,
        "objects drawn as polygons, now pixels": 4,
    }
    assert png_index.detect(Source(tmp_path / "out"))
    back = png_index.read(tmp_path / "out", write_photos(tmp_path / "photos", data))
    data.instances = [thing for thing in data.instances if not thing.is_crowd]
    expected = described(data, pixels_only=True)
    assert sorted(described(back), key=str) == sorted(expected, key=str)
    assert {photo.file_name for photo in back.images} == {photo.file_name for photo in data.images}
    assert not back.left_out


def test_numbers_are_objects_without_a_list_of_classes(masks, photos):
    save(masks / "a.png", TWO_AND_ONE)
    assert areas(png_index.read(masks, photos)) == [("object", 800), ("object", 400)]


@pytest.mark.parametrize("kind", ["json", "txt"])
def test_connected_pieces_of_a_class_are_objects(kind, masks, photos):
    save(masks / "a.png", TWO_AND_ONE)
    if kind == "json":
        names = {"values": "classes", "names": {"1": "car", "2": "dog"}}
        (masks / "classes.json").write_text(json.dumps(names))
    else:
        (masks / "classes.txt").write_text("car\ndog\n")
    assert areas(png_index.read(masks, photos)) == [("car", 400), ("car", 400), ("dog", 400)]


def test_value_without_a_class_is_left_out(masks, photos):
    save(masks / "a.png", TWO_AND_ONE)
    (masks / "classes.txt").write_text("car")
    data = png_index.read(masks / "a.png", photos)
    assert data.left_out == [("a.png: value 2", "value without a class: 2 is not in the list of classes")]


@pytest.mark.parametrize("kind", ["grey", "palette", "16 bit", "4 bit", "1 bit"])
def test_kinds_of_png(kind, masks, photos):
    numbers = np.minimum(TWO_AND_ONE, 1) if kind == "1 bit" else TWO_AND_ONE * (300 if kind == "16 bit" else 1)
    image = Image.fromarray(numbers.astype(np.uint16 if kind == "16 bit" else np.uint8))
    if kind == "1 bit":
        image = image.point(lambda v: 255 * v).convert("1")
    if kind in ("palette", "4 bit"):
        image = image.convert("L")
        image.putpalette([0, 0, 0, 200, 10, 10, 0, 0, 255])
    image.save(masks / "a.png", **({"bits": 4} if kind == "4 bit" else {}))
    assert (read_numbers(masks, "a.png") == numbers).all()


@pytest.mark.parametrize("most", [255, 256])
def test_numbers_come_back(most, tmp_path):
    numbers = np.zeros((3, 200), dtype=np.uint16)
    numbers[1] = np.linspace(0, most, 200)
    write_numbers(tmp_path / "a.png", numbers)
    assert (read_numbers(tmp_path, "a.png") == numbers).all()


def test_shared_pixels_go_to_the_smaller(tmp_path):
    things = [
        Instance(1, 1, 1, in_pixels(drawn((0, 0, 4, 4)))),
        Instance(2, 1, 1, in_pixels(drawn((0, 0, 30, 30)))),
        Instance(3, 1, 1, in_pixels(drawn((0, 0, 4, 4)))),  # of equal ones, the last
    ]
    data = AnnotationSet([ImageRecord(1, "a.jpg", SIZE_HW)], things, [{"id": 1, "name": "cup"}])
    losses = png_index.write(data, tmp_path / "out")
    assert losses == {"pixels of several objects, now of the smallest": 32, "objects wholly under smaller ones": 1}
    assert np.bincount(read_numbers(tmp_path / "out", "a.png").ravel()).tolist() == [1500, 0, 884, 16]


def test_photos_of_one_name_keep_their_masks(tmp_path):
    photos = [ImageRecord(1, "a.jpg", SIZE_HW), ImageRecord(2, "a.png", SIZE_HW)]
    things = [Instance(i, i, 1, in_pixels(drawn((0, 0, i, 1)))) for i in (1, 2)]
    data = AnnotationSet(photos, things, [{"id": 1, "name": "cup"}])
    png_index.write(data, tmp_path / "out")
    back = png_index.read(tmp_path / "out", write_photos(tmp_path / "photos", data))
    assert described(back) == described(data)
    save(tmp_path / "out" / "a.png", TWO_AND_ONE)
    back = png_index.read(tmp_path / "out", tmp_path / "photos")
    assert back.left_out == [("a.png", "several photos of one name: a.jpg, a.png")]


BAD = {
    "colours": ("a.png", lambda path: Image.new("RGB", (60, 40)).save(path), "PNG of colours: expected grey"),
    "another size": (
        "a.png",
        lambda path: save(path, TWO_AND_ONE[:9]),
        "size differs from the photo: expected 60 x 40",
    ),
    "no photo": ("b.png", lambda path: save(path, TWO_AND_ONE), "missing photo: expected one named 'b'"),
    "cut": ("a.png", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0"), "unreadable PNG: .*cut short"),
    "a JPEG": (
        "a.png",
        lambda path: Image.new("L", (60, 40)).save(path, format="JPEG"),
        "unreadable PNG: cannot identify",
    ),
    "a photo": (
        "a.png",
        lambda path: save(path, np.arange(2400 * 2).reshape(80, 60), np.uint16),
        "not numbers of objects: expected at most 4000 values, got 4799",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_left_out(kind, masks, photos):
    name, make, reason = BAD[kind]
    make(masks / name)
    with pytest.raises(DataError, match=rf"could read none of 1 entries \({name}: {reason}"):
        png_index.read(masks, photos)


def test_missing_sources(masks, photos):
    with pytest.raises(DataError, match="masks: expected a folder with one PNG per photo, found none"):
        png_index.read(masks, photos)
    save(masks / "a.png", TWO_AND_ONE)
    with pytest.raises(DataError, match="names its photos by its files only; give the folder of photos with --images"):
        png_index.read(masks, None)
    with pytest.raises(DataError, match="nowhere: expected the folder of photos, found no such folder"):
        png_index.read(masks, photos / "nowhere")


@pytest.mark.parametrize(
    "text", ["[]", '{"values": "classes"}', '{"values": "instances", "photos": {"a.png": ["car"]}}']
)
def test_bad_list_of_classes(text, masks, photos):
    save(masks / "a.png", TWO_AND_ONE)
    (masks / "classes.json").write_text(text)
    with pytest.raises(DataError, match=r'classes.json: expected \{"values": "classes"'):
        png_index.read(masks, photos)


def test_masks_among_the_photos_are_no_photos(photos):
    save(photos / "a.png", TWO_AND_ONE)
    assert png_index.read(photos / "a.png", photos).images[0].file_name == "a.jpg"
