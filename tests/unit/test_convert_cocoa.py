"""COCOA: order, names, one polygon per region; full releases, records, folders of records."""

import json

import pytest
from drawn_data_sets import box, write_photos
from drawn_whole_masks import in_pixels_only, whole_masks

from amodalpl.data import cocoa
from amodalpl.data.read import read_annotations
from amodalpl.data.records import Instance, Mask
from amodalpl.data.source import Source
from amodalpl.errors import DataError

CROWD = 13
RECORD = {  # as the first release has them
    "image_id": 7,
    "id": 377,
    "author": "somebody",
    "url": "https://example.org/coco-val/COCO_val2014_000000000007.jpg",
    "size": 2,
    "depth_constraint": "1-2",
    "regions": [
        {
            "segmentation": [2, 2, 10, 2, 10, 10, 2, 10],
            "name": "cup ",
            "area": 64,
            "isStuff": 0,
            "occlude_rate": 0,
            "order": 1,
        },
        {
            "segmentation": [6, 2, 14, 2, 14, 10, 6, 10],
            "name": "table",
            "area": 64,
            "isStuff": 1,
            "occlude_rate": 0.5,
            "order": 2,
            "visible_mask": {"size": [20, 30], "counts": [202, 8, 12, 8, 12, 8, 12, 8, 330]},
            "invisible_mask": {"size": [20, 30], "counts": [122, 8, 12, 8, 12, 8, 12, 8, 410]},
        },
    ],
}


def test_round_trip(tmp_path):
    data = whole_masks()
    losses = cocoa.write(data, tmp_path / "out.json")
    assert losses == {
        "crowd regions": 1,
        "other keys of classes": 1,
        "classes, now names of regions": 2,
        "polygons of one object, joined by slits": 1,
        "visible masks drawn as polygons, now pixels": 2,
    }
    back = cocoa.read(tmp_path / "out.json", write_photos(tmp_path / "photos", data))
    names = {3: "cup", 5: "Ωdog & <i>"}
    expected = [
        (*row[:2], 1, *row[3:-1], {"name": names[row[2]], **row[-1]})  # classes are names now
        for row in in_pixels_only(data)
        if row[0] != CROWD
    ]
    assert in_pixels_only(back) == expected
    assert (back.front_of, back.raw, back.left_out) == (data.front_of, data.raw, [])
    assert [photo.file_name for photo in back.images] == [photo.file_name for photo in data.images]


def test_the_pipeline_reads_the_same(tmp_path):
    data = whole_masks()
    cocoa.write(data, tmp_path / "out.json")
    records = read_annotations(tmp_path / "out.json")
    assert records.format == "cocoa" and not records.dropped
    sizes = {photo.id: photo.size_hw for photo in data.images}
    things = [thing for thing in data.instances if thing.id != CROWD]
    for thing, instance in zip(things, records.instances, strict=True):
        assert instance.modal == thing.modal_mask.pixels(sizes[thing.image_id])
        assert instance.amodal == thing.amodal_mask.pixels(sizes[thing.image_id])
    assert records.front_of == [(1, 2)]


@pytest.mark.parametrize("kind", ["record", "list", "folder"])
def test_records(kind, tmp_path):
    path = tmp_path / "7.json"
    path.write_text(json.dumps([RECORD] if kind == "list" else RECORD))
    path = tmp_path if kind == "folder" else path
    assert cocoa.detect(Source(path))
    data = cocoa.read(path, None)
    assert data.images[0].file_name == "COCO_val2014_000000000007.jpg"
    assert data.images[0].extra["cocoa"] == {"id": 377, "author": "somebody", "url": RECORD["url"]}
    assert data.front_of == [(1, 2)]
    cup, table = data.instances
    assert cup.modal_mask == cup.amodal_mask == Mask((tuple(float(v) for v in RECORD["regions"][0]["segmentation"]),))
    assert table.is_stuff and table.extra == {"name": "table", "order": 2}
    assert table.modal_mask.rle == Mask((box(10, 2, 4, 8),)).pixels((20, 30))


def test_a_release_comes_back_as_it_was(tmp_path):
    release = {
        "info": {"year": 2017},
        "images": [{"id": 7, "file_name": "7.jpg", "height": 20, "width": 30, "license": 1}],
        "annotations": [RECORD],
    }
    (tmp_path / "in.json").write_text(json.dumps(release))
    assert cocoa.write(cocoa.read(tmp_path / "in.json", None), tmp_path / "out.json") == {}
    back = json.loads((tmp_path / "out.json").read_text())
    for number, region in enumerate(back["annotations"][0]["regions"], start=1):
        assert region.pop("id") == number
        for key in ("visible_mask", "invisible_mask"):  # compressed now; `test_records` compares the pixels
            assert (region.pop(key, None) is None) == (RECORD["regions"][number - 1].get(key) is None)
    for region in release["annotations"][0]["regions"]:
        region = {key: region[key] for key in region if not key.endswith("visible_mask")}
        assert region in back["annotations"][0]["regions"]
    assert back["images"] == release["images"] and back["info"] == release["info"]
    assert {key: back["annotations"][0][key] for key in RECORD if key != "regions"} == {
        key: RECORD[key] for key in RECORD if key != "regions"
    }


def test_a_photo_that_is_listed_again_counts_once(tmp_path):
    photo = {"id": 7, "file_name": "7.jpg", "height": 20, "width": 30}
    (tmp_path / "in.json").write_text(json.dumps({"images": [photo, photo], "annotations": [RECORD]}))
    data = cocoa.read(tmp_path / "in.json", None)
    assert (len(data.images), len(data.instances)) == (1, 2)
    assert [(entry.place, entry.reason) for entry in data.mended] == [("images[1]", "photo listed again: as images[0]")]


def test_order_across_photos_is_lost(tmp_path):
    data = whole_masks()
    data.front_of = [(21, 30), (21, 11)]
    assert cocoa.write(data, tmp_path / "out.json")["order in depth, pairs"] == 1
    assert cocoa.read(tmp_path / "out.json", None).front_of == [(21, 11)]


def test_parts_that_overlap_stay_whole(tmp_path):
    parts = Mask((box(2, 2, 8, 8), box(6, 6, 8, 8)))
    data = whole_masks()
    data.instances = [Instance(1, 9, 3, parts, parts)]
    data.front_of = []
    cocoa.write(data, tmp_path / "out.json")
    thing = cocoa.read(tmp_path / "out.json", None).instances[0]
    assert thing.amodal_mask.pixels((40, 60)) == parts.pixels((40, 60))


def test_what_is_no_region_is_left_out(tmp_path):
    regions = [*RECORD["regions"], {"segmentation": [1, 2]}, "x"]
    (tmp_path / "a.json").write_text(json.dumps({**RECORD, "regions": regions, "depth_constraint": "1-9"}))
    data = cocoa.read(tmp_path / "a.json", None)
    assert [place for place, _ in data.left_out] == ["regions[3]", "regions[2].segmentation", "depth_constraint"]
    assert len(data.instances) == 2


def test_not_cocoa(tmp_path):
    (tmp_path / "a.json").write_text('{"images": []}')
    with pytest.raises(DataError, match=r"a.json: expected a COCOA file, whose annotations have `regions`"):
        cocoa.read(tmp_path / "a.json", None)
