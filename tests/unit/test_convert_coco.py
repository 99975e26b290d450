"""COCO as others export it: everything comes back as it was."""

import json
from dataclasses import replace

import numpy as np
import pytest
from drawn_data_sets import SIZE_HW, box, data_set, drawn, in_pixels, write_photos
from PIL import Image

from amodalpl.data import coco
from amodalpl.data.coco_mend import with_whole_ids
from amodalpl.data.read import read_annotations
from amodalpl.data.source import Source
from amodalpl.errors import DataError
from amodalpl.masks import rle

CVAT = {  # as CVAT's "COCO 1.0" writes it
    "licenses": [{"name": "", "id": 0, "url": ""}],
    "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
    "categories": [{"id": 1, "name": "cup", "supercategory": ""}],
    "images": [
        {"id": 1, "width": 60, "height": 40, "file_name": "a.png", "license": 0, "flickr_url": "", "coco_url": ""}
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "segmentation": [[1.5, 2, 5.5, 2, 5.5, 6], [10, 10, 14, 10, 14, 14]],
            "area": 16.0,
            "bbox": [1.5, 2, 12.5, 12],
            "iscrowd": 0,
            "attributes": {"occluded": False, "rotation": 0.0},
        }
    ],
}


def write(folder, *annotations, **top):
    file = folder / "instances.json"
    file.write_text(json.dumps({**CVAT, "annotations": [*CVAT["annotations"], *annotations], **top}))
    return file


def test_every_key_comes_back(tmp_path):
    data = coco.read(write(tmp_path), None)
    assert data.instances[0].modal_mask.polygons == (
        (1.5, 2.0, 5.5, 2.0, 5.5, 6.0),
        (10.0, 10.0, 14.0, 10.0, 14.0, 14.0),
    )
    assert coco.write(data, tmp_path / "out.json") == {}
    assert json.loads((tmp_path / "out.json").read_text()) == CVAT


def test_round_trip(tmp_path):
    data = data_set()
    assert coco.write(data, tmp_path / "out.json") == {}
    assert coco.detect(Source(tmp_path / "out.json"))
    back = coco.read(tmp_path / "out.json", write_photos(tmp_path / "photos", data))
    for thing in back.instances:  # computed for those who need them
        assert [thing.extra.pop("bbox"), thing.extra.pop("area")] == [
            list(rle.box_xywh(thing.modal_mask.pixels(data.images[thing.image_id - 1].size_hw))),
            rle.area_px(thing.modal_mask.pixels(data.images[thing.image_id - 1].size_hw)),
        ]
    assert (back.images, back.instances, back.categories) == (data.images, data.instances, data.categories)


def test_the_pipeline_reads_the_same_masks(tmp_path):
    data = data_set()
    coco.write(data, tmp_path / "out.json")
    records = read_annotations(tmp_path / "out.json")
    sizes = {photo.id: photo.size_hw for photo in data.images}
    assert not records.dropped
    assert [i.modal for i in records.instances] == [
        thing.modal_mask.pixels(sizes[thing.image_id]) for thing in data.instances
    ]


def test_what_does_not_fit_is_counted(tmp_path):
    data = data_set()
    data.front_of.append((1, 2))
    data.instances[0] = replace(data.instances[0], modal_mask=None, amodal_mask=in_pixels(drawn((1, 1, 4, 4))))
    assert coco.write(data, tmp_path / "out.json") == {
        "order in depth, pairs": 1,
        "objects without a visible mask": 1,
        "whole masks (amodal)": 1,
    }


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"segmentation": None}, "no mask"),
        ({"segmentation": [[1, 2, 3, 4]]}, "polygon with fewer than 3 points"),
        ({"segmentation": {"size": [9, 9], "counts": "x"}}, "RLE of the wrong size"),
        ({"segmentation": {"size": [40, 60], "counts": [10**9]}}, "corrupt RLE"),
        ({"segmentation": [[100, 100, 110, 100, 110, 110]]}, "mask outside the photo"),
        ({"image_id": 9}, "unknown image"),
        ({"category_id": 9}, "unknown category"),
        ({"score": 3}, "score out of range"),
        ({"id": 1}, "duplicate annotation id"),
    ],
)
def test_bad_annotations_are_left_out_with_a_reason(bad, reason, tmp_path):
    entry = {**CVAT["annotations"][0], "id": 2, **bad}
    data = coco.read(write(tmp_path, entry), None)
    assert len(data.instances) == 1 and data.left_out[0][0].startswith("annotations[1]")
    assert data.left_out[0][1].startswith(reason)


def test_photos_that_are_elsewhere_take_their_objects_along(tmp_path):
    images = [*CVAT["images"], {**CVAT["images"][0], "id": 2, "file_name": "../a.png"}]
    entry = {**CVAT["annotations"][0], "id": 2, "image_id": 2}
    data = coco.read(write(tmp_path, entry, images=images), None)
    assert [reason.partition(":")[0] for _, reason in data.left_out] == ["photo outside the folder", "photo not read"]


def test_cvat_states_sizes_of_turned_photos(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # upright camera: stored 60 high and 40 wide is shown as 40 high and 60 wide
    Image.fromarray(np.zeros((60, 40, 3), dtype=np.uint8)).save(tmp_path / "a.png", exif=exif)
    data = coco.read(
        write(tmp_path, annotations=[{**CVAT["annotations"][0], "segmentation": [box(1, 2, 5, 4)]}]), tmp_path
    )
    assert data.images[0].size_hw == SIZE_HW[::-1]
    x, y, w, h = rle.box_xywh(data.instances[0].modal_mask.pixels(SIZE_HW[::-1]))
    assert (x, y, w, h) == (2, 60 - 1 - 5, 4, 5)
    assert not {"bbox", "area"} & data.instances[0].extra.keys()  # they were of the shown photo


@pytest.mark.parametrize(
    ("text", "problem"),
    [("[]", "expected a COCO file with images"), ('{"images": [', "in JSON, got something else"), ("3", "COCO file")],
)
def test_bad_files(text, problem, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=problem):
        coco.read(tmp_path / "a.json", None)


def test_ids_that_fit_stay_and_others_get_free_ones(tmp_path):
    """Ids of classes mean something to who wrote them: the reader that a file is for knows class 18."""
    given = ["18", 3.0, "-3", str(2**63), "first"]
    odd = {**CVAT, "categories": [{"id": id, "name": f"class {k}"} for k, id in enumerate(given)]}
    objects = [{**CVAT["annotations"][0], "id": str(k), "category_id": id} for k, id in enumerate(given)]
    whole = with_whole_ids({**odd, "annotations": objects}, None, [])
    assert [entry["id"] for entry in whole["categories"]] == [18, 3, 19, 20, 21]
    assert [entry["category_id"] for entry in whole["annotations"]] == [18, 3, 19, 20, 21]
    assert [entry["id"] for entry in whole["annotations"]] == [0, 1, 2, 3, 4]


def test_a_class_name_that_no_file_can_hold_is_written_with_question_marks_and_listed(tmp_path):
    data = {
        "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 4}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 2, 0, 2, 2]]}],
        "categories": [{"id": 1, "name": "cat\ud800"}],
    }
    (tmp_path / "in.json").write_text(json.dumps(data))
    read = coco.read(tmp_path / "in.json", None)
    assert read.categories[0]["name"] == "cat?"
    assert read.left_out == [("categories[0].name", "letters that no file can hold: in 'cat?'")]
    coco.write(read, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["categories"] == [{"id": 1, "name": "cat?"}]
