"""Broken files raise one clear line; broken entries are listed with a reason; nothing is lost silently."""

import json

import numpy as np
import pytest

from amodalpl.data import coco
from amodalpl.data.read import read_annotations
from amodalpl.data.records import reason_kind
from amodalpl.errors import DataError
from amodalpl.masks import rle

SQUARE = [2, 2, 8, 2, 8, 8, 2, 8]
GOOD = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [SQUARE]}
IMAGE = {"id": 1, "file_name": "a.jpg", "height": 10, "width": 12}
COCO = {"images": [IMAGE], "categories": [{"id": 1, "name": "cup"}], "annotations": [GOOD]}


def write(tmp_path, value):
    file = tmp_path / "file.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return file


def image(**fields):
    return {**COCO, "images": [{**IMAGE, **fields}]}


def without(entry, key):
    return {k: v for k, v in entry.items() if k != key}


def annotations(*entries):
    return {**COCO, "annotations": list(entries)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("{", "file.json: expected an annotation file in JSON, got something else", id="not JSON"),
        pytest.param("", "expected an annotation file in JSON", id="empty file"),
        pytest.param("[" * 100_000, "expected an annotation file in JSON", id="nested too deep"),
        pytest.param("3", "expected a COCO file with images, annotations and categories, got int", id="a number"),
        pytest.param({"a": 1}, r"expected a COCO file .* got keys \['a'\]", id="other object"),
        pytest.param([], "expected a COCO file .* got list", id="empty list"),
        pytest.param([{"image_id": 1, "score": 1}], "got a bare list of results", id="results of a detector"),
        pytest.param(without(COCO, "images"), "images: expected a list of photos, found none", id="no images"),
        pytest.param({**COCO, "images": []}, "images: expected a list of photos, got an empty list", id="no photo"),
        pytest.param({**COCO, "images": {}}, "images: expected a list of photos, got an empty dict", id="images dict"),
        pytest.param({**COCO, "images": [3]}, r"images\[0\]: expected an object .* got 3", id="image is a number"),
        pytest.param(
            {**COCO, "images": [IMAGE, {**IMAGE, "file_name": "b.jpg"}]},
            r"images\[1\].id: .* got 1 as in images\[0\]",
            id="image twice",
        ),
        pytest.param(image(id=True), r"images\[0\].id: expected a whole number as id, got True", id="image id true"),
        pytest.param(image(id="1"), r"images\[0\].id: expected a whole number as id, got '1'", id="image id text"),
        pytest.param(image(id=1.0), r"images\[0\].id: expected a whole number as id, got 1.0", id="image id float"),
        pytest.param(image(id=2**64), r"images\[0\].id: expected a whole number as id", id="image id of 65 bits"),
        pytest.param(image(file_name=""), r"images\[0\].file_name: expected the name of a photo, got ''", id="no name"),
        pytest.param(image(file_name=3), r"images\[0\].file_name: expected the name of a photo, got 3", id="odd name"),
        pytest.param(image(height=None), r"images\[0\].height: expected a whole number of pixels", id="no height"),
        pytest.param(image(width="12"), r"images\[0\].width: expected a whole number .* got '12'", id="width text"),
        pytest.param(image(width=0), r"images\[0\]: expected sides of 1 to 65535 .* width 0", id="width 0"),
        pytest.param(image(width=65536), r"images\[0\]: expected sides of 1 to 65535", id="width too large"),
        pytest.param(image(width=60000, height=60000), r"at most 268435456 pixels", id="too many pixels"),
        pytest.param(
            without(COCO, "categories"), "categories: expected a list of categories, found none", id="no cats"
        ),
        pytest.param({**COCO, "categories": [{"id": "a"}]}, r"categories\[0\].id: expected a whole", id="category id"),
        pytest.param({**COCO, "categories": ["cup"]}, r"categories\[0\]: expected an object", id="category is text"),
        pytest.param(
            {**COCO, "categories": [{"id": 1}, {"id": 1, "name": "x"}]},
            r"categories\[1\].id: .* own, got 1",
            id="category twice",
        ),
        pytest.param(without(COCO, "annotations"), "annotations: expected a list .* found none", id="no annotations"),
        pytest.param(annotations({**GOOD, "id": "1"}), r"annotations\[0\].id: .* got '1'", id="annotation id text"),
        pytest.param(annotations({**GOOD, "id": False}), r"annotations\[0\].id: .* got False", id="annotation id bool"),
        pytest.param(annotations({**GOOD, "id": 2**63}), r"annotations\[0\].id: expected a whole", id="id too large"),
        pytest.param(annotations(without(GOOD, "id")), r"annotations\[0\].id: .* found none", id="no annotation id"),
        pytest.param(
            annotations(GOOD, without({**GOOD, "id": 2}, "image_id")),
            r"annotations\[1\].image_id: .* found none",
            id="no image id",
        ),
        pytest.param(
            annotations({**GOOD, "segmentation": None}),
            r"annotations\[0\].segmentation: expected polygons or RLE, got NoneType; none of the 1 annotations has",
            id="segmentation null",
        ),
        pytest.param(
            annotations(*({**without(GOOD, "segmentation"), "id": i, "bbox": [1, 1, 3, 3]} for i in range(3))),
            r"annotations\[0\].segmentation: expected polygons or RLE, found none; none of the 3 annotations has",
            id="boxes only",
        ),
        pytest.param(
            annotations({**GOOD, "segmentation": []}), "got an empty list; none of the 1", id="only empty segmentations"
        ),
    ],
)
def test_broken_files_raise(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_annotations(write(tmp_path, content))
    assert "\n" not in str(caught.value) and "file.json" in str(caught.value)


def test_no_such_file(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.json: expected an annotation file, found no such file"):
        read_annotations(tmp_path / "nowhere.json")


def test_binary_file(tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="expected an annotation file in JSON"):
        read_annotations(file)


def counts(text_or_list, size=(10, 12)):
    return {"segmentation": {"size": list(size), "counts": text_or_list}}


def points(*values):
    return {"segmentation": [list(values)]}


FAR = [0, 0, 131072, 0, 0, 131072]
BAD_ENTRIES = {
    "two points": (points(1, 1, 5, 5), "segmentation", "polygon with fewer than 3 points: got 2"),
    "empty part": ({"segmentation": [[]]}, "segmentation", "polygon with fewer than 3 points: got 0"),
    "odd numbers": (points(1, 1, 5, 5, 3, 3, 4), "segmentation", "malformed polygon: expected pairs"),
    "text in polygon": (points(1, 1, 5, 5, 3, "3"), "segmentation", "malformed polygon: expected numbers, got '3'"),
    "true in polygon": (points(1, 1, 5, 5, 3, True), "segmentation", "malformed polygon: expected numbers, got True"),
    "NaN": (points(1, 1, 5, float("nan"), 3, 3), "segmentation", "malformed polygon: expected finite"),
    "infinity": (points(1, 1, 5, float("inf"), 3, 3), "segmentation", "malformed polygon: expected finite"),
    "huge integer": (points(1, 1, 5, 10**400, 3, 3), "segmentation", "malformed polygon: expected finite"),
    "objects": ({"segmentation": [{"x": 1}]}, "segmentation", "malformed polygon: expected a list of coordinates"),
    "reaches too far": (points(*[v * 2 - 5 for v in FAR]), "segmentation", "polygon too large: expected coordinates"),
    "zigzag": (points(*([0, 0, 131072, 3] * 100)), "segmentation", "polygon too large: expected an outline"),
    "too many": ({"segmentation": [SQUARE] * 10_001}, "segmentation", "too many polygons"),
    "left of the photo": (points(-9, 1, -5, 1, -5, 5), "segmentation", "mask outside the photo"),
    "right of the photo": (points(13, 1, 15, 1, 15, 5), "segmentation", "mask outside the photo"),
    "far below": (points(1, 10**9, 5, 10**9, 5, 2 * 10**9), "segmentation", "mask outside the photo"),
    "no area": (points(3, 3, 3, 3, 3, 3), "segmentation", "empty mask: the polygon covers no pixel"),
    "sides swapped": (counts([0, 120], (12, 10)), "segmentation", "RLE of the wrong size: expected [10, 12] as"),
    "size of text": (counts([0, 120], "ab"), "segmentation", "RLE of the wrong size"),
    "no size": ({"segmentation": {"counts": [0, 120]}}, "segmentation", "RLE of the wrong size"),
    "no counts": ({"segmentation": {"size": [10, 12]}}, "segmentation", "corrupt RLE: expected counts as text or a"),
    "long runs": (counts([0, 60, 61]), "segmentation", "corrupt RLE: expected runs over 120 pixels, got 121"),
    "negative run": (counts([130, -10]), "segmentation", "corrupt RLE: expected run lengths of 0 to 120, got 130"),
    "fractions": (counts([0.5, 119.5]), "segmentation", "corrupt RLE: expected run lengths of 0 to 120, got 0.5"),
    "huge run": (counts([10**300]), "segmentation", "corrupt RLE: expected run"),
    "no true pixel": (counts([120]), "segmentation", "empty mask: the RLE has no true pixel"),
    "no runs": (counts([]), "segmentation", "corrupt RLE: expected runs over 120 pixels, got 0"),
    "empty text": (counts(""), "segmentation", "corrupt RLE: the counts are empty text"),
    "cut text": (counts("0ooo"), "segmentation", "corrupt RLE: the counts are not in COCO's"),
    "endless text": (counts("1" * (2**22 + 1)), "segmentation", "corrupt RLE: expected counts of at most 4194304"),
    "foreign letters": (counts("0é"), "segmentation", "corrupt RLE: the counts are not in COCO's"),
    "zero byte": (counts("0\0h3"), "segmentation", "corrupt RLE: the counts are not in COCO's"),
    "text that runs over": (counts("0h7"), "segmentation", "corrupt RLE: expected runs over 120 pixels, got 248"),
    "text with overflow": (counts("0oooooooooooo0"), "segmentation", "corrupt RLE: the counts are not in COCO's"),
    "text without true pixel": (counts("h3"), "segmentation", "empty mask: the RLE has no true pixel"),
    "no mask": ({"segmentation": None}, "segmentation", "no mask: expected polygons or RLE, got NoneType"),
    "mask is a number": ({"segmentation": 3}, "segmentation", "no mask: expected polygons or RLE, got int"),
    "mask is a name": ({"segmentation": "a.png"}, "segmentation", "no mask: expected polygons or RLE, got str"),
    "unknown image": ({"image_id": 9}, "image_id", "unknown image: expected the id of one of the images, got 9"),
    "unknown category": ({"category_id": 9}, "category_id", "unknown category: expected the id of a category, got 9"),
    "category true": (
        {"category_id": True},
        "category_id",
        "unknown category: expected the id of a category, got True",
    ),
    "category is text": ({"category_id": "cup"}, "category_id", "unknown category"),
    "category is a list": ({"category_id": [1]}, "category_id", "unknown category"),
    "duplicate id": ({"id": 1}, "id", "duplicate annotation id: 1 is taken by an annotation before"),
    "odd crowd flag": ({"iscrowd": 2}, "iscrowd", "unknown crowd flag: expected 0 or 1, got 2"),
}


SHORT = "RLE that stops short: "
MENDED_ENTRIES = {  # what is read, and how many pixels it has
    "bad parts": ({"segmentation": [SQUARE, [1, 1], [2, 2, 3, 3]]}, "bad part of a mask: left out 2 of 3 parts (", 36),
    "a part that is no list": ({"segmentation": [SQUARE, 3]}, "bad part of a mask: left out 1 of 2 parts (", 36),
    "a part with a fraction too many": ({"segmentation": [SQUARE, [*SQUARE, 5]]}, "bad part of a mask: left out 1", 36),
    "pairs": ({"segmentation": [[[2, 2], [8, 2], [8, 8], [2, 8]]]}, "spelling of a mask: points or texts", 36),
    "one polygon of pairs": ({"segmentation": [[2, 2], [8, 2], [8, 8], [2, 8]]}, "spelling of a mask: points", 36),
    "points with names": (
        {"segmentation": [[{"x": 2, "y": 2}, {"x": 8, "y": 2}, {"x": 8, "y": 8}, {"x": 2, "y": 8}]]},
        "spelling of a mask: points",
        36,
    ),
    "numbers as text": ({"segmentation": [[str(v) for v in SQUARE]]}, "spelling of a mask: points or texts", 36),
    "short runs": (counts([1, 100]), SHORT + "19 of 120 pixels", 100),
    "runs short of background": (counts([1, 100, 9]), SHORT + "10 of 120 pixels", 100),
    "short text": (counts("0h2"), SHORT + "32 of 120 pixels", 88),
    "whole numbers as decimals": (counts([0.0, 120.0], (10.0, 12.0)), "spelling of a mask: text or decimals", 120),
    "size as text": (counts([0, 120], ("10", "12")), "spelling of a mask: text or decimals", 120),
    "Python's bytes as text": (counts("b'0h3'"), "spelling of a mask: text or decimals", 120),
}


@pytest.mark.parametrize(("fields", "done", "area_px"), MENDED_ENTRIES.values(), ids=MENDED_ENTRIES.keys())
def test_what_can_be_used_of_a_mask_is_read_and_listed(tmp_path, fields, done, area_px):
    records = read_annotations(write(tmp_path, annotations({**GOOD, **fields})))
    (entry,) = records.mended
    assert not records.dropped and entry.place == "annotations[0].segmentation" and entry.reason.startswith(done)
    assert rle.area_px(records.instances[0].modal) == area_px


@pytest.mark.parametrize(
    ("value", "is_crowd"),
    [(0, False), (1, True), ("0", False), ("1", True), (" True ", True), (False, False), (True, True)]
    + [(None, False), (1.0, True), ("", False), (2, None), ("many", None), ([1], None), (0.5, None), (-1, None)],
)
def test_one_rule_for_the_crowd_flag_of_check_and_convert(tmp_path, value, is_crowd):
    path = write(tmp_path, annotations({**GOOD, "iscrowd": value}))
    for records in (read_annotations(path), coco.read(path, None)):
        assert [i.is_crowd for i in records.instances] == ([] if is_crowd is None else [is_crowd])
        assert [entry.place for entry in records.dropped] == ["annotations[0].iscrowd"] * (is_crowd is None)


def test_a_photo_or_a_class_that_is_listed_again_counts_once(tmp_path):
    again = {**COCO, "images": COCO["images"] * 3, "categories": COCO["categories"] * 2}
    records = read_annotations(write(tmp_path, {**again, "annotations": [GOOD, {**GOOD, "id": 2}]}))
    assert (len(records.images), len(records.categories), len(records.instances)) == (1, 1, 2)
    assert [(entry.place, reason_kind(entry.reason)) for entry in records.mended] == [
        ("images[1]", "photo listed again"),
        ("images[2]", "photo listed again"),
        ("categories[1]", "class listed again"),
    ]


@pytest.mark.parametrize(("fields", "key", "reason"), BAD_ENTRIES.values(), ids=BAD_ENTRIES.keys())
def test_broken_entries_are_listed_and_the_rest_is_read(tmp_path, fields, key, reason):
    last = {**GOOD, "id": 3}
    records = read_annotations(write(tmp_path, annotations(GOOD, {**GOOD, "id": 2, **fields}, last)))
    assert [instance.id for instance in records.instances] == [1, 3]
    (entry,) = records.dropped
    assert entry.place == f"annotations[1].{key}"
    assert entry.annotation_id == fields.get("id", 2)
    assert entry.reason.startswith(reason)
    assert ":" not in reason_kind(entry.reason) and len(entry.reason) < 200


def test_entry_that_is_no_object_is_listed(tmp_path):
    records = read_annotations(write(tmp_path, annotations(GOOD, None)))
    assert records.dropped[0].place == "annotations[1]"
    assert records.dropped[0].reason == "not an annotation: expected an object, got NoneType"


def test_broken_whole_mask_and_hidden_object_are_listed(tmp_path):
    seen = {"size": [10, 12], "counts": [0, 50, 70]}
    nothing = {"size": [10, 12], "counts": [120]}
    whole = {**GOOD, "visible_mask": seen}
    broken = {**whole, "id": 2, "segmentation": [[1, 1]]}
    hidden = {**whole, "id": 3, "visible_mask": nothing}
    records = read_annotations(write(tmp_path, annotations(whole, broken, hidden)))
    assert [instance.id for instance in records.instances] == [1]
    assert [(entry.place, reason_kind(entry.reason)) for entry in records.dropped] == [
        ("annotations[1].segmentation", "polygon with fewer than 3 points"),
        ("annotations[2].visible_mask", "fully hidden"),
    ]


def test_input_equals_instances_plus_dropped(tmp_path):
    rng = np.random.default_rng(1)
    fields = list(BAD_ENTRIES.values())
    entries = []
    for index in range(200):
        extra = fields[int(rng.integers(len(fields)))][0] if rng.random() < 0.5 else {}
        entries.append({**GOOD, "id": index + 1, **extra})
    records = read_annotations(write(tmp_path, annotations(*entries)))
    assert len(records.instances) + len(records.dropped) == 200
    assert records.instances and records.dropped
