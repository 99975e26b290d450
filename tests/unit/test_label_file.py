"""Entries as they are written; files of strangers, refused with a place before pycocotools sees them."""

import base64
import json

import cv2
import numpy as np
import pytest
from drawn_labels import SIZE_HW, box, label

from amodalpl.data import label_file
from amodalpl.data.label_file import (
    UncertaintyMap,
    decided_entry,
    doubt_entry,
    label_entry,
    order_entry,
    read_label_head,
    read_labels,
    read_order,
    write_label_file,
)
from amodalpl.data.records import AnnotationSet, ImageRecord, Instance
from amodalpl.errors import DataError
from amodalpl.masks import rle
from amodalpl.masks.boxed import boxed


@pytest.fixture
def read(tmp_path):
    """Write a file and read its labels."""

    def write_and_read(content):
        path = tmp_path / "labels.json"
        path.write_text(json.dumps(content))
        return list(read_labels(path, *read_label_head(path)))

    return write_and_read


def content(*annotations, **more):
    image = {"id": 1, "file_name": "a.png", "height": SIZE_HW[0], "width": SIZE_HW[1]}
    return {"images": [image], "categories": [{"id": 1, "name": "cup"}], "annotations": list(annotations), **more}


def changed(**changes):
    return content({**label(1), **changes})


def test_label_files_pass(read):
    assert read(content()) == []
    unseen = changed(visible_mask=rle.to_json(rle.encode(np.zeros(SIZE_HW, bool))))
    several = content(label(1, occluders=[2], flags=["x"]), label(2))
    assert read(unseen) == unseen["annotations"] and read(several) == several["annotations"]
    assert len(read(content(label(1, plausibility=float("nan"))))) == 1


@pytest.mark.parametrize("first", ["annotations", "images", "categories"])
def test_lists_may_come_in_any_order(read, first):
    whole = content(label(1), label(2))
    assert read({first: whole[first], **whole}) == whole["annotations"]


@pytest.mark.parametrize(
    "mask, reason",
    [
        (None, "expected compressed RLE with counts as text"),
        ([[0, 0, 9, 0, 9, 9]], "expected compressed RLE with counts as text"),
        ({"size": [*SIZE_HW], "counts": [4800]}, "expected compressed RLE with counts as text"),
        ({"size": [*SIZE_HW], "counts": "0"}, "got corrupt RLE: expected runs over 4800 pixels, got 0"),
        ({"size": [100_000, 100_000], "counts": "PV1"}, "got RLE of the wrong size"),
        ({"size": [*SIZE_HW], "counts": "\ud800é"}, "got corrupt RLE"),
        ({"counts": "PV1"}, "got RLE of the wrong size"),
    ],
)
def test_masks_that_are_none_are_refused(read, mask, reason):
    for key in ("segmentation", "visible_mask"):
        with pytest.raises(DataError, match=rf"labels.json: annotations\[0\].{key}: .*{reason}"):
            read(changed(**{key: mask}))
    if mask is not None:
        with pytest.raises(DataError, match=rf"annotations\[0\].amodalpl.completed: .*{reason}"):
            read(content(label(1, completed=mask)))


@pytest.mark.parametrize(
    "bad, reason",
    [
        ([], "expected a label file in JSON"),
        ({}, "images: expected a list"),
        (content(annotations={}), "annotations: expected a list"),
        (content(images={}), "images: expected a list"),
        (content(3), r"annotations\[0\]: expected an entry of a label file, found no id"),
        (content({"id": 1}), "found no image_id, category_id, segmentation"),
        (changed(id="1"), r"annotations\[0\].id: expected a whole number"),
        (changed(image_id=2), r"annotations\[0\].image_id: expected the id of an entry of the file, got 2"),
        (changed(category_id=2), r"annotations\[0\].category_id: expected the id of an entry"),
        (changed(amodalpl=[1]), r"annotations\[0\].amodalpl: expected what is noted of a label"),
        (changed(amodalpl={"flags": [1]}), r"annotations\[0\].amodalpl.flags: expected a list of str"),
        (changed(amodalpl={"occluders": "12"}), "amodalpl.occluders: expected a list of int, got '12'"),
        (changed(amodalpl={"uncertainty": 10**400}), "amodalpl.uncertainty: expected a number or null, got a huge"),
        (changed(amodalpl={"growth": "1"}), "amodalpl.growth: expected a number or null, got '1'"),
    ],
)
def test_entries_that_are_none_are_refused(read, bad, reason):
    with pytest.raises(DataError, match=f"labels.json: .*{reason}"):
        read(bad)


def test_place_of_an_entry_is_told_wherever_it_stands(read, monkeypatch):
    monkeypatch.setattr(label_file, "ENTRIES_AT_ONCE", 2)
    good = [label(n) for n in range(5)]
    with pytest.raises(DataError, match=r"annotations\[5\].id: expected an id of its own, got 1 again"):
        read(content(*good, label(1), label(0)))
    with pytest.raises(DataError, match=r"annotations\[5\].visible_mask: expected compressed RLE"):
        read(content(*good, {**label(7), "visible_mask": 3}))
    assert read(content(*good)) == good


def test_ids_at_both_ends_of_what_they_may_be(read):
    assert len(read(content(label(2**63 - 1), label(-(2**63)), label(0)))) == 3


ENTRY = {"image_id": 1, "pairs": [{"front": 1, "back": 2}], "mutual": [[1, 2]], "cycles": [[1, 2, 3]]}


@pytest.mark.parametrize(
    "given, entries",
    [({"rule": "contact", "images": [ENTRY]}, [ENTRY]), ({"images": [{"image_id": 1}]}, [{"image_id": 1}]), ({}, [])],
    ids=["an order", "of nothing", "empty"],
)
def test_orders_pass(tmp_path, given, entries):
    (tmp_path / "order.json").write_text(json.dumps(given))
    assert list(read_order(tmp_path / "order.json")) == entries


@pytest.mark.parametrize(
    "bad, reason",
    [
        ([], "expected the order of labels in JSON"),
        ({"images": 3}, "expected an object with a list of images, got 3"),
        ({"images": [3]}, r"images\[0\]: expected the order of a photo"),
        ({"images": [{"pairs": []}]}, r"images\[0\].image_id: expected a whole number"),
        ({"images": [ENTRY, {**ENTRY, "pairs": [[1, 2]]}]}, r"images\[1\].pairs: expected objects with front and back"),
        ({"images": [{**ENTRY, "pairs": [{"front": 1, "back": "2"}]}]}, r"images\[0\].pairs"),
        ({"images": [{**ENTRY, "cycles": [1]}]}, r"images\[0\].cycles: expected lists of ids"),
    ],
)
def test_orders_that_are_none_are_refused(tmp_path, bad, reason):
    (tmp_path / "order.json").write_text(json.dumps(bad))
    with pytest.raises(DataError, match=f"order.json: .*{reason}"):
        list(read_order(tmp_path / "order.json"))


VISIBLE, DRAWN, WHOLE = box(20, 10, 40, 28), box(20, 10, 40, 30), box(20, 10, 40, 40)
INSTANCE = Instance(7, 1, 1, rle.encode(DRAWN))


def entry(amodal=WHOLE, visible=VISIBLE, **changes):
    notes = {"occluders": [9], "uncertainty": 0.12345678, "plausibility": None, "flags": ["shared_pixels"], **changes}
    return label_entry(INSTANCE, boxed(amodal), boxed(visible), completer="asbu", drawn_px=int(DRAWN.sum()), **notes)


def coded(mask):
    return rle.to_json(rle.encode(mask))


def test_entry_with_features_and_an_occluder_map():
    notes = entry(features={"bay": 0.123456}, hidden_by={9: 200, None: 40})["amodalpl"]
    assert notes["features"] == {"bay": 0.1235}
    assert notes["hidden_by"] == [{"occluder": 9, "px": 200}, {"occluder": None, "px": 40}]


def test_entry_of_a_label():
    assert entry() == {
        "id": 7,
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "segmentation": coded(WHOLE),
        "bbox": [10, 20, 30, 20],
        "area": 600,
        "visible_mask": coded(VISIBLE),
        "visible_bbox": [10, 20, 18, 20],
        "occlude_rate": 0.4,
        "amodalpl": {
            "completer": "asbu",
            "occluders": [9],
            "uncertainty": 0.123457,
            "plausibility": None,
            "growth": 1.5,
            "added_px": 200,
            "flags": ["shared_pixels"],
        },
    }
    assert entry(plausibility=0.98765432)["amodalpl"]["plausibility"] == 0.987654


@pytest.mark.parametrize(
    ("verdict", "whole", "is_crowd", "rate"),
    [
        pytest.param("accept", WHOLE, 0, 0.4, id="accepted"),
        pytest.param("keep-modal", VISIBLE, 0, 0.0, id="kept modal"),
        pytest.param("reject", VISIBLE, 1, 0.0, id="rejected"),
    ],
)
def test_entry_of_a_decision_and_back(verdict, whole, is_crowd, rate):
    decided = decided_entry(entry(), verdict)
    assert list(decided) == list(entry())
    assert (decided["segmentation"], decided["iscrowd"], decided["occlude_rate"]) == (coded(whole), is_crowd, rate)
    assert (decided["area"], decided["bbox"]) == (whole.sum(), list(rle.box_xywh(rle.encode(whole))))
    assert decided["amodalpl"]["decision"] == verdict
    assert decided["amodalpl"].get("completed") == (None if whole is WHOLE else coded(WHOLE))
    assert decided_entry(decided, "accept") == decided_entry(entry(), "accept")
    assert decided_entry(decided, None) == entry()


def test_a_label_of_which_nothing_is_visible_keeps_its_mask_whatever_is_decided():
    hidden = entry(DRAWN, VISIBLE & False)
    assert hidden["occlude_rate"] == 1
    for verdict in ("accept", "reject", "keep-modal"):
        assert decided_entry(hidden, verdict)["segmentation"] == coded(DRAWN)


def test_entry_of_an_order():
    found = order_entry(
        3, [70, 80, 90], [(0, 1, 12.0, 0.12345678, None), (2, 0, 3, 1.0, 0.912345)], [(0, 2)], [[0, 1, 2]]
    )
    assert found == {
        "image_id": 3,
        "pairs": [
            {"front": 70, "back": 80, "evidence_px": 12.0, "score": 0.123457},
            {"front": 90, "back": 70, "evidence_px": 3, "score": 1.0, "chance": 0.9123},
        ],
        "mutual": [[70, 90]],
        "cycles": [[70, 80, 90]],
    }


def test_line_of_a_doubt():
    levels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    line = doubt_entry(7, UncertaintyMap((5, 6, 40, 30), levels))
    assert (line["id"], line["box"]) == (7, [5, 6, 40, 30])
    png = cv2.imdecode(np.frombuffer(base64.b64decode(line["png"]), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(png, levels)


def test_a_file_carries_over_what_stood_around_the_annotations(tmp_path):
    data = AnnotationSet(
        [ImageRecord(1, "a.png", SIZE_HW, {"id": 1, "file_name": "a.png", "license": 3})],
        [INSTANCE],
        [{"id": 1, "name": "cup", "weight": float("nan")}],
        raw={"info": {"year": 2026}, "licenses": []},
    )
    path = tmp_path / "labels.json"
    write_label_file(path, data, iter([entry()]))
    written = json.loads(path.read_text(encoding="utf-8"))
    assert list(written) == ["info", "licenses", "images", "annotations", "categories"]
    assert written["images"] == [{"id": 1, "file_name": "a.png", "license": 3, "height": 60, "width": 80}]
    assert written["categories"] == [{"id": 1, "name": "cup", "weight": None}]
    images, categories = read_label_head(path)
    assert list(read_labels(path, images, categories)) == [entry()]
