"""Tiny files as real tools write them, drawn by us: `tests/files/table.json` says what is special and what comes out.

A row of the table: the folder, the tool and its version, what is special, a command, and under `out` what must be
seen: `exit`; `counts` (part of the summary's); `errors` and `warnings` of `check`, all of them; `boxes` (photo, class,
box x, y, w, h of every object); `areas` of them in pixels; `crowds` among them; `scores`; `says` (part of what is
printed); `again`: the exit of `check` over what was written.
"""

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from amodalpl.data.read import read_annotations
from amodalpl.masks import rle
from amodalpl_cli.main import app

FILES = Path(__file__).parents[1] / "files"
TABLE = json.loads((FILES / "table.json").read_text(encoding="utf-8"))


def invoke(*args):
    return CliRunner().invoke(app, list(args), env={"COLUMNS": "400"})


@pytest.mark.parametrize("row", TABLE, ids=[f"{row['folder']}-{' '.join(row['command'])}" for row in TABLE])
def test_what_comes_out_of_it(row, tmp_path, monkeypatch):
    shutil.copytree(FILES / row["folder"], tmp_path / "in")
    monkeypatch.chdir(tmp_path / "in")
    out, expected = tmp_path / "out.json", row["out"]
    writes = ["--out", str(out)] if row["command"][0] == "convert" else []
    result = invoke(*row["command"], *writes, "--json")
    assert result.exit_code == expected["exit"], result.output
    assert expected.get("says", "") in result.output
    if result.exit_code == 2:
        assert not out.exists()
        return
    counts = json.loads(result.stdout)["counts"]
    for key, value in expected.get("counts", {}).items():
        assert counts.get(key, {}) == value
    for key in ("errors", "warnings"):
        if key in expected:
            assert counts[key] == expected[key]
    if writes and result.exit_code == 0:
        records = read_annotations(out)
        names = {image.id: image.file_name for image in records.images}
        boxes = [
            [names[i.image_id], records.category_names[i.category_id], list(rle.box_xywh(i.modal))]
            for i in records.instances
        ]
        assert boxes == expected.get("boxes", boxes)
        areas = [rle.area_px(i.modal) for i in records.instances]
        assert areas == expected.get("areas", areas)
        assert sum(i.is_crowd for i in records.instances) == expected.get("crowds", counts["objects"] - len(boxes))
        if "scores" in expected:
            assert [entry["score"] for entry in json.loads(out.read_text())["annotations"]] == expected["scores"]
    if "again" in expected:
        images = row["command"][row["command"].index("--images") + 1] if "--images" in row["command"] else "."
        checked = invoke("check", str(out), images)
        assert checked.exit_code == expected["again"]["exit"], checked.output


def test_every_folder_is_in_the_table():
    assert {row["folder"] for row in TABLE} == {entry.name for entry in os.scandir(FILES) if entry.is_dir()}
