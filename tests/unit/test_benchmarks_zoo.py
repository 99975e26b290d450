"""The comparison of detectors on drawn scenes: means and differences by hand, the whole command on very little."""

import json
import sys

import pytest

pytest.importorskip("mmdet")

from benchmarks import zoo


def of_seeds(*values):
    return {seed: {**dict.fromkeys(zoo.COLUMNS), "AP": value} for seed, value in enumerate(values)}


def test_means_have_intervals_by_students_t():
    """Of 0.4, 0.5 and 0.6: deviation 0.1, t of two degrees 4.303, so 0.248."""
    found = zoo.means({"orcnn_truth": of_seeds(0.4, 0.5, 0.6), "orcnn_modal": of_seeds(0.3)})
    assert found["orcnn_truth"]["AP"]["mean"] == pytest.approx(0.5)
    assert found["orcnn_truth"]["AP"]["half"] == pytest.approx(0.2484, abs=1e-4)
    assert found["orcnn_modal"]["AP"] == {"mean": 0.3, "half": None, "seeds": 1}
    assert found["orcnn_truth"]["AP50"] is None


def test_differences_are_of_the_same_model_and_seed():
    scores = {
        "orcnn_pseudo": of_seeds(0.4, 0.5),
        "orcnn_truth": of_seeds(0.5, 0.5, 0.9),
        "vrsp_truth": of_seeds(0.7),
    }
    found = zoo.differences(scores)
    assert set(found) == {"orcnn_truth"}
    assert {seed: row["AP"] for seed, row in found["orcnn_truth"].items()} == {0: pytest.approx(0.1), 1: 0}


def test_rows_are_chosen_by_name_in_the_order_given(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["zoo", "--out", "x", "--rows", "vrsp_truth", "orcnn_pseudo*", "*_truth"])
    names = [row.name for row in zoo.read_options().rows]
    variants = [name for name, (models, _) in zoo.VARIANTS.items() if "orcnn" in models]
    assert names[: 2 + len(variants)] == ["vrsp_truth", "orcnn_pseudo", *(f"orcnn_pseudo{name}" for name in variants)]
    assert len(names) == 2 + len(variants) + len(zoo.MODELS) - 1 and "+probability" in variants


def test_what_is_about_one_model_is_a_row_of_that_model():
    assert [row.model for row in zoo.ROWS if row.variant == "+logits"] == ["orcnn"]


def test_an_unknown_row_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["zoo", "--out", "x", "--rows", "yolo_truth"])
    with pytest.raises(SystemExit):
        zoo.read_options()
    assert "mask-rcnn_pseudo" in capsys.readouterr().err


def test_the_command_on_very_little(tmp_path, monkeypatch, capsys):
    words = ["--out", str(tmp_path), "--scenes", "6", "--test-scenes", "3", "--steps", "2", "--seeds", "0"]
    monkeypatch.setattr(sys, "argv", ["zoo", *words, "--rows", "mask-rcnn_truth", "orcnn_modal", "--device", "cpu"])
    assert zoo.main() == 0
    table = json.loads((tmp_path / "table.json").read_text())
    assert set(table["rows"]) == {"mask-rcnn_truth", "orcnn_modal"}
    assert table["rows"]["orcnn_modal"]["photos/s"]["mean"] > 0 and table["less pseudo"] == {}
    assert "orcnn_modal" in capsys.readouterr().out
