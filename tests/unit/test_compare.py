import json

import pytest
from test_evaluate import ALONE, BACK, FRONT, annotation, box, write

from amodalpl.errors import DataError
from amodalpl.evaluation.compare import compare_evaluations
from amodalpl.evaluation.completion import evaluate_completion
from amodalpl.evaluation.order import evaluate_order

MICRO = "completion, micro (PCNet/ASBU): all"
VISIBLE = BACK & ~FRONT


def scene(guess=BACK):
    return [annotation(11, FRONT, FRONT), annotation(12, guess, VISIBLE), annotation(13, ALONE, ALONE)]


@pytest.fixture
def truth(tmp_path):
    return write(tmp_path, "truth.json", scene())


def evaluated(folder, truth, labels, **options):
    """Write labels, score them, and return the file of scores."""
    file = write(folder, "labels.json", labels)
    return evaluate_completion(truth, file, out=folder, **options).files["scores"]


def test_same_meaning_stands_side_by_side(tmp_path, truth):
    a = evaluated(tmp_path / "a", truth, scene())
    b = evaluated(tmp_path / "b", truth, scene(guess=box(0, 6, 10, 15)))
    rows = compare_evaluations([a, tmp_path / "b"]).scores[MICRO]
    assert list(rows) == ["modal mask", "convex hull", f"{a}: labels", f"{b}: labels"]
    assert rows[f"{a}: labels"]["invisible_miou"] == 1.0
    assert rows[f"{b}: labels"]["invisible_miou"] == 0.4


def test_labels_that_tie_keep_their_rows(tmp_path, truth):
    a, b = evaluated(tmp_path / "a", truth, scene()), evaluated(tmp_path / "b", truth, scene())
    rows = compare_evaluations([a, b]).scores[MICRO]
    assert list(rows) == ["modal mask", "convex hull", f"{a}: labels", f"{b}: labels"]


def refusal(tmp_path, a, b):
    with pytest.raises(DataError, match="numbers that mean different things do not stand side by side") as caught:
        compare_evaluations([a, b])
    return str(caught.value).replace(str(tmp_path), "")


def test_other_truth_is_refused(tmp_path, truth):
    other = write(tmp_path, "other.json", scene(guess=box(0, 4, 10, 15)))
    a, b = evaluated(tmp_path / "a", truth, scene()), evaluated(tmp_path / "b", other, scene())
    assert refusal(tmp_path, a, b).startswith("/b/evaluation.json: another truth than in /a/evaluation.json: ")


def test_other_options_are_refused(tmp_path, truth):
    a = evaluated(tmp_path / "a", truth, scene())
    b = evaluated(tmp_path / "b", truth, scene(), things_only=True)
    assert "other options than in /a/evaluation.json: things_only is True, there False" in refusal(tmp_path, a, b)
    b = evaluated(tmp_path / "b", truth, scene(), levels="kins")
    assert "levels is 'KINS bins', there 'COCOA-cls bins'" in refusal(tmp_path, a, b)


def test_other_objects_are_refused(tmp_path, truth):
    a, b = evaluated(tmp_path / "a", truth, scene()), evaluated(tmp_path / "b", truth, scene()[:2])
    assert "other objects, or other visible masks than in /a/evaluation.json: 2 " in refusal(tmp_path, a, b)


def test_other_evaluation_is_refused(tmp_path, truth):
    a = evaluated(tmp_path / "a", truth, scene())
    b = evaluate_order(truth, truth, out=tmp_path / "b").files["scores"]
    assert "another evaluation than in /a/evaluation.json: evaluate order, there" in refusal(tmp_path, a, b)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("amodalpl", "0.0.0", "another version of amodalpl than in"),
        (
            "scored",
            {"objects": 3, "sha256": "0"},
            r"other objects, or other visible masks than in .*: 3 \(0\), there 3",
        ),
        ("scores", {"COCO AP amodal (segm)": {}}, r"other protocols than in .*only here \['COCO AP amodal \(segm\)'\]"),
    ],
)
def test_edited_files_are_refused(tmp_path, truth, key, value, message):
    a, b = evaluated(tmp_path / "a", truth, scene()), evaluated(tmp_path / "b", truth, scene())
    b.write_text(json.dumps({**json.loads(b.read_text()), key: value}))
    with pytest.raises(DataError, match=message):
        compare_evaluations([a, b])


def test_wrong_usage_is_named(tmp_path, truth):
    a = evaluated(tmp_path / "a", truth, scene())
    with pytest.raises(DataError, match="at least two evaluations to compare, got 1"):
        compare_evaluations([a])
    with pytest.raises(DataError, match=r"evaluation.json: expected different evaluations to compare, got this one"):
        compare_evaluations([a, tmp_path / "a"])
    with pytest.raises(DataError, match=r"truth.json: expected scores that `amodalpl evaluate .* got something else"):
        compare_evaluations([a, truth])
    with pytest.raises(DataError, match="none.json: expected scores that .* found no such file"):
        compare_evaluations([a, tmp_path / "none.json"])
    evaluate_order(truth, truth, out=tmp_path / "a")
    with pytest.raises(DataError, match="expected one evaluation, found evaluation.json, evaluation_order.json"):
        compare_evaluations([a, tmp_path / "a"])
