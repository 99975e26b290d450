"""From a folder of labels to a page to judge them on, and from judgements to a statement on all of them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from drawn_labels import label, write_labels, write_photos
from typer.testing import CliRunner

from amodalpl.data.label_file import read_label_head, read_labels
from amodalpl.errors import DataError
from amodalpl.evaluation.audit import AUDIT, RESTATED, VERDICTS, audit
from amodalpl_cli.main import app


@pytest.fixture
def folders(tmp_path):
    """40 labels that are promised, 20 that are not, 15 that nothing hides."""
    grown = [label(n, added_px=200) for n in range(1, 41)]
    doubtful = [label(n, added_px=200, flags=["low_confidence"]) for n in range(41, 61)]
    alone = [label(n, growth=1.0, added_px=0, flags=["no_occluder"]) for n in range(61, 76)]
    labels = write_labels(tmp_path / "labels", [*grown, *doubtful, *alone], categories=("cup <b>",))
    return labels, write_photos(tmp_path / "photos")


def data_of(page):
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def judge(path, data, verdict_of, count=None):
    """Save what the page would, the first labels judged."""
    shown = data["labels"][:count]
    judgements = [{"id": one["id"], "verdict": verdict_of(int(one["id"]))} for one in shown]
    content = {key: data[key] for key in ("format", "version", "labels_sha256", "seed", "sample")}
    path.write_text(json.dumps({**content, "judgements": [j for j in judgements if j["verdict"]]}))
    return path


def test_page_shows_the_sample_and_no_stratum(tmp_path, folders):
    found = audit(*folders, out=tmp_path / "audit", sample=45)
    data = data_of(found.files["page"])
    assert found.counts["to judge"] == len(data["labels"]) == 45 and data["all"] == 75
    assert len({one["id"] for one in data["labels"]}) == 45
    assert data["verdicts"] == VERDICTS
    text = found.files["page"].read_text(encoding="utf-8")
    assert "cup <b>" not in text and "promised" not in text
    again = audit(*folders, out=tmp_path / "again", sample=45)
    assert again.files["page"].read_bytes() == found.files["page"].read_bytes()
    assert data_of(audit(*folders, out=tmp_path / "other", sample=45, seed=1).files["page"]) != data


def test_all_judged_is_known(tmp_path, folders):
    """Everything is judged: promised ones right, doubtful ones half right, the others hidden by something unmarked."""
    data = data_of(audit(*folders, out=tmp_path, sample=75).files["page"])

    def verdict_of(number):
        return "right" if number <= 40 or (number <= 60 and number % 2) else "too-large" if number <= 60 else "unmarked"

    found = audit(*folders, judgements=judge(tmp_path / "audit.json", data, verdict_of))
    rows = found.scores[AUDIT]
    assert rows["all"]["right"] == rows["all"]["right_at_least"] == pytest.approx(50 / 75)
    assert rows["grown, not promised"]["right"] == 0.5 and rows["as drawn, no occluder"]["right"] == 0.0
    assert rows["promised"]["right_at_least"] == 1.0 and rows["promised"]["labels"] == 40
    assert found.counts["verdicts"] == {"Right": 50, "Hidden by something unmarked": 15, "Too large": 10}
    assert "at least 66.7% of all 75 labels are right" in found.counts["statement"]


def test_a_sample_bounds_all(tmp_path, folders):
    data = data_of(audit(*folders, out=tmp_path, sample=45).files["page"])
    row = audit(*folders, judgements=judge(tmp_path / "audit.json", data, lambda number: "right")).scores[AUDIT]["all"]
    assert row["judged"] == 45 and row["right"] == 1.0 and 0.7 < row["right_at_least"] < 0.95


def test_who_stops_early_has_judged_a_sample_and_what_was_passed_over_is_wrong(tmp_path, folders):
    data = data_of(audit(*folders, out=tmp_path, sample=45).files["page"])
    passed = int(data["labels"][3]["id"])
    file = judge(tmp_path / "audit.json", data, lambda number: "" if number == passed else "right", count=30)
    found = audit(*folders, judgements=file)
    assert found.scores[AUDIT]["all"]["judged"] == 30
    assert found.counts["verdicts"] == {"Right": 29, "passed over": 1}
    assert found.scores[AUDIT]["all"]["right"] < 1


def test_shown_order_mixes_strata(tmp_path, folders):
    ids = [int(one["id"]) for one in data_of(audit(*folders, out=tmp_path, sample=75).files["page"])["labels"]]
    promised = np.array(ids) <= 40
    assert 8 < promised[:25].sum() < 19 and ids != sorted(ids)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"format": "amodalpl-review"}, "expected format 'amodalpl-audit'", id="another kind"),
        pytest.param({"version": 2}, "expected format 'amodalpl-audit', version 1", id="another version"),
        pytest.param({"labels_sha256": "0"}, "is it of other labels?", id="other labels"),
        pytest.param({"judgements": []}, "expected at least one label judged", id="nothing judged"),
        pytest.param({"judgements": [{"id": "1"}]}, "expected seed, sample and judgements", id="no verdict"),
        pytest.param({"judgements": [{"id": "1", "verdict": "rigth"}]}, "unknown verdict 'rigth'", id="misspelt"),
        pytest.param({"judgements": [{"id": "99", "verdict": "right"}]}, "expected one of the sample", id="not drawn"),
        pytest.param({"seed": -1}, "expected seed, sample and judgements", id="impossible seed"),
    ],
)
def test_judgements_that_do_not_fit(tmp_path, folders, change, message):
    data = data_of(audit(*folders, out=tmp_path, sample=75).files["page"])
    file = judge(tmp_path / "audit.json", data, lambda number: "right")
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        audit(*folders, judgements=file)


def test_photos_that_cannot_be_read_are_grey_and_counted(tmp_path, folders):
    for photo in folders[1].iterdir():
        photo.write_bytes(b"")
    found = audit(*folders, out=tmp_path / "audit", sample=20)
    assert found.counts["photos missing"] == found.counts["to judge"] > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "expected the folder of the photos, found no such folder"),
        ("other", "expected photos of .*, found none of [0-9]+, .* the first"),
    ],
)
def test_the_wrong_folder_of_photos_is_refused(tmp_path, folders, name, message):
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match=f"{name}: {message}"):
        audit(folders[0], tmp_path / name, out=tmp_path / "audit", sample=20)
    assert not (tmp_path / "audit/audit.html").exists()


def test_command_asks_for_a_page_or_judgements(tmp_path, folders):
    labels, photos = map(str, folders)
    run = CliRunner().invoke(app, ["audit", labels, photos, "--out", str(tmp_path / "audit"), "--sample", "30"])
    assert run.exit_code == 0 and "audit.html" in run.output
    run = CliRunner().invoke(app, ["audit", labels, photos])
    assert run.exit_code == 2 and "expected --out DIR for the page to judge on" in run.output


def test_judgements_restate_the_uncertainty_of_all_labels(tmp_path, folders):
    """Labels say 0.1 or so of themselves; a person finds most of them wrong, the doubtful ones above all."""
    data = data_of(audit(*folders, out=tmp_path, sample=75).files["page"])
    wrong = judge(tmp_path / "audit.json", data, lambda number: "right" if number <= 20 else "unmarked")
    found = audit(*folders, judgements=wrong, out=tmp_path / "restated")
    row = found.scores[RESTATED]["all"]
    before = {e["id"]: e for e in json.loads((folders[0] / "pseudo_amodal.json").read_text())["annotations"]}
    after = {e["id"]: e for e in json.loads((tmp_path / "restated" / "pseudo_amodal.json").read_text())["annotations"]}
    assert row["mean_stated"] < 0.2 < 0.35 < row["mean_restated"] < 0.75  # 55 of 75 are wrong
    assert row["mean_restated"] == pytest.approx(np.mean([e["amodalpl"]["uncertainty"] for e in after.values()]))
    assert all(after[n]["segmentation"] == before[n]["segmentation"] for n in before)
    assert "low_confidence" in after[75]["amodalpl"]["flags"] and "no_occluder" in after[75]["amodalpl"]["flags"]
    assert evaluate_labels_can_be_read(tmp_path / "restated")


def evaluate_labels_can_be_read(folder):
    head = read_label_head(folder / "pseudo_amodal.json")
    return len(list(read_labels(folder / "pseudo_amodal.json", *head))) == 75


def test_labels_that_are_all_right_become_surer(tmp_path, folders):
    data = data_of(audit(*folders, out=tmp_path, sample=75).files["page"])
    found = audit(*folders, judgements=judge(tmp_path / "audit.json", data, lambda number: "right"))
    row = found.scores[RESTATED]["all"]
    assert row["mean_restated"] < row["mean_stated"] and found.out is None
