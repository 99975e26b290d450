"""`amodalpl apply-review` on a drawn label folder: what decisions do to labels, and to a detector's training."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from drawn_detections import mask
from pycocotools.coco import COCO
from typer.testing import CliRunner

from amodalpl.data.read import read_annotations
from amodalpl.data.review_file import Decision, Review, carry_over, fingerprint, read_review, write_review
from amodalpl.detector.data import coco_export as data
from amodalpl.errors import DataError, OutputError
from amodalpl.evaluation.completion import evaluate_completion
from amodalpl.io.files import hash_file
from amodalpl.pipeline.apply_review import apply_review
from amodalpl_cli.main import app

VISIBLE_PX, WHOLE_PX = 10 * 20, 25 * 20
OURS = {"completer": "layered", "occluders": [], "uncertainty": 0.2, "plausibility": None, "growth": 2.5, "flags": []}


def label(identity, image=1, whole=25):
    """A visible part of 10 x 20 pixels, completed to 25 x 20."""
    return {
        "id": identity, "image_id": image, "category_id": 1, "iscrowd": 0,
        "segmentation": mask(8 * identity, 4, whole, 20), "bbox": [8 * identity, 4, whole, 20], "area": whole * 20,
        "visible_mask": mask(8 * identity, 4, 10, 20), "visible_bbox": [8 * identity, 4, 10, 20],
        "occlude_rate": round(1 - 10 / whole, 6), "amodalpl": OURS,
    }  # fmt: skip


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("0.png", "1.png"):
        cv2.imwrite(str(folder / name), np.full((128, 128, 3), 90, np.uint8))
    return folder


def write_labels(folder, annotations):
    folder.mkdir()
    photos = [{"id": n + 1, "file_name": f"{n}.png", "height": 128, "width": 128, "license": 3} for n in range(2)]
    content = {
        "info": {"year": 2026},
        "images": photos,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cup"}],
    }
    record = {"stage": "pseudolabel", "state": "done", "seed": 5, "inputs": {"completer": "c" * 64}, "settings": {}}
    files = {
        "pseudo_amodal.json": content,
        "order.json": {"rule": "contact", "images": []},
        "stats.json": {"counts": {"labels": len(annotations)}, "left_out": []},
        "run.json": record,
    }
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "doubt.jsonl").write_text("")
    return folder


@pytest.fixture
def labels(tmp_path):
    """Five labels: 1 to 4 on the first photo, 5 on the second."""
    return write_labels(tmp_path / "labels", [*(label(n) for n in (1, 2, 3, 4)), label(5, image=2)])


def entries(folder):
    return {a["id"]: a for a in json.loads((folder / "pseudo_amodal.json").read_text())["annotations"]}


def decide(labels, name="review.json", **decided):
    """Write a review of a label folder, `decided` holding a decision per label: n1="reject"."""
    annotations = entries(labels)
    decisions = [
        Decision(int(key[1:]), verdict.replace("_", "-"), fingerprint(annotations[int(key[1:])]))
        for key, verdict in decided.items()
    ]
    file = labels.parent / name
    write_review(file, Review(hash_file(labels / "pseudo_amodal.json"), tuple(decisions)))
    return file


@pytest.fixture
def review(labels):
    return decide(labels, n1="accept", n2="reject", n3="keep_modal")


def test_each_decision_is_carried_out(labels, images, review, tmp_path):
    summary = apply_review(labels, images, review, tmp_path / "out")
    before, after = entries(labels), entries(tmp_path / "out")
    assert list(after) == [1, 2, 3, 4, 5]
    assert after[1] == {**before[1], "amodalpl": {**OURS, "decision": "accept"}}
    assert after[4] == before[4] and after[5] == before[5]
    for identity in (2, 3):
        entry, was = after[identity], before[identity]
        assert entry["segmentation"] == entry["visible_mask"] == was["visible_mask"]
        assert (entry["area"], entry["bbox"], entry["occlude_rate"]) == (VISIBLE_PX, was["visible_bbox"], 0)
        assert entry["amodalpl"]["completed"] == was["segmentation"]
    assert [after[n]["iscrowd"] for n in after] == [0, 1, 0, 0, 0]
    assert summary.counts == {
        "labels": 5,
        "accepted": 1,
        "rejected": 1,
        "kept modal": 1,
        "undecided": 2,
        "decisions that no longer fit": [],
    }


def test_folder_is_a_label_folder_again(labels, images, review, tmp_path):
    summary = apply_review(labels, images, review, tmp_path / "out")
    content = json.loads((tmp_path / "out/pseudo_amodal.json").read_text())
    was = json.loads((labels / "pseudo_amodal.json").read_text())
    assert {k: content[k] for k in ("info", "images", "categories")} == {
        k: was[k] for k in ("info", "images", "categories")
    }
    stats = json.loads((tmp_path / "out/stats.json").read_text())
    assert stats["counts"] == {"labels": 5} and stats["review"]["rejected"] == 1
    for name in ("order.json", "doubt.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (labels / name).read_bytes()
    assert all(file.exists() for file in summary.files.values())
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert (record["state"], record["seed"], record["stage"]) == ("done", 5, "apply-review")
    coco = COCO(str(tmp_path / "out/pseudo_amodal.json"))
    assert all(coco.annToMask(a).sum() == a["area"] for a in coco.dataset["annotations"])


def test_review_in_the_folder_holds_for_its_labels(labels, images, review, tmp_path):
    apply_review(labels, images, review, tmp_path / "out")
    stored = read_review(tmp_path / "out/review.json")
    assert stored.labels_sha256 == hash_file(tmp_path / "out/pseudo_amodal.json")
    assert stored.decisions == read_review(review).decisions
    assert carry_over(stored, entries(tmp_path / "out").values()) == (stored, [])
    assert carry_over(stored, entries(labels).values())[1] == []  # and for a second run that made the same labels


def test_applying_to_the_corrected_folder_changes_nothing(labels, images, review, tmp_path):
    apply_review(labels, images, review, tmp_path / "a")
    apply_review(tmp_path / "a", images, tmp_path / "a/review.json", tmp_path / "b")
    assert (tmp_path / "a/pseudo_amodal.json").read_bytes() == (tmp_path / "b/pseudo_amodal.json").read_bytes()
    assert (tmp_path / "a/review.json").read_bytes() == (tmp_path / "b/review.json").read_bytes()


def test_a_decision_can_be_taken_back_and_others_stay(labels, images, review, tmp_path):
    apply_review(labels, images, review, tmp_path / "a")
    second = decide(tmp_path / "a", "second.json", n2="accept", n5="reject")
    summary = apply_review(tmp_path / "a", images, second, tmp_path / "b")
    before, after = entries(labels), entries(tmp_path / "b")
    assert after[2] == {**before[2], "amodalpl": {**OURS, "decision": "accept"}}
    assert after[3]["amodalpl"]["decision"] == "keep-modal" and after[3]["area"] == VISIBLE_PX
    assert after[5]["iscrowd"] == 1
    assert [summary.counts[k] for k in ("accepted", "rejected", "kept modal", "undecided")] == [2, 1, 1, 1]


def test_decision_whose_label_changed_is_listed_and_not_applied(labels, images, review, tmp_path):
    later = write_labels(tmp_path / "later", [label(1), label(2, whole=30), label(3), label(4), label(5, image=2)])
    summary = apply_review(later, images, review, tmp_path / "out")
    row = {"id": 2, "decision": "reject", "reason": "the label has changed"}
    assert summary.counts["decisions that no longer fit"] == [row]
    assert entries(tmp_path / "out")[2] == entries(later)[2]
    assert json.loads((tmp_path / "out/stats.json").read_text())["decisions that no longer fit"] == [row]
    assert [d.id for d in read_review(tmp_path / "out/review.json").decisions] == [1, 3]


def test_label_without_visible_pixels_keeps_its_mask(images, tmp_path):
    hidden = {**label(1), "visible_mask": mask(0, 0, 0, 0), "visible_bbox": [0, 0, 0, 0], "occlude_rate": 1.0}
    labels = write_labels(tmp_path / "labels", [hidden, label(2)])
    apply_review(labels, images, decide(labels, n1="keep_modal"), tmp_path / "out")
    entry = entries(tmp_path / "out")[1]
    assert (entry["segmentation"], entry["area"], entry["occlude_rate"]) == (hidden["segmentation"], WHOLE_PX, 1)


def test_detector_ignores_what_was_rejected_and_learns_what_was_kept_modal(labels, images, review, tmp_path):
    apply_review(labels, images, review, tmp_path / "out")
    records = read_annotations(tmp_path / "out/pseudo_amodal.json")
    classes = data.categories(records, False)
    truth = data.to_coco(records, classes)
    learnt = {a["id"]: a for a in truth.coco["annotations"]}
    assert [learnt[n]["iscrowd"] for n in (1, 2, 3, 4)] == [0, 1, 0, 0]
    assert [learnt[n]["area"] for n in (1, 2, 3, 4)] == [WHOLE_PX, VISIBLE_PX, VISIBLE_PX, WHOLE_PX]
    (kept_modal,) = [i for i in records.instances if i.id == 3]
    assert kept_modal.amodal == kept_modal.modal
    assert truth.left_out == {}


def test_photo_of_which_all_is_rejected_is_not_trained_on(labels, images, tmp_path):
    apply_review(labels, images, decide(labels, n5="reject"), tmp_path / "out")
    records = read_annotations(tmp_path / "out/pseudo_amodal.json")
    truth = data.to_coco(records, data.categories(records, False))
    assert [i["id"] for i in truth.coco["images"]] == [1] and truth.left_out == {"image without instances": 1}


def test_evaluation_takes_the_corrected_folder(labels, images, review, tmp_path):
    apply_review(labels, images, review, tmp_path / "out")
    summary = evaluate_completion(labels / "pseudo_amodal.json", tmp_path / "out")
    assert (summary.counts["matched"], summary.counts["rejected_in_labels_ids"]) == (4, [2])
    assert summary.counts["missing_in_labels"] == 0  # it is in the file, as a region to ignore


def test_same_command_again_does_nothing(labels, images, review, tmp_path):
    first = apply_review(labels, images, review, tmp_path / "out")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    assert apply_review(labels, images, review, tmp_path / "out").counts == first.counts
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == times


def test_command_line(labels, images, review, tmp_path):
    arguments = ["apply-review", str(labels), str(images), str(review), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["counts"]["rejected"] == 1
    review.write_text(review.read_text().replace("keep-modal", "keep-model"))
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert "got 'keep-model'; did you mean 'keep-modal'?" in result.stderr


def test_review_of_other_labels(labels, images, tmp_path):
    others = write_labels(tmp_path / "others", [label(n, whole=30) for n in (1, 2)] + [label(3), label(4)])
    with pytest.raises(DataError, match="one of another label file: 1 of 3 decisions fit"):
        apply_review(labels, images, decide(others, n1="reject", n2="reject", n3="reject"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_folders(labels, images, review, tmp_path):
    with pytest.raises(OutputError, match="belongs to another run"):
        apply_review(labels, images, review, labels)
    shutil.copytree(labels, tmp_path / "half")
    (tmp_path / "half/run.json").write_text(json.dumps({"stage": "pseudolabel", "state": "unfinished"}))
    with pytest.raises(OutputError, match="`amodalpl pseudolabel` has not finished there"):
        apply_review(tmp_path / "half", images, review, tmp_path / "out")
    with pytest.raises(DataError, match="expected the record of a finished `amodalpl pseudolabel`, found no such file"):
        apply_review(images, images, review, tmp_path / "out")
    with pytest.raises(DataError, match="expected the folder of the photos, found none of 2 there, but 4 JSON files"):
        apply_review(labels, labels, review, tmp_path / "out")
    (tmp_path / "completer").mkdir()
    (tmp_path / "completer/completer.json").write_text("{}")
    with pytest.raises(DataError, match="completer.json: expected the completer that made .*, got another one"):
        apply_review(labels, images, review, tmp_path / "out", completer=tmp_path / "completer")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segmentation": {"size": [128, 128], "counts": "~~~"}}, r"annotations\[1\].segmentation: expected a label"),
        ({"visible_mask": None}, r"annotations\[1\].visible_mask"),
        ({"visible_mask": [[0, 0, 9, 0, 9, 9]]}, r"annotations\[1\].visible_mask"),
    ],
    ids=["counts", "no mask", "polygon"],
)
def test_label_file_edited_by_hand(labels, images, review, tmp_path, change, message):
    file = labels / "pseudo_amodal.json"
    content = json.loads(file.read_text())
    content["annotations"][1] |= change
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        apply_review(labels, images, review, tmp_path / "out")
    assert not (tmp_path / "out").exists()
