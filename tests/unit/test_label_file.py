"""Label files, orders and detections of strangers: refused with a place before pycocotools sees them."""

from pathlib import Path

import numpy as np
import pytest
from drawn_labels import SIZE_HW, label

from amodalpl.errors import DataError
from amodalpl.formats.detections import check_results
from amodalpl.formats.label_file import check_hold_out, check_label_file, check_order, check_stats
from amodalpl.masks import rle

PATH = Path("labels.json")


def content(*annotations, **more):
    image = {"id": 1, "file_name": "a.png", "height": SIZE_HW[0], "width": SIZE_HW[1]}
    return {"images": [image], "categories": [{"id": 1, "name": "cup"}], "annotations": list(annotations), **more}


def changed(**changes):
    return content({**label(1), **changes})


def test_label_files_pass():
    check_label_file(PATH, content())
    nothing_seen = rle.to_json(rle.encode(np.zeros(SIZE_HW, bool)))
    check_label_file(PATH, content(label(1, occluders=[2], flags=["x"], plausibility=float("nan")), label(2)))
    check_label_file(PATH, changed(visible_mask=nothing_seen))


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
def test_masks_that_are_none_are_refused(mask, reason):
    for key in ("segmentation", "visible_mask"):
        with pytest.raises(DataError, match=rf"labels.json: annotations\[0\].{key}: .*{reason}"):
            check_label_file(PATH, changed(**{key: mask}))
    if mask is not None:
        with pytest.raises(DataError, match=rf"annotations\[0\].amodalpl.completed: .*{reason}"):
            check_label_file(PATH, content(label(1, completed=mask)))


@pytest.mark.parametrize(
    "bad, reason",
    [
        ([], "images: expected a list"),
        (content(annotations={}), "annotations: expected a list"),
        (content(3), r"annotations\[0\]: expected an entry of a label file, found no id"),
        (content({"id": 1}), "found no image_id, category_id, segmentation"),
        (changed(id="1"), r"annotations\[0\].id: expected a whole number"),
        (changed(image_id=2), r"annotations\[0\].image_id: expected the id of an entry of the file, got 2"),
        (changed(category_id=2), r"annotations\[0\].category_id: expected the id of an entry"),
        (content(label(1), label(1)), r"annotations\[1\].id: expected an id of its own, got 1 again"),
        (changed(amodalpl=[1]), r"annotations\[0\].amodalpl: expected what is noted of a label"),
        (changed(amodalpl={"flags": [1]}), "amodalpl.flags: expected a list of str"),
        (changed(amodalpl={"occluders": "12"}), "amodalpl.occluders: expected a list of int, got '12'"),
        (changed(amodalpl={"uncertainty": 10**400}), "amodalpl.uncertainty: expected a number or null, got a huge"),
        (changed(amodalpl={"growth": "1"}), "amodalpl.growth: expected a number or null, got '1'"),
    ],
)
def test_entries_that_are_none_are_refused(bad, reason):
    with pytest.raises(DataError, match=f"labels.json: .*{reason}"):
        check_label_file(PATH, bad)


def test_orders():
    entry = {"image_id": 1, "pairs": [{"front": 1, "back": 2}], "mutual": [[1, 2]], "cycles": [[1, 2, 3]]}
    assert check_order(PATH, {"rule": "contact", "images": [entry]}) == {1: entry}
    assert check_order(PATH, {}) == {}
    for bad, reason in (
        ([], "expected an object with a list of images"),
        ({"images": [3]}, r"images\[0\]: expected the order of a photo"),
        ({"images": [{"pairs": []}]}, r"images\[0\].image_id: expected a whole number"),
        ({"images": [{**entry, "pairs": [[1, 2]]}]}, r"images\[0\].pairs: expected objects with front and back"),
        ({"images": [{**entry, "pairs": [{"front": 1, "back": "2"}]}]}, r"images\[0\].pairs"),
        ({"images": [{**entry, "cycles": [1]}]}, r"images\[0\].cycles: expected lists of ids"),
    ):
        with pytest.raises(DataError, match=reason):
            check_order(PATH, bad)


def test_counts():
    assert check_stats(PATH, {}) == {} and check_stats(PATH, {"counts": {"left out": {"a": 1}}})
    for bad in ([], {"counts": []}, {"counts": {"left out": 3}}):
        with pytest.raises(DataError, match="labels.json: expected an object with counts"):
            check_stats(PATH, bad)


METRICS = {"scores": {"a": {"b": {"mIoU": 0.5}}}, "reliability": {"labels": {"stated": [0, 1], "seen": [0.1, 0.9]}}}
PROMISE = {"uncertainty_at_most": 0.2, "iou_above": 0.75, "share": 0.95}


@pytest.mark.parametrize(
    "metrics, card, reason",
    [
        ([], {}, "expected what `amodalpl complete` writes"),
        ({}, 3, "expected what `amodalpl complete` writes"),
        ({"scores": {"a": {"b": 3}}}, {}, "scores: expected tables"),
        ({"reliability": {"a": 3}}, {}, "expected curves"),
        ({"reliability": {"a": {"stated": [1], "seen": []}}}, {}, "expected a curve as two lists"),
        ({}, {"calibration": {"probability": ["a"], "belongs": [1]}}, "expected a curve as two lists"),
        ({}, {"promise": {"share": 1}}, "promise: expected shares"),
        ({}, {"promise": [1]}, "promise: expected shares"),
    ],
)
def test_what_a_report_cannot_show_of_a_hold_out(metrics, card, reason):
    check_hold_out(PATH, METRICS, {"promise": PROMISE, "calibration": {"probability": [0, 1], "belongs": [0, 1]}})
    check_hold_out(PATH, {}, {"promise": None})
    with pytest.raises(DataError, match=f"labels.json: .*{reason}"):
        check_hold_out(PATH, metrics, card)


RLE = label(1)["segmentation"]


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"score": float("nan")}, r"\[1\].score: expected a finite number"),
        ({"score": "0.5"}, r"\[1\].score: expected a finite number, got '0.5'"),
        ({"category_id": [1]}, r"\[1\].category_id: expected a whole number"),
        ({"bbox": [1, 2, 3]}, r"\[1\].bbox: expected x, y, width and height"),
        ({"bbox": [1, 2, 3, 10**400]}, r"\[1\].bbox: expected x, y, width and height"),
        ({"segmentation": [[1, 2, 3]]}, r"\[1\].segmentation: expected a compressed RLE"),
        (
            {"segmentation": {**RLE, "counts": "0"}},
            r"\[1\].segmentation: expected a mask of its photo, got corrupt RLE",
        ),
        ({"visible_mask": {**RLE, "size": [3, 4]}}, r"\[1\].visible_mask: expected a mask .* wrong size"),
    ],
)
def test_detections_that_cannot_be_scored(change, reason):
    good = {"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [1, 2, 3, 4], "segmentation": RLE}
    check_results(PATH, [good, {**good, "image_id": 99}, {}], {1: SIZE_HW})
    with pytest.raises(DataError, match=f"labels.json: {reason}"):
        check_results(PATH, [good, {**good, **change}], {1: SIZE_HW})
