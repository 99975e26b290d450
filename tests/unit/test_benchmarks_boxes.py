"""The papers' table on drawn scenes: its columns by hand, and the whole command on very little."""

import json
import sys

import pytest

pytest.importorskip("mmdet")

from benchmarks import boxes
from benchmarks.boxes import DETECTORS, ROWS, by_level, write_table


def test_columns_are_means_of_their_cells():
    row = {"mean": 0.5, "FG-0": 0.9, "FG-1 BG-1": 0.8, "FG-1 BG-2": 0.6, "FG-1 BG-3": None, "FG-3 BG-1": 0.2}
    columns = by_level(row)
    assert (columns["mean"], columns["FG-0"], columns["FG-2"], columns["FG-3"]) == (0.5, 0.9, None, 0.2)
    assert columns["FG-1"] == pytest.approx(0.7) and columns["BG-1"] == pytest.approx(0.5)


def test_rows_are_means_over_the_seeds_that_are_there(tmp_path):
    (tmp_path / ROWS).mkdir()
    for name, score in (("blade_seed_0", 0.2), ("blade_seed_1", 0.4), ("boxinst_seed_0", None)):
        row = {name.partition("_")[0]: {"mean": score}}
        (tmp_path / ROWS / f"{name}.json").write_text(json.dumps({"visible": row, "whole": row}))
    table = write_table(tmp_path)
    assert table == json.loads((tmp_path / "table.json").read_text())
    assert list(table["whole"]) == ["boxinst", "blade"]
    assert table["visible"]["blade"] == {"mean": pytest.approx(0.3), "seeds": 2}
    assert table["visible"]["boxinst"] == {"mean": None, "seeds": 1}


def test_the_ablation_is_blade_with_parts_off():
    from amodalpl.settings_values import resolve

    of = {n: resolve({"detector": d}).detector.blade for n, d in DETECTORS.items() if n.startswith("blade")}
    assert [(s.uniform_weight, s.neighbour_weight, s.fusion) for s in of.values()] == [
        (1, 1, True), (0, 1, True), (1, 0, True), (0, 0, True), (1, 1, False),
    ]  # fmt: skip


def test_the_command_on_very_little(tmp_path, monkeypatch, capfd):
    words = f"--out {tmp_path} --seeds 0 --photos 12 --objects 2 --steps 2 --enlarge 1 --device cpu --models blade"
    monkeypatch.setattr(sys, "argv", ["boxes", *words.split(), "boxinst of visible boxes"])
    assert boxes.main() == 0
    table = json.loads((tmp_path / "table.json").read_text())
    assert set(table) == {"visible", "whole"}
    assert {"blade", "boxinst of visible boxes", "GrabCut"} <= {*table["visible"]}
    assert 0 < table["visible"]["filled box"]["mean"] < 1
    work = tmp_path / "work" / "seed_0"
    for name, learnt_from in (("blade", "hidden/train.json"), ("boxinst_of_visible_boxes", "modal.json")):
        record = json.loads((work / name / "run.json").read_text())
        assert record["arguments"]["labels"] == str(work / learnt_from)
    shown = capfd.readouterr().out
    assert "filled box" in shown and "blade, seed 0: " in shown
