import json

import numpy as np
import pytest

from amodalpl.errors import DataError, OutputError
from amodalpl.evaluation.completion import evaluate_completion
from amodalpl.evaluation.order import evaluate_order
from amodalpl.masks import rle
from amodalpl.metrics.per_object import GIVEN, PREDICTED

MICRO = "completion, micro (PCNet/ASBU): all"
MEANS = "completion, per-instance means: all"
O_ACC = "order, O-Acc (PCNet/ASBU)"
DIRECTED = "order, directed pairs (InstaOrder)"
SIZE_HW = (20, 30)


def box(top, left, bottom, right, size_hw=SIZE_HW):
    mask = np.zeros(size_hw, bool)
    mask[top:bottom, left:right] = True
    return mask


FRONT = box(0, 0, 10, 8)
BACK = box(0, 3, 10, 15)  # 50 of its 120 pixels are behind FRONT
ALONE = box(15, 20, 20, 25)


def annotation(id, amodal=None, modal=None, image_id=1, **more):
    """Write an entry as D2SA does: `segmentation` is the amodal mask; without one it is plain COCO."""
    whole = modal if amodal is None else amodal
    entry = {"id": id, "image_id": image_id, "category_id": 1, "iscrowd": 0, **more}
    entry["segmentation"] = rle.to_json(rle.encode(whole))
    entry["bbox"], entry["area"] = list(rle.box_xywh(rle.encode(whole))), int(whole.sum())
    if modal is not None and amodal is not None:
        entry["visible_mask"] = rle.to_json(rle.encode(modal))
    return entry


def write(folder, name, annotations, size_hw=SIZE_HW):
    images = sorted({a["image_id"] for a in annotations})
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": size_hw[0], "width": size_hw[1]} for i in images],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "thing"}],
    }
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def truth(tmp_path):
    scene = [annotation(11, FRONT, FRONT), annotation(12, BACK, BACK & ~FRONT), annotation(13, ALONE, ALONE)]
    return write(tmp_path, "truth.json", scene)


def test_half_completed_label_by_hand(tmp_path, truth):
    guess = box(0, 6, 10, 15)  # 20 of the 50 hidden pixels
    labels = write(
        tmp_path,
        "labels.json",
        [annotation(11, FRONT, FRONT), annotation(12, guess, BACK & ~FRONT), annotation(13, ALONE, ALONE)],
    )
    summary = evaluate_completion(truth, labels)
    rows = summary.scores[MICRO]
    total = 80 + 120 + 25
    assert list(rows) == ["modal mask", "convex hull", "labels"]
    assert rows["labels"]["miou"] == pytest.approx((total - 30) / total)
    assert rows["labels"]["invisible_miou"] == pytest.approx(20 / 50)
    assert rows["modal mask"]["miou"] == pytest.approx((total - 50) / total)
    assert rows["modal mask"]["invisible_miou"] == 0.0
    assert summary.scores[MEANS]["labels"]["iou"] == pytest.approx((1 + 90 / 120 + 1) / 3)
    assert summary.scores["completion, micro (PCNet/ASBU): occluded"]["labels"]["miou"] == pytest.approx(90 / 120)
    assert summary.counts["matched"] == 3
    assert summary.counts["occluded"] == 1


def test_truth_against_itself_is_perfect(truth):
    scores = evaluate_completion(truth, truth).scores
    assert scores[MICRO]["labels"]["miou"] == scores[MICRO]["labels"]["invisible_miou"] == 1.0
    assert scores[MEANS]["labels"]["iou"] == 1.0


def test_hull_row_grows_behind_neighbours_only(tmp_path):
    """The hull of a U is its filling; the neighbour fills it, and nothing else does."""
    u, filler = box(0, 0, 10, 10) & ~box(0, 3, 7, 7), box(0, 3, 7, 7)
    far = [annotation(1, box(0, 0, 10, 10), u), annotation(2, ALONE, ALONE)]
    near = [annotation(1, box(0, 0, 10, 10), u), annotation(2, filler, filler)]
    for name, scene, expected in (("far", far, 0.0), ("near", near, 1.0)):
        path = write(tmp_path, f"{name}.json", scene)
        assert evaluate_completion(path, path).scores[MICRO]["convex hull"]["invisible_miou"] == expected


def test_plain_coco_labels_count_as_amodal(tmp_path, truth):
    labels = write(tmp_path, "plain.json", [annotation(i, modal=m) for i, m in ((11, FRONT), (12, BACK), (13, ALONE))])
    assert evaluate_completion(truth, labels).scores[MICRO]["labels"]["miou"] == 1.0


def test_label_folder_stands_for_its_label_file(tmp_path, truth):
    write(tmp_path, "run/pseudo_amodal.json", json.loads(truth.read_text())["annotations"])
    assert evaluate_completion(truth, tmp_path / "run").scores[MICRO]["labels"]["miou"] == 1.0


def test_unmatched_annotations_are_counted_and_named(tmp_path, truth):
    labels = write(tmp_path, "labels.json", [annotation(12, BACK, BACK & ~FRONT), annotation(99, ALONE, ALONE)])
    counts = evaluate_completion(truth, labels).counts
    assert counts["matched"] == 1
    assert (counts["missing_in_labels"], counts["missing_in_labels_ids"]) == (2, [11, 13])
    assert (counts["only_in_labels"], counts["only_in_labels_ids"]) == (1, [99])  # the truth knows the photo
    assert counts["missing_in_truth"] == 0


def test_what_is_in_the_label_file_is_not_called_missing(tmp_path, truth):
    """A region to ignore, a mask that cannot be read, another photo; and an object of a photo that truth has not."""
    content = json.loads(truth.read_text())
    content["images"] += [{"id": 2, "file_name": "other.png", "height": 20, "width": 30}]
    truth_again = json.loads(truth.read_text())
    rejected, unreadable, moved = content["annotations"]
    rejected["iscrowd"] = 1
    unreadable["segmentation"] = {"size": [20, 30], "counts": "broken"}
    moved["image_id"] = 2
    content["annotations"] += [annotation(21, ALONE, ALONE, image_id=2), {**truth_again["annotations"][0], "id": 31}]
    truth_again["annotations"].append(annotation(31, FRONT, FRONT))
    (tmp_path / "labels.json").write_text(json.dumps(content))
    (tmp_path / "truth.json").write_text(json.dumps(truth_again))
    counts = evaluate_completion(tmp_path / "truth.json", tmp_path / "labels.json").counts
    assert counts["rejected_in_labels_ids"] == [11] and counts["not_readable_in_labels_ids"] == [12]
    assert counts["of_another_photo_in_labels_ids"] == [13] and counts["missing_in_truth_ids"] == [21]
    assert counts["matched"] == 1 and counts["missing_in_labels"] == 0 and "only_in_labels" not in counts


def test_stuff_is_a_subset_of_its_own(tmp_path):
    path = write(tmp_path, "t.json", [annotation(1, BACK, BACK & ~FRONT), annotation(2, FRONT, FRONT, isStuff=1)])
    both = evaluate_completion(path, path)
    assert both.scores["completion, micro (PCNet/ASBU): things"]["labels"]["instances"] == 1
    assert both.scores[MICRO]["labels"]["instances"] == 2
    things = evaluate_completion(path, path, things_only=True)
    assert things.counts["stuff_left_out"] == 1
    assert set(things.scores["completion, micro (PCNet/ASBU): things"]) == {"modal mask", "convex hull", "labels"}
    assert MICRO not in things.scores


def test_crowd_takes_no_part(tmp_path):
    path = write(tmp_path, "t.json", [annotation(1, BACK, BACK & ~FRONT), annotation(2, ALONE, ALONE, iscrowd=1)])
    counts = evaluate_completion(path, path).counts
    assert (counts["matched"], counts["crowd_left_out"]) == (1, 1)


def test_modal_masks_only_are_no_truth(tmp_path, truth):
    plain, none = write(tmp_path, "plain.json", [annotation(11, modal=FRONT)]), tmp_path / "none.json"
    none.write_text(json.dumps({**json.loads(plain.read_text()), "annotations": []}))
    for evaluate in (evaluate_completion, evaluate_order):
        with pytest.raises(DataError, match=r"plain.json: expected true amodal masks .* got modal masks only"):
            evaluate(plain, truth)
        with pytest.raises(DataError, match=r"none.json: expected objects to score against, got none in"):
            evaluate(none, truth)


def test_no_common_ids(tmp_path, truth):
    labels = write(tmp_path, "labels.json", [annotation(5, FRONT, FRONT)])
    with pytest.raises(DataError, match=r"labels.json: expected annotations with the ids of .*3 of 3 are not in it"):
        evaluate_completion(truth, labels)
    with pytest.raises(DataError, match=r"labels.json: expected the image and annotation ids of"):
        evaluate_order(truth, labels)


def test_masks_of_other_sizes(tmp_path, truth):
    small = [annotation(11, box(0, 0, 5, 5, (10, 15)), box(0, 0, 5, 5, (10, 15)))]
    labels = write(tmp_path, "labels.json", small, size_hw=(10, 15))
    with pytest.raises(DataError, match=r"labels.json: annotation 11: .* expected 20x30 .* got 10x15"):
        evaluate_completion(truth, labels)
    with pytest.raises(DataError, match=r"labels.json: annotation 11: expected a mask of \(20, 30\)"):
        evaluate_order(truth, labels)


def test_scores_are_written_with_their_inputs(tmp_path, truth):
    summary = evaluate_completion(truth, truth, out=tmp_path / "new" / "scores")
    written = json.loads(summary.files["scores"].read_text())
    assert summary.files["scores"].name == "evaluation.json"
    assert written["scores"] == summary.scores
    assert written["inputs"]["truth"]["sha256"] == written["inputs"]["labels"]["sha256"]
    assert sorted(p.name for p in (tmp_path / "new" / "scores").iterdir()) == ["evaluation.json"]


def test_out_must_be_a_folder(tmp_path, truth):
    with pytest.raises(OutputError, match="truth.json: expected a folder to write to"):
        evaluate_completion(truth, truth, out=truth)


def write_order(folder, pairs, image_id=1):
    content = {
        "images": [
            {
                "image_id": image_id,
                "pairs": [{"front": f, "back": b, "evidence_px": px} for f, b, px in pairs],
                "cycles": [],
            }
        ],
        "rule": "inside",
    }
    folder.mkdir(exist_ok=True)
    (folder / "order.json").write_text(json.dumps(content))
    return folder / "order.json"


@pytest.mark.parametrize("given", ["order file", "folder", "label file"])
def test_recovered_order_is_found_from_each_path(tmp_path, truth, given):
    order = write_order(tmp_path / "run", [(11, 12, 40)])
    label_file = write(tmp_path, "run/pseudo_amodal.json", json.loads(truth.read_text())["annotations"])
    summary = evaluate_order(truth, {"order file": order, "folder": order.parent, "label file": label_file}[given])
    assert summary.scores[O_ACC]["labels"] == {"pairs": 1, "accuracy": 1.0, "accuracy_all_pairs": 1.0}
    assert summary.scores[DIRECTED]["labels"]["f1"] == 1.0
    assert summary.counts["order_from"] == "order.json"


def test_reversed_order_is_wrong_beside_the_rules(tmp_path, truth):
    scores = evaluate_order(truth, write_order(tmp_path / "run", [(12, 11, 40)])).scores
    assert scores[O_ACC]["labels"]["accuracy"] == 0.0
    assert scores[O_ACC]["larger in front"]["accuracy"] == 1.0  # 80 visible pixels against 70
    assert scores[O_ACC]["smaller in front"]["accuracy"] == 0.0
    assert scores[O_ACC]["labels"]["accuracy_all_pairs"] == pytest.approx(2 / 3)
    assert scores[DIRECTED]["labels"]["precision"] == 0.0


def test_mutual_prediction_is_forced_by_evidence(tmp_path, truth):
    scores = evaluate_order(truth, write_order(tmp_path / "run", [(11, 12, 40), (12, 11, 10)])).scores
    assert scores[O_ACC]["labels"]["accuracy"] == 1.0
    assert scores[DIRECTED]["labels"]["precision"] == 0.5


def test_order_of_masks_where_there_is_no_order_file(truth):
    summary = evaluate_order(truth, truth)
    assert summary.scores[O_ACC]["labels"]["accuracy"] == 1.0
    assert summary.counts["order_from"] == "amodal masks"


def test_order_of_plain_coco_labels(tmp_path, truth):
    labels = write(tmp_path, "plain.json", [annotation(i, modal=m) for i, m in ((11, FRONT), (12, BACK), (13, ALONE))])
    assert evaluate_order(truth, labels).scores[DIRECTED]["labels"]["f1"] == 1.0


def test_photos_without_order_are_counted(tmp_path, truth):
    scene = json.loads(truth.read_text())["annotations"] + [annotation(21, ALONE, ALONE, image_id=2)]
    summary = evaluate_order(
        write(tmp_path, "two.json", scene), write_order(tmp_path / "run", [(11, 12, 4)]), out=tmp_path / "out"
    )
    assert (summary.counts["photos"], summary.counts["photos_without_labels"]) == (1, 1)
    assert summary.files["scores"].name == "evaluation_order.json"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected an object with a list `images`"),
        ({"images": [{"image_id": 1}]}, r"images\[0\]: expected `image_id` and `pairs`.*KeyError"),
        ({"images": [{"image_id": 1, "pairs": [{"front": "a", "back": 2, "evidence_px": 1}]}]}, r"images\[0\].*Value"),
    ],
    ids=["a list", "no pairs", "id is no number"],
)
def test_bad_order_files(tmp_path, truth, content, message):
    path = tmp_path / "order.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        evaluate_order(truth, path)


def test_pairs_of_other_annotations_are_refused(tmp_path, truth):
    with pytest.raises(DataError, match=r"order.json: expected pairs of annotation ids of .* found none of 1"):
        evaluate_order(truth, write_order(tmp_path / "run", [(501, 502, 4)]))


def test_no_such_files(tmp_path, truth):
    for evaluate in (evaluate_completion, evaluate_order):
        with pytest.raises(DataError, match="nowhere.json: expected .* no such file"):
            evaluate(tmp_path / "nowhere.json", truth)
        with pytest.raises(DataError, match="nowhere.json: expected .* no such file"):
            evaluate(truth, tmp_path / "nowhere.json")


def cocoa(folder, depth):
    """COCOA as released: FRONT, BACK and ALONE of one photo, and the annotators' order of its regions."""

    def region(whole, visible):
        return {"segmentation": rle.to_json(rle.encode(whole)), "visible_mask": rle.to_json(rle.encode(visible))}

    regions = [region(FRONT, FRONT), region(BACK, BACK & ~FRONT), region(ALONE, ALONE)]
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": SIZE_HW[0], "width": SIZE_HW[1]}],
        "annotations": [{"image_id": 1, "regions": regions, "depth_constraint": depth}],
    }
    (folder / "cocoa.json").write_text(json.dumps(content))
    return folder / "cocoa.json"


def test_annotated_depth_is_a_protocol_of_its_own(tmp_path):
    """The annotators put region 2 in front of 1, against the masks, and 1 in front of 3, which masks do not tell."""
    path = cocoa(tmp_path, "2-1,1-3")
    order = write_order(tmp_path / "run", [(1, 2, 40), (1, 3, 5)])
    summary = evaluate_order(path, order)
    assert summary.scores["order, annotated depth (COCOA depth_constraint)"]["labels"] == {
        "accuracy": 0.5, "pairs": 2, "predicted": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5
    }  # fmt: skip
    assert summary.scores[O_ACC]["labels"]["accuracy"] == 1.0
    assert summary.counts["annotated_pairs"] == 2


def test_without_annotated_depth_there_is_no_such_protocol(tmp_path, truth):
    assert set(evaluate_order(truth, truth).scores) == {O_ACC, DIRECTED}


def test_macro_over_levels_by_hand(tmp_path, truth):
    """Two whole objects, and one of which 50 of 120 pixels are hidden: FG-3 of COCOA-cls, FG-2 of KINS."""
    labels = write(
        tmp_path,
        "labels.json",
        [annotation(11, FRONT, FRONT), annotation(12, box(0, 6, 10, 15), BACK & ~FRONT), annotation(13, ALONE, ALONE)],
    )
    scores = evaluate_completion(truth, labels).scores
    row = scores["completion, macro over occlusion levels (COCOA-cls bins): all"]["labels"]
    assert (row["FG-0"], row["FG-3"], row["mean"]) == (1.0, 0.75, 0.875)
    of_kins = evaluate_completion(truth, labels, levels="kins").scores
    assert of_kins["completion, macro over occlusion levels (KINS bins): all"]["labels"]["FG-2"] == 0.75
    assert scores["occlusion presence (Li and Malik): all"]["labels"]["unoccluded_ap"] == 1.0


def test_vehicles_of_some_height_are_a_subset_of_their_own(tmp_path):
    """Of three cars, one is 49 px high; a person of any height is no vehicle."""
    tall, low = box(0, 0, 50, 5, (60, 40)), box(0, 10, 49, 15, (60, 40))
    scene = [annotation(1, tall, tall), annotation(2, low, low), annotation(3, tall, tall, category_id=2)]
    path = write(tmp_path, "t.json", scene, size_hw=(60, 40))
    content = json.loads(path.read_text())
    content["categories"] = [{"id": 1, "name": "car"}, {"id": 2, "name": "pedestrian"}]
    path.write_text(json.dumps(content))
    scores = evaluate_completion(path, path, levels="kins").scores
    chosen = "completion, macro over occlusion levels (KINS bins): vehicles at least 50 px high"
    assert scores[chosen]["labels"]["instances"] == 1
    assert scores["completion, macro over occlusion levels (KINS bins): all"]["labels"]["instances"] == 3


def test_visible_masks_of_labels_are_compared_with_those_of_the_truth(tmp_path, truth):
    eroded = annotation(12, BACK, BACK & ~FRONT & box(0, 8, 5, 30))  # half of its 70 visible pixels
    labels = write(tmp_path, "labels.json", [annotation(11, FRONT, FRONT), eroded])
    assert evaluate_completion(truth, labels).counts["modal_iou_of_labels"] == 0.75


WIDE = box(0, 0, 10, 30)


@pytest.mark.parametrize(
    ("seen_columns", "given"),
    [([None, None], True), ([30, 30], True), ([29, 27], True), ([27, 27], True), ([24, 21], False)],
    ids=["masks without visible parts", "the truth's", "shared pixels gone", "nine tenths", "a detector's"],
)
def test_means_over_objects_are_those_of_what_was_given(tmp_path, seen_columns, given):
    """Visible masks like the truth's were given (ViTA-Seg); others were predicted with the whole ones (C2F-Seg)."""
    known = write(tmp_path, "known.json", [annotation(k, WIDE, WIDE, image_id=k) for k in (1, 2)])
    seen = [None if columns is None else box(0, 0, 10, columns) for columns in seen_columns]
    labels = [annotation(k, WIDE, modal, image_id=k) for k, modal in enumerate(seen, 1)]
    if seen_columns[0] is None:
        labels = [annotation(k, modal=WIDE, image_id=k) for k in (1, 2)]
    scores = evaluate_completion(known, write(tmp_path, "labels.json", labels)).scores
    assert (f"{GIVEN}: all" in scores, f"{PREDICTED}: all" in scores) == (given, not given)


def test_unknown_levels_are_refused(truth):
    with pytest.raises(DataError, match="levels: expected a known set, got 'cocoa'"):
        evaluate_completion(truth, truth, levels="cocoa")
