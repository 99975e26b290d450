"""Protocol of methods given boxes: cells against hand-made numbers, boxes moved as told, errors in one line."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from amodalpl.errors import DataError
from amodalpl.evaluation.boxes import best_match, evaluate_boxes, moved_sides
from amodalpl.masks import rle
from amodalpl_cli.main import app

NAME = "masks from boxes, macro over occlusion levels (KINS bins), {} boxes {}: all"


def rectangle(x, y, w, h):
    mask = np.zeros((60, 80), bool)
    mask[y : y + h, x : x + w] = True
    return mask


def write_truth(folder, *objects, **more):
    """A grey photo, and a file of objects: whole mask, visible mask, what else the entry says."""
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "1.png"), np.full((60, 80, 3), 90, np.uint8))
    annotations = [
        {
            "id": k + 1, "image_id": 1, "category_id": 1, "iscrowd": 0,
            "segmentation": rle.to_json(rle.encode(whole)), "visible_mask": rle.to_json(rle.encode(visible)), **said,
        }
        for k, (whole, visible, said) in enumerate(objects)
    ]  # fmt: skip
    image = {"id": 1, "file_name": "1.png", "height": 60, "width": 80}
    content = {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "car"}], **more}
    (folder / "truth.json").write_text(json.dumps(content))
    return folder / "truth.json"


WHOLE = (rectangle(0, 0, 20, 20), rectangle(0, 0, 20, 20), {})
HALF = (rectangle(40, 0, 20, 20), rectangle(40, 0, 10, 20), {})  # a half is hidden


@pytest.fixture
def truth(tmp_path):
    return write_truth(tmp_path, WHOLE, HALF)


def test_cells_are_the_means_of_their_level(truth):
    """The filled visible box is the first object, and half of the second: IoU 1 and 0.5."""
    scores = evaluate_boxes(truth, truth.parent, levels="kins").scores
    row = scores[NAME.format("visible", "exact")]["filled box"]
    assert (row["FG-0"], row["FG-1"], row["FG-2"], row["mean"]) == (1.0, None, 0.5, 0.75)
    assert (row["FG-0_instances"], row["FG-2_instances"], row["outside"]) == (1, 1, 0)


def test_boxes_of_whole_objects_fill_rectangles(truth):
    row = evaluate_boxes(truth, truth.parent, levels="kins", whole_boxes=True).scores
    assert row[NAME.format("whole", "exact")]["filled box"]["mean"] == 1.0


def test_every_input_has_every_free_row(truth):
    scores = evaluate_boxes(truth, truth.parent, levels="kins", shapes=truth).scores
    assert list(scores) == [NAME.format("visible", given) for given in ("exact", "jittered by 5 %", "jittered by 10 %")]
    for rows in scores.values():
        assert list(rows) == ["filled box", "box ellipse", "GrabCut", "mean shape of the class"]


def test_each_side_moves_by_its_share_and_no_more():
    moved = np.array([moved_sides((10, 20, 30, 40), 0.1, (0, k)) for k in range(400)])
    sides = moved[:, :2], moved[:, :2] + moved[:, 2:]
    off = np.concatenate([(sides[0] - [10, 20]) / [30, 40], (sides[1] - [40, 60]) / [30, 40]], axis=1)
    assert abs(off).max() <= 0.1 + 1e-9 and abs(off).max(axis=0).min() > 0.09 and abs(off.mean(axis=0)).max() < 0.01
    assert moved_sides((10, 20, 30, 40), 0.1, (0, 7)) == moved_sides((10, 20, 30, 40), 0.1, (0, 7))
    assert moved_sides((10, 20, 30, 40), 0.1, (1, 7)) != moved_sides((10, 20, 30, 40), 0.1, (0, 7))


def test_the_best_proposal_is_the_one_of_highest_iou():
    found = np.array([[0, 0, 30, 30], [12, 12, 10, 10], [10, 10, 12, 10]], float)
    assert best_match((10, 10, 10, 10), found) == (10, 10, 12, 10)
    assert best_match((10, 10, 10, 10), np.zeros((0, 4))) == (10, 10, 10, 10)


def test_covered_surroundings_choose_the_ten_levels(tmp_path):
    said = ({"context_rate": 0.1}, {"context_rate": 0.3})
    truth = write_truth(tmp_path, (*HALF[:2], said[0]), (*HALF[:2], said[1]))
    scores = evaluate_boxes(truth, tmp_path).scores
    row = scores["masks from boxes, macro over occlusion levels (OccludedVehicles bins), visible boxes exact: all"][
        "filled box"
    ]
    assert (row["FG-2 BG-1_instances"], row["FG-2 BG-2_instances"], row["levels"], row["mean"]) == (1, 1, 2, 0.5)


class Knows:
    """A model that answers with the box's right half."""

    name = "told"

    def __init__(self, *class_names):
        self.class_names = list(class_names)

    def segment(self, image, boxes_xywh, class_names, *, whole):
        from amodalpl.detector.box_prompt import BoxAnswer

        masks = [rectangle(int(x + w // 2), int(y), int(w // 2), int(h)) for x, y, w, h in boxes_xywh]
        return [BoxAnswer(mask, mask, 0.0) for mask in masks]


def test_a_class_that_is_not_learnt_is_an_empty_mask(truth, monkeypatch):
    pytest.importorskip("mmdet")
    other = json.loads(truth.read_text())
    other["categories"].append({"id": 2, "name": "tram"})
    other["annotations"][1]["category_id"] = 2
    truth.write_text(json.dumps(other))
    monkeypatch.setattr("amodalpl.detector.box_prompt.open_box_prompt", lambda *_: Knows("car", "bus"))
    summary = evaluate_boxes(truth, truth.parent, [truth.parent / "detector"], levels="kins")
    row = summary.scores[NAME.format("visible", "exact")]["told"]
    assert (row["FG-0"], row["FG-2"]) == (0.5, 0.0)
    assert summary.counts["of a class that a model has not learnt"] == {"told": 1}


def test_scores_are_written_with_what_they_stand_on(truth, tmp_path):
    summary = evaluate_boxes(truth, truth.parent, levels="kins", out=tmp_path / "scores")
    record = json.loads(summary.files["scores"].read_text())
    assert record["scored"]["objects"] == 2 and record["options"]["whole_boxes"] is False
    other = evaluate_boxes(truth, truth.parent, levels="kins", whole_boxes=True, out=tmp_path / "others")
    assert json.loads(other.files["scores"].read_text())["scored"] != record["scored"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda d: [a.pop("visible_mask") for a in d["annotations"]], "got modal masks only", id="modal"),
        pytest.param(lambda d: [a.update(iscrowd=1) for a in d["annotations"]], "got none .*crowd", id="crowds"),
        pytest.param(
            lambda d: d["images"][0].update(file_name="no.png"),
            "expected the folder of the photos, found none",
            id="no photo",
        ),
    ],
)
def test_bad_truth_is_one_line(truth, change, message):
    content = json.loads(truth.read_text())
    change(content)
    truth.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as error:
        evaluate_boxes(truth, truth.parent)
    assert "\n" not in str(error.value)


def test_on_the_command_line(truth):
    result = CliRunner().invoke(
        app, ["evaluate", "boxes", str(truth), str(truth.parent), "--levels", "kins", "--whole-boxes"]
    )
    assert result.exit_code == 0, result.output
    assert NAME.format("whole", "jittered by 10 %") in result.output
    wrong = CliRunner().invoke(app, ["evaluate", "boxes", str(truth), str(truth.parent), "--detector", "nowhere"])
    assert wrong.exit_code == 2 and wrong.stderr.splitlines()[-1].startswith("error: nowhere: expected")
