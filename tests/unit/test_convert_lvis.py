"""LVIS: classes that are not exhaustively annotated, frequencies, photos named by address."""

import json

import pytest
from drawn_data_sets import box, data_set, write_photos

from amodalpl.convert.format_table import reader
from amodalpl.data import lvis
from amodalpl.data.records import AnnotationSet
from amodalpl.errors import DataError

LVIS = {  # as lvis_v1_val.json has it
    "info": {"version": "v1.0"},
    "licenses": [{"id": 1}],
    "images": [
        {
            "id": 397133, "height": 40, "width": 60, "coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg",
            "neg_category_ids": [2], "not_exhaustive_category_ids": [3], "license": 1, "date_captured": "2013-11-14",
            "flickr_url": "http://example.org/a.jpg",
        }
    ],
    "annotations": [
        {"id": 1, "image_id": 397133, "category_id": 3, "segmentation": [list(box(2, 2, 8, 8))], "area": 64.0,
         "bbox": [2.0, 2.0, 8.0, 8.0]}
    ],
    "categories": [
        {"id": 2, "name": "alcohol", "synset": "alcohol.n.01", "synonyms": ["alcohol", "drink"], "def": "a liquor",
         "frequency": "f", "image_count": 0, "instance_count": 0},
        {"id": 3, "name": "cup", "synset": "cup.n.01", "synonyms": ["cup"], "def": "a small open container",
         "frequency": "r", "image_count": 1, "instance_count": 1},
    ],
}  # fmt: skip


def write(folder, raw=LVIS):
    file = folder / "lvis.json"
    file.write_text(json.dumps(raw))
    return file


def test_every_key_comes_back(tmp_path):
    file = write(tmp_path)
    assert reader("auto", file).name == "lvis"
    data = lvis.read(file, None)
    assert data.images[0].file_name == "val2017/000000397133.jpg"
    assert lvis.write(data, tmp_path / "out.json") == {}
    back = json.loads((tmp_path / "out.json").read_text())
    assert back["images"][0].pop("file_name") == "val2017/000000397133.jpg"
    assert back == LVIS


@pytest.mark.parametrize("folder", ["val2017", "."])
def test_photos_with_and_without_their_folder(folder, tmp_path):
    data = AnnotationSet(lvis.read(write(tmp_path), None).images, [], [])
    photo = data.images[0].__class__(1, f"{folder}/000000397133.jpg", (40, 60))
    photos = write_photos(tmp_path / "photos", AnnotationSet([photo], [], []))
    back = lvis.read(tmp_path / "lvis.json", photos)
    assert back.images[0].file_name == f"{folder}/000000397133.jpg".removeprefix("./")


def test_round_trip_of_another_data_set(tmp_path):
    data = data_set()
    losses = lvis.write(data, tmp_path / "out.json")
    assert losses == {"crowd regions, their classes marked as not exhaustive": 1}
    back = lvis.read(tmp_path / "out.json", write_photos(tmp_path / "photos", data))
    sizes = {photo.id: photo.size_hw for photo in data.images}
    things = [thing for thing in data.instances if not thing.is_crowd]
    for thing, other in zip(things, back.instances, strict=True):
        assert (thing.id, thing.image_id, thing.category_id) == (other.id, other.image_id, other.category_id)
        assert (thing.group, thing.extra) == (other.group, other.extra)
        assert thing.modal_mask.pixels(sizes[thing.image_id]) == other.modal_mask.pixels(sizes[other.image_id])
    assert [photo.extra["not_exhaustive_category_ids"] for photo in back.images] == [[2], [], []]
    assert [entry["frequency"] for entry in back.categories] == ["r", "r"]
    assert [entry["instance_count"] for entry in back.categories] == [3, 2]


def test_hostile_address(tmp_path):
    url = "http://example.org/..%2F..%2Fetc/%2E%2E/x.jpg"
    photos = [{**LVIS["images"][0], "coco_url": url}]
    with pytest.raises(DataError, match=r"could read none of 2 entries \(images\[0\]: photo outside the folder"):
        lvis.read(write(tmp_path, {**LVIS, "images": photos}), None)


def test_odd_list_of_classes(tmp_path):
    photos = [{**LVIS["images"][0], "not_exhaustive_category_ids": [[3], 3, "x"]}]
    lvis.write(lvis.read(write(tmp_path, {**LVIS, "images": photos}), None), tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["images"][0]["not_exhaustive_category_ids"] == [3]


def test_no_address_and_no_name(tmp_path):
    photos = [{key: value for key, value in LVIS["images"][0].items() if key != "coco_url"}]
    with pytest.raises(DataError, match=r"images\[0\].file_name: expected the name of a photo"):
        lvis.read(write(tmp_path, {**LVIS, "images": photos}), None)
