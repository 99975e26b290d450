"""The stages from Python: the same folders as those of the commands, and the same one line for what is wrong."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import amodalpl
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import AmodalplError
from amodalpl.io.files import hash_output
from amodalpl_cli.main import app

STEPS = {"training": {"steps": 3}}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("python"), 5, seed=0, size_hw=(64, 80))


@pytest.fixture(scope="module")
def made(scenes):
    out = scenes.images.parent
    amodalpl.synthesise(str(scenes.annotations), scenes.images, out / "synth", config="tiny", seed=3)
    amodalpl.train_completer(str(out / "synth"), out / "completer", config="tiny", device="cpu", **STEPS)
    return amodalpl.label_photos(
        scenes.annotations, scenes.images, out / "completer", str(out / "labels"), device="cpu"
    )


def test_the_command_finds_them_done(made, scenes):
    """The same settings, seed and inputs are the same run."""
    out = scenes.images.parent
    before = [hash_output(out / name) for name in ("synth", "completer", "labels")]
    tiny = ["--config", "tiny", "--set", "training.steps=3"]
    for line in (
        ["synth", scenes.annotations, scenes.images, "--out", out / "synth", *tiny, "--seed", "3"],
        ["complete", out / "synth", "--out", out / "completer", *tiny, "--device", "cpu"],
        ["pseudolabel", scenes.annotations, scenes.images, "--completer", out / "completer", "--out", out / "labels"],
    ):
        result = CliRunner().invoke(app, list(map(str, line)))
        assert result.exit_code == 0, result.output
    assert [hash_output(out / name) for name in ("synth", "completer", "labels")] == before
    assert json.loads((out / "completer/run.json").read_text())["settings"]["training"]["steps"] == 3
    assert made.files["report"].is_file() and made.counts["labels"] > 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"labels": {"gap": 3}}, "unknown setting 'labels.gap'; did you mean 'gap_px'", id="setting"),
        pytest.param({"label": {"gap_px": 3}}, "unknown setting 'label'; did you mean 'labels'", id="section"),
        pytest.param({"config": "coco_gpu"}, "coco_gpu: expected a settings file or the name of", id="file"),
        pytest.param({"device": "gpu"}, "expected auto, cpu or cuda, got 'gpu'", id="device"),
    ],
)
def test_what_is_wrong_is_one_line(made, scenes, tmp_path, given, message):
    with pytest.raises(AmodalplError, match=message):
        amodalpl.label_photos(scenes.annotations, scenes.images, made.out.parent / "completer", tmp_path / "o", **given)
    assert not (tmp_path / "o").exists()


def test_start_weights_of_a_detector_may_be_none(scenes, tmp_path):
    pytest.importorskip("mmdet")
    small = {"backbone": "resnet18_small", "roi_samples": 16, "channels": 16, "rpn_proposals": 20}
    done = amodalpl.train_detector(
        scenes.truth, scenes.images, tmp_path / "detector", init="none", config="tiny", detector=small, device="cpu"
    )
    assert done.files["weights"].is_file() and done.counts["start"] == "random"
