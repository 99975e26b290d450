import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_detections import mask

from amodalpl.data.review_file import (
    Decision,
    Review,
    carry_over,
    fingerprint,
    read_review,
    require_same_labels,
    write_review,
)
from amodalpl.errors import DataError

SHA, OTHER_SHA = "a" * 64, "b" * 64


def label(identity, width=20, **more):
    """A visible part of 10 x 20 pixels, completed to a given width."""
    entry = {
        "id": identity, "image_id": 1, "category_id": 2, "segmentation": mask(4, 4, width, 20),
        "visible_mask": mask(4, 4, 10, 20), "amodalpl": {},
    }  # fmt: skip
    return {**entry, **more}


def review_of(*decided, sha=SHA):
    return Review(sha, tuple(Decision(a["id"], verdict, fingerprint(a)) for a, verdict in decided))


def written(tmp_path, **changes):
    content = review_of((label(1), "accept"), (label(2), "reject")).to_json()
    file = tmp_path / "review.json"
    file.write_text(json.dumps({**content, **changes}))
    return file


def changed(tmp_path, **entry):
    first, second = review_of((label(1), "accept"), (label(2), "reject")).to_json()["decisions"]
    return written(tmp_path, decisions=[first, {**second, **entry}])


def test_fingerprint_is_the_hash_that_the_format_states():
    entry = label(7)
    lines = ["1", "2", "128x128", entry["segmentation"]["counts"], entry["visible_mask"]["counts"]]
    assert fingerprint(entry) == hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    "change",
    [
        {"image_id": 2},
        {"category_id": 3},
        {"segmentation": mask(4, 4, 21, 20)},
        {"visible_mask": mask(4, 4, 11, 20)},
        {"segmentation": {**mask(4, 4, 20, 20), "size": [64, 256]}},
    ],
    ids=["photo", "class", "whole", "visible", "size"],
)
def test_fingerprint_changes_with_what_was_looked_at(change):
    assert fingerprint(label(1, **change)) != fingerprint(label(1))


def test_fingerprint_does_not_change_with_what_says_something_of_the_mask():
    assert fingerprint(label(1, bbox=[1, 2, 3, 4], amodalpl={"uncertainty": 0.5})) == fingerprint(label(1))


def test_fingerprint_of_a_corrected_label_is_that_of_the_proposal():
    proposed = label(1)
    corrected = {
        **proposed,
        "segmentation": proposed["visible_mask"],
        "amodalpl": {"completed": label(1)["segmentation"]},
    }
    assert fingerprint(corrected) == fingerprint(proposed)


def test_what_is_written_is_read_again(tmp_path):
    review = review_of((label(3), "keep-modal"), (label(1), "accept"))
    write_review(tmp_path / "review.json", review)
    assert read_review(tmp_path / "review.json") == review
    assert json.loads((tmp_path / "review.json").read_text()) == {
        "format": "amodalpl-review",
        "version": 1,
        "labels_sha256": SHA,
        "decisions": [
            {"id": 3, "decision": "keep-modal", "fingerprint": fingerprint(label(3))},
            {"id": 1, "decision": "accept", "fingerprint": fingerprint(label(1))},
        ],
    }


def test_decisions_survive_where_the_label_did_not_change():
    labels = [label(1), label(2), label(3), label(5)]
    review = review_of((labels[3], "reject"), (labels[1], "keep-modal"), (label(4), "accept"), (labels[0], "accept"))
    later = [labels[0], label(2, width=30), labels[2], labels[3]]
    kept, lost = carry_over(review, iter(later), OTHER_SHA)
    assert [(d.id, d.decision) for d in kept.decisions] == [(1, "accept"), (5, "reject")]  # in the labels' order
    assert kept.labels_sha256 == OTHER_SHA
    assert [entry.to_json() for entry in lost] == [
        {"id": 2, "decision": "keep-modal", "reason": "the label has changed"},
        {"id": 4, "decision": "accept", "reason": "no label of this id"},
    ]


def test_same_labels_keep_all_and_the_hash():
    review = review_of((label(1), "accept"), (label(2), "reject"))
    assert carry_over(review, [label(1), label(2)]) == (review, [])


def test_two_equal_entries_are_one(tmp_path):
    entry = review_of((label(1), "accept")).to_json()["decisions"]
    assert len(read_review(written(tmp_path, decisions=entry * 2)).decisions) == 1


def test_another_label_set_is_refused_with_how_many_fit():
    review = review_of((label(1), "accept"), (label(2), "reject"), (label(3), "reject"), sha=OTHER_SHA)
    kept, lost = carry_over(review, [label(1), label(2, width=31)], SHA)
    with pytest.raises(
        DataError, match=r"review.json: labels_sha256: expected a review of l.json, .* 1 of 3 decisions"
    ):
        require_same_labels(Path("review.json"), review, kept, lost, Path("l.json"))


def test_a_later_run_of_the_same_labels_is_not_refused():
    review = review_of((label(1), "accept"), (label(2), "reject"), sha=OTHER_SHA)
    kept, lost = carry_over(review, [label(1), label(2, width=31)], SHA)
    require_same_labels(Path("review.json"), review, kept, lost, Path("l.json"))
    assert len(lost) == 1


def test_an_empty_review_belongs_to_any_labels():
    review = Review(OTHER_SHA, ())
    kept, lost = carry_over(review, [label(1)], SHA)
    require_same_labels(Path("review.json"), review, kept, lost, Path("l.json"))
    assert (kept, lost) == (Review(SHA, ()), [])


def test_unknown_id_in_a_review_of_this_very_file():
    review = review_of((label(1), "accept"), (label(9), "reject"))
    kept, lost = carry_over(review, [label(1)], SHA)
    with pytest.raises(DataError, match=r"decisions\[1\].id: expected the id of a label of l.json, got 9"):
        require_same_labels(Path("review.json"), review, kept, lost, Path("l.json"))
    kept, lost = carry_over(replace(review, labels_sha256=OTHER_SHA), [label(1)], SHA)
    require_same_labels(Path("review.json"), replace(review, labels_sha256=OTHER_SHA), kept, lost, Path("l.json"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "coco"}, r"review.json: format: expected 'amodalpl-review', got format 'coco'"),
        ({"version": 2}, r"version: expected 1, got 2; export the review again"),
        ({"version": True}, r"version: expected 1, got True"),
        ({"labels_sha256": "abc"}, r"labels_sha256: expected 64 hex digits, got 'abc'"),
        ({"labels_sha256": None}, r"labels_sha256: expected 64 hex digits, got None"),
        ({"decisions": {}}, r"decisions: expected a list, got dict"),
        ({"decisions": [3]}, r"decisions\[0\]: expected an object with id, decision and fingerprint, got 3"),
        ({"notes": "x"}, r"review.json: notes: unknown key; known: decisions, format, labels_sha256, version"),
    ],
    ids=["format", "version", "bool", "sha", "no sha", "no list", "no object", "key"],
)
def test_bad_top_level(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read_review(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"decision": "rejected"},
            r"decisions\[1\].decision: expected a known decision, got 'rejected'.*mean 'reject'",
        ),
        ({"decision": ["reject"]}, r"decisions\[1\].decision: .* got \['reject'\]; known: accept, keep-modal, reject"),
        ({"id": "2"}, r"decisions\[1\].id: expected a whole number, got '2'"),
        ({"id": True}, r"decisions\[1\].id: expected a whole number, got True"),
        ({"id": 2.0}, r"decisions\[1\].id: expected a whole number, got 2.0"),
        ({"fingerprint": "xyz"}, r"decisions\[1\].fingerprint: expected 16 hex digits, got 'xyz'"),
        ({"fingerprint": 7}, r"decisions\[1\].fingerprint: expected 16 hex digits, got 7"),
        ({"descision": "accept"}, r"decisions\[1\].descision: unknown key; did you mean 'decision'\?"),
        ({"id": 1}, r"decisions\[1\]: expected one decision on label 1, got 'reject' after 'accept'; delete one"),
    ],
    ids=["near miss", "list", "text id", "bool id", "real id", "short print", "print", "key", "second opinion"],
)
def test_edited_by_hand(tmp_path, entry, message):
    with pytest.raises(DataError, match=message):
        read_review(changed(tmp_path, **entry))


def test_key_that_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"decisions\[0\].fingerprint: expected a value, found none"):
        read_review(written(tmp_path, decisions=[{"id": 1, "decision": "accept"}]))


def test_half_written_missing_and_foreign_files(tmp_path):
    file = written(tmp_path)
    file.write_text(file.read_text()[:-20])
    with pytest.raises(DataError, match="review.json: expected a review that report.html exported in JSON, got someth"):
        read_review(file)
    with pytest.raises(DataError, match="none.json: expected a review that report.html exported, found no such file"):
        read_review(tmp_path / "none.json")
    file.write_text("[]")
    with pytest.raises(DataError, match="review.json: format: expected 'amodalpl-review', got list"):
        read_review(file)
