"""A run is repeated from its record alone, and told apart from one that came out otherwise."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import DataError, OutputError
from amodalpl.pipeline.complete import complete
from amodalpl.pipeline.rerun import rerun
from amodalpl.pipeline.synth import synth
from amodalpl.settings_values import resolve
from amodalpl_cli.main import app

SYNTH = {"seed": 3, "synthesis": {"patch_px": 32, "holdout_scenes": 1, "holdout_fraction": 0.3}}
COMPLETE = {
    "completer": {"method": "asbu", "width": 4},
    "training": {"steps": 2, "batch_size": 2, "workers": 0, "optimizer": "adamw"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rerun")
    scenes = write_scenes(folder / "scenes", 6, seed=0, size_hw=(64, 80))
    synth(scenes.annotations, scenes.images, folder / "synth", resolve(SYNTH))
    complete(folder / "synth", folder / "completer", COMPLETE, "cpu")
    return folder


@pytest.mark.parametrize("stage", ["synth", "completer"])
def test_the_same_comes_out(made, tmp_path, stage):
    found = rerun(made / stage / "run.json", tmp_path / "again", device="cpu")
    record = json.loads((made / stage / "run.json").read_text())
    assert found.ok and found.counts["different"] == [] and found.counts["equal"] == len(record["outputs"]) > 4
    assert found.counts["inputs that differ"] == [] and found.counts["machine"] == "the same"


def changed(made, tmp_path, **changes):
    record = json.loads((made / "synth" / "run.json").read_text())
    file = tmp_path / "run.json"
    file.write_text(json.dumps({**record, **changes}))
    return file


def test_other_outputs_are_named(made, tmp_path):
    record = json.loads((made / "synth" / "run.json").read_text())
    file = changed(made, tmp_path, outputs={**record["outputs"], "holdout.json": "0" * 64, "gone": None, "more": "1"})
    found = CliRunner().invoke(app, ["rerun", str(file), "--out", str(tmp_path / "again")])
    assert found.exit_code == 1
    assert "holdout.json" in found.stdout and "more" in found.stdout and "preview.png" not in found.stdout


def test_moved_inputs(made, tmp_path):
    scenes = tmp_path / "elsewhere"
    shutil.copytree(made / "scenes", scenes)
    gone = {"annotations": "/nowhere/a.json", "images": "/nowhere/photos", "fmt": "auto"}
    file = changed(made, tmp_path, arguments=gone)
    with pytest.raises(DataError, match="/nowhere/a.json"):
        rerun(file, tmp_path / "again")
    names = [p.name for p in scenes.iterdir()]
    annotations = scenes / next(name for name in names if json.loads((made / "synth/run.json").read_text())[
        "arguments"]["annotations"].endswith(name))  # fmt: skip
    found = rerun(file, tmp_path / "again", {"annotations": annotations, "images": scenes / "images"})
    assert found.ok and found.counts["different"] == []
    with pytest.raises(DataError, match="image is no argument of `amodalpl synth`; did you mean 'images'"):
        rerun(file, tmp_path / "third", {"image": scenes})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        pytest.param(
            {"stage": "sinth"}, DataError, "expected the record of advise, .*got one of 'sinth'", id="stage"
        ),
        pytest.param({"state": "unfinished"}, OutputError, "`amodalpl synth` has not finished there", id="unfinished"),
        pytest.param({"arguments": {}}, OutputError, "expected arguments as this version records them", id="old"),
        pytest.param({"outputs": ["a"]}, OutputError, "expected outputs as this version records them", id="outputs"),
        pytest.param({"arguments": {"annotations": 3}}, OutputError, "expected a path, got 3", id="no path"),
    ],
)
def test_record_that_cannot_be_repeated(made, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        rerun(changed(made, tmp_path, **changes), tmp_path / "again")


def test_own_folder_is_refused(made):
    with pytest.raises(OutputError, match="is the folder of the run itself; choose another --out"):
        rerun(made / "synth", made / "synth")


def test_moved_without_a_path_is_refused(made, tmp_path):
    found = CliRunner().invoke(app, ["rerun", str(made / "synth"), "--out", str(tmp_path / "x"), "--moved", "images"])
    assert found.exit_code == 2 and "--moved images: expected NAME=PATH" in found.stderr
