"""The examples and the notebook run as they are, with fewer steps."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import cv2
import matplotlib
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = ("complete_one_photo", "label_a_data_set", "score_labels")  # each uses what the one before has made


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


def run_script(name, out, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(sys, "argv", [name, "--out", str(out), "--steps", "2"])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    return capsys.readouterr().out


def test_scripts_run_one_after_the_other(out, capsys, monkeypatch):
    said = {name: run_script(name, out, capsys, monkeypatch) for name in SCRIPTS}
    assert "object 0: " in said["complete_one_photo"] and cv2.imread(str(out / "one_photo.png")) is not None
    assert " labels, " in said["label_a_data_set"] and (out / "labels" / "report.html").is_file()
    assert [line.split("  ")[0] for line in said["score_labels"].splitlines()] == [
        "modal mask",
        "convex hull",
        "labels",
    ]


def cells(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [("".join(c["source"]), c) for c in notebook["cells"] if c["cell_type"] == "code"]


def test_notebook_runs(capsys):
    matplotlib.use("Agg")
    names: dict = {}
    for source, _ in cells(EXAMPLES / "first_labels.ipynb"):
        exec(compile(source.replace("STEPS = 300", "STEPS = 2"), "first_labels.ipynb", "exec"), names)  # noqa: S102
    assert names["STEPS"] == 2
    assert names["found"].amodal.shape == names["scene"].amodal.shape
    assert "before" in capsys.readouterr().out


def test_notebook_is_stored_without_outputs():
    assert all(
        not cell["outputs"] and cell["execution_count"] is None for _, cell in cells(EXAMPLES / "first_labels.ipynb")
    )


def test_every_example_is_run_and_on_the_page():
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")} - {"drawn.py"}
    assert files == {*(f"{name}.py" for name in SCRIPTS), "first_labels.ipynb"}
    assert [name for name in files if f"({name})" not in page] == []
