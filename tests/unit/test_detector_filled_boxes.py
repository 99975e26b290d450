"""Boxes of masks and stated boxes as filled boxes, and both boxes through MMDetection's transforms."""

import json

import numpy as np
import pytest

from amodalpl.data.read import read_annotations
from amodalpl.data.records import AnnotationSet, ImageRecord, Instance, Mask
from amodalpl.detector.data.filled_boxes import filled_boxes, with_whole_boxes
from amodalpl.errors import DataError
from amodalpl.masks import rle

SIZE_HW = (20, 30)


def ell(x, y):
    """A mask of 5 pixels, whose box is 3 x 3."""
    frame = np.zeros(SIZE_HW, bool)
    frame[y : y + 3, x] = frame[y + 2, x : x + 3] = True
    return Mask(rle=rle.encode(frame))


def records(*instances):
    return AnnotationSet([ImageRecord(1, "a.png", SIZE_HW)], list(instances), [{"id": 1, "name": "cup"}])


def box(mask):
    assert rle.area_px(mask) == np.prod(rle.box_xywh(mask)[2:])  # it is filled
    return tuple(rle.box_xywh(mask))


def test_boxes_of_masks():
    both, visible = filled_boxes(
        records(Instance(1, 1, 1, ell(4, 5), ell(3, 5)), Instance(2, 1, 1, ell(9, 9))), "masks"
    ).instances
    assert (box(both.modal), box(both.amodal)) == ((4, 5, 3, 3), (3, 5, 3, 3))
    assert box(visible.modal) == (9, 9, 3, 3) and visible.amodal is None


def test_stated_boxes_do_not_look_at_masks():
    stated = Instance(1, 1, 1, ell(4, 5), modal_box_xywh=(1.4, 2.6, 3, 4), amodal_box_xywh=(-2, 1, 9, 50))
    (found,) = filled_boxes(records(stated), "file").instances
    assert (box(found.modal), box(found.amodal)) == ((1, 3, 3, 4), (0, 1, 7, 19))


def test_a_sliver_has_a_pixel():
    (found,) = filled_boxes(records(Instance(1, 1, 1, None, modal_box_xywh=(29.6, 3.1, 0.2, 0.2))), "file").instances
    assert box(found.modal) == (29, 3, 1, 1)


def test_objects_without_a_box_are_dropped_with_a_reason():
    found = filled_boxes(records(Instance(7, 1, 1, ell(4, 5))), "file")
    assert not found.instances
    assert [(entry.annotation_id, entry.reason) for entry in found.dropped] == [(7, "no box")]


def test_a_file_of_boxes_is_read(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 5, 6], "amodal_bbox": [2, 3, 9, 6]},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [2, 3, 5, 0]},
        ],
    }
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    found = filled_boxes(read_annotations(path, boxes=True), "file")
    assert [(box(i.modal), box(i.amodal)) for i in found.instances] == [((2, 3, 5, 6), (2, 3, 9, 6))]
    assert found.dropped[0].reason.startswith("empty box")


def test_both_boxes_stay_boxes_through_resizing_and_flipping():
    pytest.importorskip("mmdet")
    from mmengine.registry import DefaultScope

    from amodalpl.detector import mmdet_registry as _mmdet_registry  # noqa: F401
    from amodalpl.detector.data.paired_masks import VISIBLE
    from amodalpl.detector.mmdetection import TRANSFORMS

    whole = Instance(1, 1, 1, None, modal_box_xywh=(4, 6, 8, 4), amodal_box_xywh=(4, 2, 20, 10))
    (found,) = filled_boxes(records(whole), "file").instances
    results = {
        "img": np.zeros((*SIZE_HW, 3), np.uint8), "img_shape": SIZE_HW, "ori_shape": SIZE_HW,
        "height": 20, "width": 30, "img_path": "a.png", "img_id": 1,
        "instances": [
            {
                "bbox": [4, 2, 24, 12], "bbox_label": 0, "ignore_flag": 0, "mask": rle.to_json(found.amodal),
                "visible_mask": rle.to_json(found.modal),
            }
        ],
    }  # fmt: skip
    with DefaultScope.overwrite_default_scope("mmdet"):
        for transform in (
            {"type": "LoadPairedMasks", "with_bbox": True, "with_mask": True},
            {"type": "Resize", "scale": (60, 40), "keep_ratio": True},
            {"type": "RandomFlip", "prob": 1.0},
        ):
            results = TRANSFORMS.build(transform)(results)
    masks = results["gt_masks"]
    assert results["gt_bboxes"].tensor.tolist() == [[12, 4, 52, 24]]
    assert masks.get_bboxes("hbox").tensor.tolist() == [[12, 4, 52, 24]]
    assert masks.companions[VISIBLE].get_bboxes("hbox").tensor.tolist() == [[36, 12, 52, 20]]


def visible_boxes(*boxes, photo="a.png"):
    """Objects of one photo whose visible boxes alone are known."""
    instances = [Instance(n, 1, 1, None, modal_box_xywh=box) for n, box in enumerate(boxes, start=1)]
    return filled_boxes(AnnotationSet([ImageRecord(1, photo, SIZE_HW)], instances, [{"id": 1, "name": "cup"}]), "file")


def test_whole_boxes_of_an_earlier_label_hold_the_visible_ones():
    labels = records(Instance(2, 1, 1, ell(9, 9), ell(9, 9)), Instance(1, 1, 1, ell(4, 5), ell(6, 5)))
    first, second, third = with_whole_boxes(visible_boxes((4, 5, 3, 3), (9, 9, 3, 2), (20, 1, 2, 2)), labels).instances
    assert (box(first.modal), box(first.amodal)) == ((4, 5, 3, 3), (4, 5, 5, 3))  # from 4 to 9, where the label ends
    assert (box(second.modal), box(second.amodal)) == ((9, 9, 3, 2), (9, 9, 3, 3))
    assert third.amodal is None  # no label


def test_a_whole_box_that_is_known_stays():
    known = filled_boxes(records(Instance(1, 1, 1, ell(4, 5), ell(3, 5))), "masks")
    (found,) = with_whole_boxes(known, records(Instance(1, 1, 1, ell(4, 5), ell(9, 9)))).instances
    assert box(found.amodal) == (3, 5, 3, 3)


def test_labels_of_other_annotations_are_refused():
    labels = records(Instance(1, 1, 1, ell(4, 5), ell(6, 5)))
    with pytest.raises(DataError, match="annotation 1: expected the photo b.png as in .*, got a.png; give labels that"):
        with_whole_boxes(visible_boxes((4, 5, 3, 3), photo="b.png"), labels)
    with pytest.raises(DataError, match="got none with the same annotation id"):
        with_whole_boxes(visible_boxes((4, 5, 3, 3)), records(Instance(7, 1, 1, ell(4, 5), ell(6, 5))))
