import json

import pytest
from drawn_detections import annotation, detection, truth

from amodalpl.errors import DataError
from amodalpl.evaluation.detections import evaluate_detections

WHOLE, HALF_HIDDEN = (0, 0, 20, 20), (40, 0, 20, 20)
AP, VISIBLE = "COCO AP amodal (segm)", "COCO AP visible (segm)"
SCENE = truth(annotation(1, WHOLE, visible=WHOLE), annotation(2, HALF_HIDDEN, visible=(40, 0, 10, 20)))


def write(folder, name, content):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder / name


@pytest.fixture
def truth_file(tmp_path):
    return write(tmp_path, "truth.json", SCENE)


def exact(two_masks):
    boxes = ((WHOLE, WHOLE), (HALF_HIDDEN, (40, 0, 10, 20)))
    return [detection(whole, 0.9, visible=part if two_masks else None) for whole, part in boxes]


def test_one_mask_detector_gets_what_is_defined_for_it(tmp_path, truth_file):
    summary = evaluate_detections(truth_file, write(tmp_path, "found.json", exact(two_masks=False)))
    assert list(summary.scores) == [
        AP,
        "COCO AP amodal (bbox)",
        "AP(Occluded), less occluded truths ignored (segm)",
        "COCO AP amodal by occlusion level, COCOA-cls bins (segm)",
        "mAP^r, assigned by amodal boxes (Li and Malik)",
    ]
    values = [scores["detector"] for scores in summary.scores.values()]
    assert [v.get("AP", v.get("AP_15", v.get("mean", v.get("mAPr_50")))) for v in values] == [1] * 5
    assert (summary.counts["instances"], summary.counts["detections"]) == (2, 2)


def test_two_mask_detector_gets_visible_scores_too(tmp_path, truth_file):
    scores = evaluate_detections(truth_file, write(tmp_path, "found.json", exact(two_masks=True))).scores
    assert scores["COCO AP visible (segm)"]["detector"]["AP"] == 1
    assert scores["AP(Occluded), area overloaded, as published (VRSP) (segm)"]["detector"]["AP_40"] == 1
    assert scores["mAP^r, assigned by visible boxes (Li and Malik)"]["detector"]["mAPr_70"] == 1


def test_a_truth_of_visible_masks_scores_visible_masks_alone(tmp_path):
    plain = truth(annotation(1, WHOLE), annotation(2, (40, 0, 10, 20)))
    file = write(tmp_path, "plain.json", plain)
    summary = evaluate_detections(file, write(tmp_path, "found.json", exact(two_masks=True)))
    assert list(summary.scores) == [VISIBLE] and summary.scores[VISIBLE]["detector"]["AP"] == 1
    assert summary.counts["not_scored"] == ("AP of whole masks, boxes and occlusion: the truth has visible masks only")
    assert (summary.counts["instances"], summary.counts["left_out"]) == (2, {})
    with pytest.raises(DataError, match="plain.json: expected true amodal masks .* got modal masks only"):
        evaluate_detections(file, write(tmp_path, "one.json", exact(two_masks=False)))


def test_an_object_without_whole_mask_counts_in_visible_ap_alone(tmp_path):
    pair, part = annotation(1, WHOLE, visible=WHOLE), annotation(2, (40, 0, 10, 20))
    pair["inmodal_seg"], part["inmodal_seg"] = pair.pop("visible_mask"), part.pop("segmentation")
    some = truth(pair, part)  # as KINS has them
    found = write(tmp_path, "found.json", exact(two_masks=True)[:1])  # the second is missed
    summary = evaluate_detections(write(tmp_path, "some.json", some), found)
    assert summary.counts["left_out"] == {"no amodal mask": 1} and "not_scored" not in summary.counts
    assert summary.scores[AP]["detector"]["AP"] == 1
    assert summary.scores[VISIBLE]["detector"]["AR100"] == 0.5


def test_class_agnostic_says_so_in_every_name(tmp_path, truth_file):
    found = [{**d, "category_id": 2} for d in exact(two_masks=True)]
    scores = evaluate_detections(truth_file, write(tmp_path, "found.json", found), class_agnostic=True).scores
    assert len(scores) == 8 and all("class-agnostic" in name for name in scores)
    assert scores["COCO AP amodal (segm, class-agnostic)"]["detector"]["AP"] == 1


def test_folder_of_a_detector_stands_for_its_detections(tmp_path, truth_file):
    write(tmp_path / "run", "detections.json", exact(two_masks=False))
    assert evaluate_detections(truth_file, tmp_path / "run").scores[AP]["detector"]["AP"] == 1


def test_levels_are_chosen(tmp_path, truth_file):
    found = write(tmp_path, "found.json", exact(two_masks=False))
    scores = evaluate_detections(truth_file, found, levels="kins", out=tmp_path / "out").scores
    assert scores["COCO AP amodal by occlusion level, KINS bins (segm)"]["detector"]["FG-2"] == 1
    written = json.loads((tmp_path / "out" / "evaluation_detections.json").read_text())
    assert written["options"] == {"class_agnostic": False, "levels": "KINS bins"}
    with pytest.raises(DataError, match="levels: expected a known set, got 'kinss'; did you mean 'kins'"):
        evaluate_detections(truth_file, found, levels="kinss")


def test_boxes_may_be_missing(tmp_path, truth_file):
    found = [{key: d[key] for key in d if key != "bbox"} for d in exact(two_masks=False)]
    scores = evaluate_detections(truth_file, write(tmp_path, "found.json", found)).scores
    assert scores["COCO AP amodal (bbox)"]["detector"]["AP"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, r"found.json: expected COCO results, a list of detections, got dict; .* evaluate completion"),
        ([], "found.json: expected at least one detection"),
        ([detection(WHOLE, 0.9, category=7)], r"found.json: expected category ids of .*truth.json \(\[1, 2\]\)"),
        ([detection(WHOLE, 0.9, image=5)], r"found.json: detections\[0\].image_id: expected one of truth, got 5"),
        ([{"image_id": 1, "category_id": 1, "score": 0.3}], r"found.json: detections\[0\]: expected segmentation"),
        (
            [detection(WHOLE, 0.9, visible=WHOLE), detection(WHOLE, 0.8)],
            r"found.json: detections\[1\]: expected visible_mask",
        ),
    ],
    ids=["label file", "empty", "other categories", "other photos", "no mask", "some visible masks"],
)
def test_bad_detections_are_named(tmp_path, truth_file, content, message):
    with pytest.raises(DataError, match=message):
        evaluate_detections(truth_file, write(tmp_path, "found.json", content))
