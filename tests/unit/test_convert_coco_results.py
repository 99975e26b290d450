"""Detections as visible masks: names from a COCO file or from the photos, one detection per object."""

import json

import pytest
from drawn_data_sets import SIZE_HW, box, described, drawn, in_pixels, write_photos

from amodalpl.convert import coco_results
from amodalpl.convert.format_table import reader
from amodalpl.data.records import AnnotationSet, ImageRecord, Mask
from amodalpl.data.source import Source
from amodalpl.errors import DataError
from amodalpl.masks import rle

COCO = {
    "images": [
        {"id": 42, "file_name": "x.jpg", "height": 40, "width": 60},
        {"id": 43, "file_name": "y.jpg", "height": 40, "width": 60},
    ],
    "annotations": [],
    "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}],
}


def found(*rectangle, score=0.9, image_id=42, category_id=18, **more):
    return {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [0, 0, 1, 1],
        "segmentation": rle.to_json(in_pixels(drawn(rectangle)).rle),
        "score": score,
        **more,
    }


def write(folder, *detections):
    (folder / "coco.json").write_text(json.dumps(COCO))
    (folder / "found.json").write_text(json.dumps(detections))
    return folder / "found.json", folder / "coco.json"


def test_names_and_classes_of_a_coco_file(tmp_path):
    polygon = {**found(1, 2, 4, 4, score=1), "segmentation": [list(box(1.5, 2, 4, 4))]}
    file, coco_file = write(tmp_path, found(2, 2, 9, 9, score=0.25, track=7), polygon)
    assert reader("auto", file).name == "coco-results"
    data = coco_results.read(file, coco_file)
    assert described(data, "score", "extra") == [
        ("x.jpg", "dog", in_pixels(drawn((2, 2, 9, 9))), 0.25, {"track": 7}),
        ("x.jpg", "dog", Mask((box(1.5, 2, 4, 4),)), 1.0, {}),
    ]
    assert [photo.id for photo in data.images] == [42, 43]
    assert data.categories[0]["supercategory"] == "animal"


@pytest.mark.parametrize(
    ("image_id", "name"), [(42, "COCO_val2014_000000000042.jpg"), ("cat", "cat.png"), ("sub/cat2", "sub/cat2.png")]
)
def test_names_of_photos(image_id, name, tmp_path):
    file, _ = write(tmp_path, found(2, 2, 9, 9, image_id=image_id))
    data = coco_results.read(
        file, write_photos(tmp_path / "photos", AnnotationSet([ImageRecord(1, name, SIZE_HW)], [], []))
    )
    assert described(data) == [(name, "18", in_pixels(drawn((2, 2, 9, 9))))]


def test_an_object_found_twice_counts_once(tmp_path):
    file, coco_file = write(
        tmp_path,
        found(0, 0, 10, 10, score=0.6),
        found(0, 0, 10, 9, score=0.8),  # IoU 0.9
        found(0, 0, 10, 8, score=0.7),  # IoU 0.89 with the best
        found(0, 0, 10, 9, score=0.9, image_id=43),
    )
    data = coco_results.read(file, coco_file)
    assert [thing.score for thing in data.instances] == [0.8, 0.7, 0.9]
    assert data.left_out == [("[0]", "second detection of one object: IoU 0.90 with [1] of a higher score")]


def test_bad_detections_are_left_out(tmp_path):
    file, coco_file = write(
        tmp_path,
        found(2, 2, 9, 9),
        {**found(2, 2, 9, 9), "segmentation": {"size": [10**6, 10**6], "counts": "0" * 9}},
        {**found(2, 2, 9, 9), "segmentation": {"size": [40, 60], "counts": "~~"}},
        found(2, 2, 9, 9, image_id=1),
        found(2, 2, 9, 9, image_id="x"),
        found(2, 2, 9, 9, category_id=1),
        found(2, 2, 9, 9, score=1.5),
        "dog",
    )
    data = coco_results.read(file, coco_file)
    assert len(data.instances) == 1
    assert [reason.partition(":")[0] for _, reason in data.left_out] == [
        "RLE of the wrong size",
        "corrupt RLE",
        "unknown image",
        "unknown image",
        "unknown category",
        "score out of range",
        "not a detection",
    ]


def test_photos_that_are_not_there(tmp_path):
    file, _ = write(tmp_path, found(2, 2, 9, 9), found(2, 2, 9, 9, image_id="../etc"))
    photos = write_photos(tmp_path / "photos", AnnotationSet([ImageRecord(1, "7.png", SIZE_HW)], [], []))
    with pytest.raises(
        DataError, match=r"could read none of 2 entries \(\[0\]: missing photo: expected one named '42'"
    ):
        coco_results.read(file, photos)


def test_boxes_only_and_other_files(tmp_path):
    file, coco_file = write(tmp_path, {"image_id": 42, "category_id": 18, "bbox": [0, 0, 1, 1], "score": 0.5})
    with pytest.raises(DataError, match="expected detections with masks, found boxes only"):
        coco_results.read(file, coco_file)
    with pytest.raises(DataError, match="give the COCO file the detector ran over, or the folder of photos"):
        coco_results.read(file, None)
    with pytest.raises(DataError, match="expected a list of detections .*, got dict"):
        coco_results.read(coco_file, coco_file)
    assert not coco_results.detect(Source(coco_file))


def test_no_detections_at_all(tmp_path):
    file, coco_file = write(tmp_path)
    assert file.read_text() == "[]" and reader("auto", file).name == "coco-results"
    with pytest.raises(DataError, match="nothing was detected; lower the score threshold"):
        coco_results.read(file, coco_file)
