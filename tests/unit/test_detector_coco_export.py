from pathlib import Path

import numpy as np
import pytest

from amodalpl.data.records import AnnotationSet, Dropped, ImageRecord, Instance, Mask
from amodalpl.detector.data import coco_export as data
from amodalpl.errors import DataError
from amodalpl.io.files import write_json
from amodalpl.masks import rle
from amodalpl.metrics.detection import LEFT_OUT


def square(x, side=8, size=(20, 30)):
    frame = np.zeros(size, dtype=bool)
    frame[2 : 2 + side, x : x + side] = True
    return rle.encode(frame)


def records(instances, images=4, categories=((1, "cup"), (7, "plate")), dropped=()):
    return AnnotationSet(
        path=Path("labels.json"),
        format="d2sa",
        images=[ImageRecord(i, f"{i}.png", (20, 30), {"id": i}) for i in range(1, images + 1)],
        instances=instances,
        categories=[{"id": i, "name": n} for i, n in categories],
        dropped=list(dropped),
    )


def instance(identity, image=1, category=1, modal=None, amodal=None, **more):
    return Instance(identity, image, category, modal and Mask(rle=modal), amodal and Mask(rle=amodal), **more)


def test_amodal_mask_gives_segmentation_box_and_area():
    labels = records([instance(5, category=7, modal=square(2, side=4), amodal=square(2))])
    truth = data.to_coco(labels, data.categories(labels, False))
    (entry,) = truth.coco["annotations"]
    assert (entry["id"], entry["category_id"]) == (5, 7)
    assert entry["bbox"] == [2, 2, 8, 8] and entry["area"] == 64
    assert isinstance(entry["segmentation"]["counts"], str)
    assert truth.class_names == ("cup", "plate")


def test_everything_left_out_is_counted():
    labels = records(
        [
            instance(1, modal=square(2)),
            instance(2, category=99, modal=square(2)),
            instance(3, modal=rle.encode(np.zeros((20, 30), bool))),
            instance(4, image=2),
            instance(5, image=3, modal=square(2), is_crowd=True),
        ],
        dropped=[
            Dropped("annotations[9]", 9, 1, "no mask: got boxes only"),
            Dropped("x", 8, 4, "RLE of the wrong size"),
        ],
    )
    truth = data.to_coco(labels, data.categories(labels, False))
    assert truth.left_out == {
        "category unknown": 1,
        "empty mask": 1,
        "no mask": 2,
        "RLE of the wrong size": 1,
        "image without instances": 3,
    }
    assert truth.counts["images"] == truth.counts["instances"] == 1
    part = data.to_coco(labels, data.categories(labels, False), images={1})
    assert part.left_out == {"category unknown": 1, "empty mask": 1, "no mask": 1}


def test_class_agnostic_maps_all_to_object():
    labels = records([instance(1, modal=square(2)), instance(2, category=99, modal=square(9))])
    truth = data.to_coco(labels, data.categories(labels, True))
    assert truth.class_names == ("object",)
    assert [a["category_id"] for a in truth.coco["annotations"]] == [1, 1]


@pytest.mark.parametrize(
    ("counts", "agnostic", "said"),
    [
        pytest.param([24, 20, 31], False, "3 classes: 3 of 3 classes have 20 objects or more, 100%", id="three fruits"),
        pytest.param([60, 19], True, "one class, object: 1 of 2 classes have 20 objects or more, 76%", id="a tail"),
        pytest.param([180, 3, 17], False, "3 classes: 1 of 3 classes have 20 objects or more, 90%", id="a short tail"),
        pytest.param([0, 20, 31], False, "3 classes: 2 of 3 classes have 20 objects or more", id="an empty class"),
        pytest.param([], True, "one class, object: 0 of 0", id="nothing"),
    ],
)
def test_classes_are_kept_where_they_have_enough_objects(counts, agnostic, said):
    of_class = [category for category, count in enumerate(counts, 1) for _ in range(count)]
    crowds = [instance(900 + k, category=2, modal=square(2), is_crowd=True) for k in range(50)]
    things = [instance(k, category=category, modal=square(2)) for k, category in enumerate(of_class, 1)]
    labels = records([*things, *crowds], categories=[(k, f"c{k}") for k in range(1, len(counts) + 1)])
    found, line = data.choose_agnostic(labels)
    assert found is agnostic and f"the detector learns {said}" in line
    assert f"--set detector.class_agnostic={str(not agnostic).lower()} chooses otherwise" in line


def test_repeated_category_names_stay_apart():
    labels = records([], categories=((1, "cup"), (2, "cup"), (3, "plate")))
    assert [c["name"] for c in data.categories(labels, False)] == ["cup (1)", "cup (2)", "plate"]


def test_categories_of_the_validation_are_found_by_name():
    labels = records([], categories=((1, "cup"), (7, "plate")))
    truth = records([instance(1, category=3, amodal=square(2)), instance(2, category=4, amodal=square(9))],
                    categories=((3, "plate"), (4, "fork")))  # fmt: skip
    scored = data.to_coco(truth, data.categories(labels, False), amodal_only=True, keep_empty=True)
    assert [a["category_id"] for a in scored.coco["annotations"]] == [7]
    assert scored.left_out == {"category unknown": 1}
    assert len(scored.coco["images"]) == 4  # empty photos are scored: what is found there is false


def test_scoring_needs_amodal_masks():
    labels = records([instance(1, modal=square(2))])
    with pytest.raises(DataError, match="labels.json: expected amodal masks to score against"):
        data.to_coco(labels, data.categories(labels, False), amodal_only=True)


def test_objects_whose_whole_mask_nobody_knows_are_neither_to_be_found_nor_wrong_to_be_found():
    crowd = instance(3, modal=square(20), is_crowd=True)
    truth = records([instance(1, amodal=square(2)), instance(2, modal=square(9)), crowd])
    scored = data.to_coco(truth, data.categories(truth, False), amodal_only=True, with_visible=True)
    whole, visible, region = scored.coco["annotations"]
    assert LEFT_OUT not in whole and visible[LEFT_OUT] and visible["visible_mask"] == visible["segmentation"]
    assert region["iscrowd"] == 1 and LEFT_OUT not in region
    assert scored.left_out == {"no whole mask": 1, "image without instances": 3}


def test_split_is_seeded_disjoint_and_leaves_no_side_empty():
    labels = records([instance(i, image=i, modal=square(2)) for i in range(1, 11)], images=12)
    learn, hold = data.split_images(labels, 0.3, seed=1)
    assert len(hold) == 3 and len(learn) == 7 and not learn & hold and learn | hold == set(range(1, 11))
    assert data.split_images(labels, 0.3, seed=1) == (learn, hold)
    assert any(data.split_images(labels, 0.3, seed=s) != (learn, hold) for s in range(2, 6))
    assert [len(side) for side in data.split_images(labels, 0.999, seed=1)] == [1, 9]
    with pytest.raises(DataError, match="expected at least 2 photos with instances .* got 1"):
        data.split_images(records([instance(1, modal=square(2))]), 0.5, seed=0)


def test_no_categories():
    with pytest.raises(DataError, match="labels.json: categories: expected at least one, got none"):
        data.categories(records([], categories=()), False)


def test_visible_masks_stand_beside_amodal_ones_when_asked_for():
    labels = records([instance(1, modal=square(2, side=4), amodal=square(2)), instance(2, modal=square(15))])
    classes = data.categories(labels, False)
    first, second = data.to_coco(labels, classes, with_visible=True).coco["annotations"]
    assert first["visible_mask"] == rle.to_json(square(2, side=4)) and "visible_mask" not in second
    assert not any("visible_mask" in a for a in data.to_coco(labels, classes).coco["annotations"])


def test_photos_without_any_annotation_are_background(tmp_path):
    """Photo 1 has an object; of 3 the reader left one out, of 4 the labelling did; so 2 and 5 are empty."""
    labels = records([instance(1, modal=square(2))], images=5, dropped=[Dropped("x", 8, 3, "RLE of the wrong size")])
    labels.path = tmp_path / "pseudo_amodal.json"
    write_json(tmp_path / "stats.json", {"left_out": [{"annotation_id": 9, "image_id": 4, "reason": "crowd region"}]})
    assert data.background_photos(labels) == {2, 5}
    wanted = data.categories(labels, False)
    with_them = data.to_coco(labels, wanted, background=data.background_photos(labels))
    assert [entry["id"] for entry in with_them.coco["images"]] == [1, 2, 5]
    assert with_them.left_out["image without instances"] == 2
    assert [entry["id"] for entry in data.to_coco(labels, wanted).coco["images"]] == [1]


def test_background_photos_are_divided_apart_from_the_others():
    labels = records([instance(i, image=i, modal=square(2)) for i in range(1, 11)], images=20)
    learn, hold = data.split_images(labels, 0.3, seed=1)
    background = set(range(11, 21))
    learn_all, hold_all = data.split_images(labels, 0.3, seed=1, background=background)
    assert (learn_all - background, hold_all - background) == (learn, hold)
    assert len(hold_all & background) == 3 and learn_all | hold_all == set(range(1, 21))
