"""Label files and orders of strangers, entry by entry: refused with a place before pycocotools sees them."""

import json

import numpy as np
import pytest
from drawn_labels import SIZE_HW, label

from amodalpl.data import label_file
from amodalpl.data.label_file import read_label_head, read_labels, read_order
from amodalpl.errors import DataError
from amodalpl.masks import rle


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
    monkeypatch.setattr(label_file, "_AT_ONCE", 2)
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
