"""The papers' table on drawn scenes: its columns by hand, and the whole command on very little."""

import json
import sys

import pytest

pytest.importorskip("mmdet")

from benchmarks import boxes
from benchmarks.boxes import DETECTORS, by_level, mean_of


def test_columns_are_means_of_their_cells():
    row = {"mean": 0.5, "FG-0": 0.9, "FG-1 BG-1": 0.8, "FG-1 BG-2": 0.6, "FG-1 BG-3": None, "FG-3 BG-1": 0.2}
    columns = by_level(row)
    assert (columns["mean"], columns["FG-0"], columns["FG-2"], columns["FG-3"]) == (0.5, 0.9, None, 0.2)
    assert columns["FG-1"] == pytest.approx(0.7) and columns["BG-1"] == pytest.approx(0.5)


def test_seeds_are_averaged_where_all_have_a_number():
    tables = [{"visible": {"row": {"FG-0": 0.2, "FG-1": 0.4}}}, {"visible": {"row": {"FG-0": 0.4, "FG-1": None}}}]
    assert mean_of(tables) == {"visible": {"row": {"FG-0": pytest.approx(0.3), "FG-1": None}}}


def test_the_ablation_is_blade_with_parts_off():
    from amodalpl.settings_values import resolve

    of = {n: resolve({"detector": d}).detector.blade for n, d in DETECTORS.items() if n.startswith("blade")}
    assert [(s.uniform_weight, s.neighbour_weight, s.fusion) for s in of.values()] == [
        (1, 1, True), (0, 1, True), (1, 0, True), (0, 0, True), (1, 1, False),
    ]  # fmt: skip


def test_the_command_on_very_little(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(boxes, "SIZE_HW", (64, 80))
    small = {"batch_size": 2, "channels": 16, "roi_samples": 8, "rpn_proposals": 20, "image_scale": [80, 64]}
    monkeypatch.setattr(boxes, "SMALL", {**boxes.SMALL, **small})
    words = ["--out", str(tmp_path), "--seeds", "0", "--photos", "16", "--steps", "2", "--models", "blade"]
    monkeypatch.setattr(sys, "argv", ["boxes", *words])
    boxes.main()
    table = json.loads((tmp_path / "table.json").read_text())
    assert set(table["mean"]) == {"visible", "whole"} and "blade" in table["mean"]["visible"]
    assert 0 < table["mean"]["visible"]["filled box"]["mean"] < 1
    assert "filled box" in capsys.readouterr().out
