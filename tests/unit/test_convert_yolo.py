"""YOLO segmentation: the layouts of Ultralytics and Roboflow, and back."""

from dataclasses import replace

import pytest
import yaml
from drawn_data_sets import box, data_set, described, write_photos

from amodalpl.convert import yolo
from amodalpl.data.records import Mask
from amodalpl.data.source import Source
from amodalpl.errors import DataError

SQUARE = "0 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6"


def write(folder, text=SQUARE, labels="labels/a.txt", card="names: [cup, dog]\n"):
    file = folder / labels
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    if card is not None:
        (folder / "data.yaml").write_text(card)
    write_photos(folder / "images", data_set())
    return folder


def test_a_line_is_a_class_and_a_polygon(tmp_path):
    data = yolo.read(write(tmp_path, f"{SQUARE}\n\n1 0 0 0.5 0 0.5 0.5 0.75\n"), None)
    assert [photo.file_name for photo in data.images] == ["a.png"]
    assert [category["name"] for category in data.categories] == ["cup", "dog"]
    assert data.instances[0].modal_mask.polygons == (box(6, 8, 24, 16),) and data.instances[0].score is None
    assert data.instances[1].modal_mask.polygons == ((0.0, 0.0, 30.0, 0.0, 30.0, 20.0),)
    assert (data.instances[1].category_id, data.instances[1].score) == (2, 0.75)  # a prediction ends in its confidence


@pytest.mark.parametrize(
    ("labels", "photo", "name"),
    [
        ("labels/train/a.txt", "images/train/a.JPG", "train/a.JPG"),
        ("train/labels/a.txt", "train/images/a.png", "train/images/a.png"),
        ("labels/a.b.txt", "images/a.b.png", "a.b.png"),
    ],
)
def test_layouts(labels, photo, name, tmp_path):
    (tmp_path / labels).parent.mkdir(parents=True)
    (tmp_path / labels).write_text(SQUARE)
    (tmp_path / "data.yaml").write_text("names: {0: cup}")
    source = write_photos(tmp_path / "drawn", data_set()) / "a.png"
    (tmp_path / photo).parent.mkdir(parents=True)
    if photo.endswith("JPG"):
        from PIL import Image

        Image.open(source).save(tmp_path / photo)
    else:
        source.rename(tmp_path / photo)
    assert yolo.detect(Source(tmp_path)) and yolo.detect(Source(tmp_path / "data.yaml"))
    assert [photo.file_name for photo in yolo.read(tmp_path, None).images] == [name]


def test_classes_from_a_list(tmp_path):
    write(tmp_path, card=None)
    data = yolo.read(tmp_path, None)
    assert [category["name"] for category in data.categories] == ["0"]
    assert data.mended[0].reason.startswith("classes without names: found no data.yaml nor classes.txt")
    (tmp_path / "classes.txt").write_text("cup\nΩ dog\n")
    assert [category["name"] for category in yolo.read(tmp_path, None).categories] == ["cup", "Ω dog"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0.2 0.2", "box without a mask"),
        ("0 0.5 0.5", "polygon with fewer than 3 points"),
        ("7 0 0 1 0 1 1", "unknown class: expected a number of the names, got 7"),
        ("cup 0 0 1 0 1 1", "malformed line: expected a class number"),
        ("0 0 0 1 0 1 x", "malformed outline"),
        ("0 0 0 1 0 1 nan", "malformed outline"),
        ("0 0 0 1 0 1 1 5", "malformed line: expected pairs"),
        ("0 10 10 40 10 40 40", "coordinates that are no fractions"),
    ],
)
def test_bad_lines_are_left_out_with_a_reason(line, reason, tmp_path):
    data = yolo.read(write(tmp_path, f"{SQUARE}\n{line}\n"), None)
    assert len(data.instances) == 1
    [(place, why)] = data.left_out
    assert place == "labels/a.txt:2" and why.startswith(reason)


def test_label_files_without_a_photo_or_text_are_left_out(tmp_path):
    write(tmp_path, labels="labels/b.txt")
    (tmp_path / "labels" / "empty.txt").write_bytes(b"\xff\xfe\x00")
    write(tmp_path)
    data = yolo.read(tmp_path, None)
    assert sorted(data.left_out) == [
        ("labels/b.txt", "missing photo: found none for labels/b.txt; its folder is --images"),
        ("labels/empty.txt", "not a label file: expected text in UTF-8"),
    ]


@pytest.mark.parametrize(
    ("card", "problem"),
    [
        ("names: [", "expected YAML, got something else"),
        ("nc: 3", "names: expected a list, or a mapping from class numbers"),
        ("names: {a: b}", "names: expected a list, or a mapping"),
        ("!!python/object/apply:os.system [ls]", "expected YAML, got something else"),
    ],
)
def test_bad_cards(card, problem, tmp_path):
    with pytest.raises(DataError, match=problem):
        yolo.read(write(tmp_path, card=card), None)


def test_no_label_files(tmp_path):
    (tmp_path / "data.yaml").write_text("names: [cup]")
    with pytest.raises(DataError, match="expected label files"):
        yolo.read(tmp_path, None)


def test_round_trip(tmp_path):
    data = data_set()
    losses = yolo.write(data, tmp_path / "out")
    write_photos(tmp_path / "out" / "images", data)
    back = yolo.read(tmp_path / "out", None)
    del data.instances[3]
    assert described(back, pixels_only=True) == described(data, pixels_only=True)
    assert {photo.file_name for photo in back.images} == {photo.file_name for photo in data.images}
    assert back.categories == data.categories and not back.left_out
    assert losses == {
        "crowd regions": 1,
        "groups": 1,
        "masks in pixels, as polygons along pixels": 1,
        "objects of several polygons, joined by slits": 1,
        "other keys of objects": 2,
    }
    assert described(back)[0] == described(data)[0]  # as drawn, to a hundred-thousandth of a pixel
    assert yaml.safe_load((tmp_path / "out" / "data.yaml").read_text(encoding="utf-8"))["names"][1] == "Ωdog & <i>"


def test_what_leaves_the_photo_is_cut_at_its_edge(tmp_path):
    data = data_set()
    data.instances = [replace(data.instances[0], modal_mask=Mask((box(50, 30, 20, 20),)))]
    losses = yolo.write(data, tmp_path)
    assert losses["polygons that leave their photo, cut to its edge"] == 1
    write_photos(tmp_path / "images", data)
    assert yolo.read(tmp_path, None).instances[0].modal_mask.polygons == (box(50, 30, 10, 10),)


def test_two_photos_of_one_stem_are_refused(tmp_path):
    data = data_set()
    data.images[2] = replace(data.images[2], file_name="a.jpg")
    with pytest.raises(DataError, match=r"a.jpg and a.png would both be described by labels/a.txt"):
        yolo.write(data, tmp_path)


def test_boxes_of_yolo_detection_become_rectangles_and_it_is_said(tmp_path):
    data = yolo.read(write(tmp_path, "0 0.5 0.5 0.5 0.2\n1 0.25 0.5 0.1 0.1 0.8\n"), None)
    first, second = data.instances  # on a photo of 60 x 40
    assert first.modal_mask.polygons == (box(15, 16, 30, 8),) and first.score is None
    assert second.modal_mask.polygons == (box(12, 18, 6, 4),) and second.score == 0.8
    assert "boxes became rectangles" in data.mended[0].reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0 0.2", "empty box: expected a width and height above 0"),
        ("0 30 20 10 10", "coordinates that are no fractions"),
        ("0 0.5 0.5 0.2", "polygon with fewer than 3 points"),
    ],
)
def test_bad_boxes_are_left_out_with_a_reason(line, reason, tmp_path):
    data = yolo.read(write(tmp_path, f"0 0.5 0.5 0.5 0.2\n{line}\n"), None)
    assert len(data.instances) == 1 and reason in data.dropped[0].reason
