"""`amodalpl evaluate completer`: the scores of `complete` again, those of other hold-outs, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import DataError, OutputError
from amodalpl.evaluation.compare import compare_evaluations
from amodalpl.evaluation.completer_on_holdout import evaluate_completer
from amodalpl.pipeline.complete import complete
from amodalpl.pipeline.synth import synth
from amodalpl.settings import LabelSettings
from amodalpl.settings_values import resolve
from amodalpl_cli.main import app

TRAINING = {
    "completer": {"method": "pcnet-m", "width": 4, "init_gain": 0.5},
    "training": {"steps": 2, "batch_size": 2, "workers": 0, "validate_every": 2},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate_completer")
    scenes = write_scenes(folder / "scenes", 6, seed=0, size_hw=(64, 80))

    def held_out(name, seed=5, **synthesis):
        values = {"seed": seed, "synthesis": {"patch_px": 32, "holdout_fraction": 0.3, **synthesis}}
        synth(scenes.annotations, scenes.images, folder / name, resolve(values))

    held_out("synth", holdout_scenes=1)
    held_out("more", holdout_scenes=4, holdout_placement="pairs")
    held_out("other_photos", seed=6)
    made = complete(folder / "synth", folder / "completer", TRAINING, "cpu")
    return folder, made


def test_the_hold_out_it_was_trained_beside_gives_the_same_scores(folders):
    folder, made = folders
    again = evaluate_completer(folder / "completer", folder / "synth", LabelSettings(), device="cpu")
    assert again.scores == made.scores
    assert again.counts["hold-out scenes"] > 0 and again.files == {}


def test_another_hold_out_of_the_same_photos(folders, tmp_path):
    folder, made = folders
    args = (folder / "completer", folder / "more", LabelSettings())
    more = evaluate_completer(*args, out=tmp_path / "a", device="cpu")
    few = evaluate_completer(folder / "completer", folder / "synth", LabelSettings(), device="cpu")
    assert more.counts["hold-out scenes"] == 4 * few.counts["hold-out scenes"]
    assert more.scores != made.scores and set(more.scores) == set(made.scores)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    beside = compare_evaluations([tmp_path / "a", tmp_path / "b"])
    assert beside.counts["objects"] == more.counts["instances"]


def test_photos_it_may_have_seen_are_refused(folders):
    folder, _ = folders
    with pytest.raises(DataError, match="hold-out of the photos that .*completer was trained without, got one beside"):
        evaluate_completer(folder / "completer", folder / "other_photos", LabelSettings())


def test_the_completer_of_the_package_takes_any_hold_out(folders, tmp_path):
    folder, made = folders
    found = evaluate_completer(Path("builtin"), folder / "other_photos", LabelSettings(), out=tmp_path, device="cpu")
    assert found.counts["hold-out scenes"] > 0 and set(found.scores) >= set(made.scores)
    assert (tmp_path / "evaluation_completer.json").exists()
    with pytest.raises(OutputError, match="expected an output folder of `amodalpl synth`, got one of 'complete'"):
        evaluate_completer(Path("builtin"), folder / "completer", LabelSettings())


def test_other_folders_are_refused(folders):
    folder, _ = folders
    with pytest.raises(OutputError, match="expected an output folder of `amodalpl complete`, got one of 'synth'"):
        evaluate_completer(folder / "synth", folder / "synth", LabelSettings())
    with pytest.raises(OutputError, match="expected an output folder of `amodalpl synth`, got one of 'complete'"):
        evaluate_completer(folder / "completer", folder / "completer", LabelSettings())


def test_command_line(folders, tmp_path):
    folder, made = folders
    args = ["evaluate", "completer", folder / "completer", folder / "synth", "--out", tmp_path, "--json"]
    result = CliRunner().invoke(app, [*map(str, args), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["scores"] == json.loads(json.dumps(made.scores))
    assert (tmp_path / "evaluation_completer.json").exists()
    result = CliRunner().invoke(app, ["evaluate", "completer", str(tmp_path), str(folder / "synth")])
    assert result.exit_code == 2 and "the record of a finished `amodalpl complete`" in result.stderr
