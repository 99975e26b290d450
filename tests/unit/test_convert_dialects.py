"""KINS, D2SA, COCO with both masks: round trips, and what the pipeline's own readers make of what is written."""

import json

import pytest
from drawn_data_sets import write_photos
from drawn_whole_masks import in_pixels_only, whole_masks
from PIL import Image

from amodalpl.convert import fiftyone
from amodalpl.convert.format_table import reader
from amodalpl.data import coco, d2sa, kins
from amodalpl.data.read import read_annotations
from amodalpl.data.source import Source
from amodalpl.errors import DataError

BOTH_WAYS = {
    "kins": (kins.read, kins.write),
    "kins2020": (kins.read_2020, kins.write_2020),
    "d2sa": (d2sa.read, d2sa.write),
    "coco-modal": (coco.read_modal, coco.write_modal),
}
AS_DRAWN = {"kins2020", "d2sa", "coco-modal"}


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_all_but_the_order_comes_back(name, tmp_path):
    read, write = BOTH_WAYS[name]
    data = whole_masks()
    losses = write(data, tmp_path / "out.json")
    assert losses.pop("order in depth, pairs") == 1
    if name == "kins":
        assert losses.pop("visible masks drawn as polygons, now pixels") == 4
    assert not losses
    assert reader("auto", tmp_path / "out.json").name == name
    back = read(tmp_path / "out.json", write_photos(tmp_path / "photos", data))
    assert in_pixels_only(back) == in_pixels_only(data)
    assert (back.images, back.categories, back.raw, back.left_out) == (data.images, data.categories, data.raw, [])
    if name in AS_DRAWN:
        assert back.instances == data.instances


@pytest.mark.parametrize("name", ["kins", "kins2020", "d2sa"])
def test_the_pipeline_reads_the_same_masks(name, tmp_path):
    data = whole_masks()
    BOTH_WAYS[name][1](data, tmp_path / "out.json")
    records = read_annotations(tmp_path / "out.json")
    assert records.format == name and not records.dropped
    sizes = {photo.id: photo.size_hw for photo in data.images}
    for thing, instance in zip(data.instances, records.instances, strict=True):
        whole = thing.modal_mask if thing.is_crowd else thing.amodal_mask
        assert instance.modal == thing.modal_mask.pixels(sizes[thing.image_id])
        assert instance.amodal == whole.pixels(sizes[thing.image_id])


def test_keys_of_kins(tmp_path):
    kins.write(whole_masks(), tmp_path / "out.json")
    entry = json.loads((tmp_path / "out.json").read_text())["annotations"][1]
    assert entry["segmentation"] == [[6, 2, 14, 2, 14, 10, 6, 10]]
    assert (entry["bbox"], entry["area"]) == ([6, 2, 8, 8], 64)
    assert entry["inmodal_bbox"] == [10, 2, 4, 8]
    assert entry["inmodal_seg"]["size"] == [40, 60]


def test_keys_of_d2sa(tmp_path):
    d2sa.write(whole_masks(), tmp_path / "out.json")
    front, back = json.loads((tmp_path / "out.json").read_text())["annotations"][:2]
    assert (front["occlude_rate"], "invisible_mask" in front) == (0, False)
    assert (back["occlude_rate"], back["visible_bbox"], back["bbox"]) == (0.5, [10, 2, 4, 8], [6, 2, 8, 8])
    assert back["invisible_mask"]["size"] == [40, 60]


def test_a_kins_file_without_photos_keeps_its_clusters(tmp_path):
    square = [[2, 2, 6, 2, 6, 6, 2, 6]]
    entry = {
        "id": 0,
        "image_id": 0,
        "category_id": 4,
        "iscrowd": 0,
        "segmentation": square,
        "bbox": [2, 2, 4, 4],
        "area": 16,
        "inmodal_seg": {"size": [20, 30], "counts": [42, 4, 554]},
        "inmodal_bbox": [2, 2, 1, 4],
        "ico_id": 7,
        "oco_id": 1,
    }
    raw = {
        "images": [{"id": 0, "file_name": "000000.png", "height": 20, "width": 30}],
        "annotations": [entry],
        "categories": [{"id": 4, "name": "car", "supercategory": "vehicle"}],
    }
    (tmp_path / "kins.json").write_text(json.dumps(raw))
    thing = kins.read(tmp_path / "kins.json", None).instances[0]
    assert thing.extra == {"ico_id": 7, "oco_id": 1}
    assert thing.amodal_mask.polygons == ((2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0),)


def test_the_order_beside_labels_is_read(tmp_path):
    d2sa.write(whole_masks(), tmp_path / "pseudo_amodal.json")
    pairs = [{"front": 21, "back": 11}, {"front": 21, "back": 99}, {"front": 21}]
    (tmp_path / "order.json").write_text(json.dumps({"images": [{"image_id": 9, "pairs": pairs}]}))
    data = d2sa.read(tmp_path / "pseudo_amodal.json", None)
    assert data.front_of == [(21, 11)]
    assert data.left_out == [
        ("order.json: images[0].pairs[1]", "order of objects that are not here"),
        ("order.json: images[0].pairs[2]", "order of objects that are not here"),
    ]


def test_coco_amodal_has_whole_masks_only(tmp_path):
    data = whole_masks()
    losses = coco.write_amodal(data, tmp_path / "out.json")
    assert losses == {"visible masks": 4, "order in depth, pairs": 1}
    assert coco.detect(Source(tmp_path / "out.json"))
    back = coco.read(tmp_path / "out.json", None)
    assert [thing.modal_mask for thing in back.instances] == [
        thing.amodal_mask or thing.modal_mask for thing in data.instances
    ]
    assert json.loads((tmp_path / "out.json").read_text())["annotations"][1]["area"] == 64


def test_fiftyone_gets_a_file_per_mask(tmp_path):
    losses = fiftyone.write(whole_masks(), tmp_path / "out")
    assert losses == {"order in depth, pairs": 1}
    modal, amodal = (
        json.loads((tmp_path / "out" / f"{name}.json").read_text())["annotations"] for name in ("modal", "amodal")
    )
    assert [entry["id"] for entry in modal] == [entry["id"] for entry in amodal] == [21, 11, 12, 13, 30]
    assert (modal[1]["bbox"], amodal[1]["bbox"]) == ([10, 2, 4, 8], [6, 2, 8, 8])


def test_objects_without_a_whole_mask_are_counted(tmp_path):
    data = whole_masks()
    data.instances[0] = data.instances[0].__class__(21, 9, 3, data.instances[0].modal_mask)
    data.instances[1] = data.instances[1].__class__(11, 9, 3, None, data.instances[1].amodal_mask)
    losses = d2sa.write(data, tmp_path / "out.json")
    assert losses["objects without a whole mask"] == losses["objects without a visible mask"] == 1
    assert [thing.id for thing in d2sa.read(tmp_path / "out.json", None).instances] == [12, 13, 30]


@pytest.mark.parametrize("write", [kins.write, kins.write_2020, d2sa.write, coco.write_amodal])
def test_nothing_to_write_without_whole_masks(write, tmp_path):
    data = whole_masks()
    data.instances = [thing for thing in data.instances if thing.amodal_mask is None]
    with pytest.raises(
        DataError, match=r"expected objects with whole \(amodal\) masks, found none among 1; label them"
    ):
        write(data, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_bad_entries_are_left_out_with_their_place(tmp_path):
    data = whole_masks()
    d2sa.write(data, tmp_path / "out.json")
    raw = json.loads((tmp_path / "out.json").read_text())
    raw["annotations"][0]["segmentation"] = {"size": [40000, 60000], "counts": "x"}
    raw["annotations"][1]["visible_mask"] = {"size": [40, 60], "counts": [2400]}
    raw["annotations"][2]["score"] = "high"
    raw["images"][1]["file_name"] = "../b.png"
    (tmp_path / "out.json").write_text(json.dumps(raw))
    back = d2sa.read(tmp_path / "out.json", None)
    assert [thing.id for thing in back.instances] == [13]
    assert {place: reason.partition(":")[0] for place, reason in back.left_out} == {
        "images[1]": "photo outside the folder",
        "annotations[0].segmentation": "RLE of the wrong size",
        "annotations[1].visible_mask": "fully hidden",
        "annotations[2]": "score out of range",
        "annotations[4]": "photo not read",
    }


def test_letters_that_no_file_can_hold(tmp_path):
    data = whole_masks()
    d2sa.write(data, tmp_path / "out.json")
    text = (tmp_path / "out.json").read_text().replace('"name": "cup"', '"name": "cup\\ud800"')
    (tmp_path / "out.json").write_text(text)
    back = d2sa.read(tmp_path / "out.json", None)
    assert [category["name"] for category in back.categories] == ["cup?", "Ωdog & <i>"]
    assert back.left_out == [("categories[0].name", "letters that no file can hold: in 'cup?'")]
    coco.write(back, tmp_path / "again.json")


def test_half_a_file(tmp_path):
    (tmp_path / "out.json").write_text('{"images": [')
    with pytest.raises(DataError, match=r"out.json: expected a kins file in JSON, got something else"):
        kins.read(tmp_path / "out.json", None)


def test_masks_on_a_turned_photo_are_turned_back(tmp_path):
    data = whole_masks()
    data.images, data.instances = data.images[:1], data.instances[1:2]
    data.front_of = []
    d2sa.write(data, tmp_path / "out.json")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise: 40 x 60 as shown is 60 x 40 as stored
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 60)).save(tmp_path / "photos" / "a.png", exif=exif)
    back = d2sa.read(tmp_path / "out.json", tmp_path / "photos")
    assert back.images[0].size_hw == (60, 40)
    assert back.instances[0].modal_mask.polygons == ((2.0, 50.0, 2.0, 46.0, 10.0, 46.0, 10.0, 50.0),)
