"""What labels say of themselves, against a truth that is known by arithmetic."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from amodalpl.calibration.fit import RiskGuarantee
from amodalpl.errors import DataError
from amodalpl.evaluation.promise import HIDDEN, ORDER, PROMISE, UNCERTAINTY, evaluate_promise, is_promised
from amodalpl.masks import rle
from amodalpl_cli.main import app

SIZE_HW = (20, 30)
PROMISED = {"uncertainty_at_most": 0.3, "iou_above": 0.75, "share": 0.95}


def box(top, left, bottom, right):
    mask = np.zeros(SIZE_HW, bool)
    mask[top:bottom, left:right] = True
    return mask


FRONT = box(0, 0, 10, 8)
BACK = box(0, 3, 10, 15)  # 50 of its 120 pixels are behind FRONT
UNSEEN = box(12, 0, 20, 10)  # a quarter is behind something without a mask
SEEN_OF_UNSEEN = box(14, 0, 20, 10)


def entry(id, amodal, modal, image_id, **notes):
    return {
        "id": id,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "segmentation": rle.to_json(rle.encode(amodal)),
        "visible_mask": rle.to_json(rle.encode(modal)),
        "bbox": list(rle.box_xywh(rle.encode(amodal))),
        "area": int(amodal.sum()),
        **({"amodalpl": {"flags": [], "occluders": [], **notes}} if notes else {}),
    }


def write(path, entries, photos=2):
    path.parent.mkdir(exist_ok=True)
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": 20, "width": 30} for i in range(1, photos + 1)],
        "annotations": entries,
        "categories": [{"id": 1, "name": "thing"}],
    }
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def truth(tmp_path):
    scene = [(1, FRONT, FRONT), (2, BACK, BACK & ~FRONT), (3, UNSEEN, SEEN_OF_UNSEEN)]
    return write(tmp_path / "truth.json", [entry(10 * k + n, a, m, k) for k in (1, 2) for n, a, m in scene])


@pytest.fixture
def labels(tmp_path):
    """The back one is completed in the first photo; what has no mask in front of it stays modal, and says 0.1."""
    entries = []
    for k in (1, 2):
        back = BACK if k == 1 else BACK & ~FRONT
        entries += [
            entry(10 * k + 1, FRONT, FRONT, k, uncertainty=0.0, flags=["no_occluder"]),
            entry(10 * k + 2, back, BACK & ~FRONT, k, uncertainty=0.3 * k, flags=["low_confidence"] if k == 2 else []),
            entry(10 * k + 3, SEEN_OF_UNSEEN, SEEN_OF_UNSEEN, k, uncertainty=0.1),
        ]
    folder = write(tmp_path / "labels" / "pseudo_amodal.json", entries).parent
    pairs = [{"front": 11, "back": 12, "evidence_px": 5.0, "score": 1.0}]
    order = {"rule": "contact", "images": [{"image_id": 1, "pairs": pairs}, {"image_id": 2, "pairs": []}]}
    (folder / "order.json").write_text(json.dumps(order))
    (folder / "stats.json").write_text(json.dumps({"counts": {}, "promise": PROMISED}))
    return folder


def test_by_hand(truth, labels):
    found = evaluate_promise(truth, labels)
    hidden = found.scores[HIDDEN]
    assert list(hidden) == [
        "modal mask", "convex hull", "labels", "labels - modal mask", "labels - convex hull"
    ]  # fmt: skip
    assert hidden["labels"]["invisible_miou"] == pytest.approx(50 / (2 * 70))
    assert (hidden["labels"]["invisible_miou_low"], hidden["labels"]["invisible_miou_high"]) == (0, 50 / 70)
    uncertainty = found.scores[UNCERTAINTY]
    annotated, other = uncertainty["hidden by what is annotated"], uncertainty["hidden by what is not"]
    assert (annotated["labels"], other["labels"], uncertainty["not hidden"]["labels"]) == (2, 2, 2)
    assert annotated["mean_uncertainty"] == pytest.approx(0.45)
    assert annotated["mean_error"] == pytest.approx((1 - 70 / 120) / 2)
    assert other["error_unstated"] == pytest.approx(0.25 - 0.1)
    assert other["error_unstated_low"] == other["error_unstated_high"] == pytest.approx(0.15)
    promise = found.scores[PROMISE]
    assert (promise["all"]["labels"], promise["all"]["promised"]) == (6, 3)
    assert promise["all"]["share_seen"] == pytest.approx(1 / 3)  # three quarters are not above 0.75
    assert promise["all"]["good"] == pytest.approx(3 / 6)
    assert promise["all"]["share_promised"] == 0.95 and promise["all"]["holds"] is False
    assert promise["hidden by what is annotated"]["promised"] == 1
    assert promise["hidden by what is annotated"]["holds"] is True
    assert found.scores[ORDER]["labels"]["accuracy"] == 0.5
    assert found.counts["hidden_px_under_annotated_masks"] == pytest.approx(50 / 70)


def test_objects_hidden_by_half_or_more_are_a_group(tmp_path, labels):
    """60 of 120 pixels are hidden in the first photo, 59 in the second."""
    half = BACK & (np.arange(30) >= 9)
    seen = [(1, half), (2, half | (BACK & box(0, 8, 1, 9)))]
    truth = write(tmp_path / "truth.json", [entry(10 * k + 2, BACK, mask, k) for k, mask in seen])
    rows = evaluate_promise(truth, labels).scores[UNCERTAINTY]
    assert [int((BACK & ~mask).sum()) for _, mask in seen] == [60, 59]
    assert (rows["all"]["labels"], rows["hidden by half or more"]["labels"]) == (2, 1)


def test_without_a_promise_nothing_is_held_against_it(truth, labels):
    (labels / "stats.json").write_text(json.dumps({"counts": {}, "promise": None}))
    found = evaluate_promise(truth, labels)
    assert found.counts["promise"] == "none was given"
    row = found.scores[PROMISE]["all"]
    assert row["share_promised"] is None and row["holds"] is None and row["share_seen"] == pytest.approx(1 / 3)


def test_labels_alone_know_what_hides(tmp_path, labels):
    """The truth has the hidden objects only; what is in front of them is in the label file."""
    truth = write(tmp_path / "truth.json", [entry(10 * k + 2, BACK, BACK & ~FRONT, k) for k in (1, 2)])
    found = evaluate_promise(truth, labels)
    assert found.scores[UNCERTAINTY]["hidden by what is annotated"]["labels"] == 2
    assert found.scores[HIDDEN]["convex hull"]["invisible_miou"] == 0.0  # the hull of a box is the box
    assert found.counts["hidden_px_under_annotated_masks"] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"promise": {"share": "much"}}, r"stats.json: promise: expected a bound", id="damaged promise"),
    ],
)
def test_damaged_statistics(truth, labels, change, message):
    (labels / "stats.json").write_text(json.dumps(change))
    with pytest.raises(DataError, match=message):
        evaluate_promise(truth, labels)


def test_other_files_are_no_labels(truth):
    with pytest.raises(
        DataError, match=r"truth.json: annotations\[0\]: expected an entry of a label file, found no amo"
    ):
        evaluate_promise(truth, truth)


def test_command_writes_what_compare_reads(tmp_path, truth, labels):
    for name in ("a", "b"):
        run = CliRunner().invoke(app, ["evaluate", "promise", str(truth), str(labels), "--out", str(tmp_path / name)])
        assert run.exit_code == 0 and "labels: promise, with intervals" in run.output, run.output
    compared = CliRunner().invoke(app, ["evaluate", "compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert compared.exit_code == 0, compared.output


@pytest.mark.parametrize(
    ("flags", "meant"),
    [
        pytest.param([], True, id="nothing to say of it"),
        pytest.param(["shared_pixels", "truncated"], True, id="nothing that matters"),
        pytest.param(["low_confidence"], False, id="doubtful"),
        pytest.param(["no_occluder"], False, id="nothing in front"),
        pytest.param(["overlap_only", "shared_pixels"], False, id="nothing in front but what it overlaps"),
    ],
)
def test_which_labels_are_meant_without_a_promise(flags, meant):
    assert is_promised({"flags": flags}, None) is meant


@pytest.mark.parametrize(
    ("flags", "uncertainty", "promised"),
    [
        pytest.param([], 0.1, True, id="at the bound"),
        pytest.param([], 0.100001, False, id="above it, though not doubtful"),
        pytest.param(["low_confidence"], 0.1, True, id="doubtful by a setting of the user's"),
        pytest.param(["no_occluder"], 0.0, False, id="nothing in front"),
        pytest.param([], None, False, id="nothing stated"),
    ],
)
def test_which_labels_a_promise_is_about(flags, uncertainty, promised):
    assert is_promised({"flags": flags, "uncertainty": uncertainty}, RiskGuarantee(0.1)) is promised


def test_what_labels_without_truth_state_counts(tmp_path, labels):
    """The truth has the hidden objects of one photo; the labels there state 0, 0.3 and 0.1."""
    truth = write(tmp_path / "truth.json", [entry(12, BACK, BACK & ~FRONT, 1), entry(13, UNSEEN, SEEN_OF_UNSEEN, 1)])
    row = evaluate_promise(truth, labels).scores[UNCERTAINTY]["every label of these photos"]
    assert row["labels"] == 3 and row["mean_uncertainty"] == pytest.approx(0.4 / 3)
    assert row["mean_error_at_least"] == pytest.approx(0.25 / 3)  # the completed one is right, so is what has no truth
    assert row["error_unstated_at_least"] == pytest.approx(-0.15 / 3)
