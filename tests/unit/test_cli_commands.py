"""Each command: what it hands to its stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from amodalpl_cli.main import app


def invoke(*args):
    result = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize(
    ("name", "hint"),
    [("voc", "known: auto, coco, cocoa, d2sa, kins, kins2020"), ("coca", "did you mean 'cocoa'?")],
)
def test_a_format_that_is_none_is_one_line(name, hint):
    result = CliRunner().invoke(app, ["check", "ann.json", "images", "--format", name])
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: --format: expected a known annotation format, got '{name}'; {hint}; files of other tools: "
        "`amodalpl convert`\n"
    )


def test_check(fake_stage):
    calls = fake_stage("tools.check", "check")
    invoke("check", "ann.json", "images", "--format", "kins", "--thorough")
    [(args, kwargs)] = calls
    assert args == (Path("ann.json"), Path("images")) and (kwargs["fmt"], kwargs["thorough"]) == ("kins", True)


def test_synth_resolves_settings_in_order(fake_stage, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "seed: 5\nsynthesis: {patch_px: 64, shift: 0.1}\ndata: {annotations: other.json}\n"
    )
    calls = fake_stage("pipeline.synth", "synth")
    invoke(
        *("synth", "ann.json", "images", "--out", "out", "--config", tmp_path / "mine.yaml"),
        *("--set", "synthesis.patch_px=128", "--set", "synthesis.flip_probability=0", "--seed", "7"),
    )
    [(_, given)] = calls
    assert (given["annotations"], given["images"], given["out"]) == (Path("ann.json"), Path("images"), Path("out"))
    settings, synthesis = given["settings"], given["settings"].synthesis
    assert (settings.seed, synthesis.patch_px, synthesis.shift, synthesis.flip_probability) == (7, 128, 0.1, 0)
    assert given["fmt"] == "auto" and "device" not in given


def test_complete_hands_on_only_what_was_given(fake_stage):
    calls = fake_stage("pipeline.complete", "complete")
    invoke("complete", "synth", "--out", "out", "--set", "training.steps=3", "--method", "pcnet-m", "--device", "cpu")
    [(_, given)] = calls
    assert (given["synth_dir"], given["out"], given["device"]) == (Path("synth"), Path("out"), "cpu")
    assert given["values"] == {"training": {"steps": 3}, "completer": {"method": "pcnet-m"}}


def test_method_wins_over_the_file(fake_stage, tmp_path):
    (tmp_path / "mine.yaml").write_text("completer: {method: asbu, width: 8}\n")
    calls = fake_stage("pipeline.complete", "complete")
    invoke("complete", "synth", "--out", "out", "--config", tmp_path / "mine.yaml", "--method", "pcnet-m")
    assert calls[0][1]["values"] == {"completer": {"method": "pcnet-m", "width": 8}}


def test_pseudolabel(fake_stage):
    calls = fake_stage("pipeline.make_labels", "make_labels")
    invoke("pseudolabel", "ann.json", "images", "--completer", "completer", "--out", "out")
    [(_, kwargs)] = calls
    paths = [kwargs[name] for name in ("annotations", "images", "completer", "out")]
    assert paths == [Path("ann.json"), Path("images"), "completer", Path("out")]  # a folder, or the word builtin
    assert kwargs["settings"].labels.batch_size == 32 and (kwargs["fmt"], kwargs["device"]) == ("auto", "auto")
    assert (kwargs["review"], kwargs["backend"]) == (None, "torch")
    inputs = ("ann.json", "images", "--completer", "completer", "--out", "out")
    invoke("pseudolabel", *inputs, "--review", "review.json", "--backend", "onnx")
    assert (calls[1][1]["review"], calls[1][1]["backend"]) == (Path("review.json"), "onnx")


def test_train_detector(fake_stage):
    calls = fake_stage("pipeline.train_detector", "train_detector")
    invoke(
        "train-detector", "l.json", "images", "--out", "out", "--val", "v.json", "--val-images", "v", "--init", "none"
    )
    [(_, kwargs)] = calls
    assert (kwargs["labels"], kwargs["images"], kwargs["out"]) == (Path("l.json"), Path("images"), Path("out"))
    assert (kwargs["val"], kwargs["val_images"], kwargs["init"]) == (Path("v.json"), Path("v"), "none")
    invoke("train-detector", "l.json", "images", "--out", "out", "--model", "mask-rcnn-c8")
    assert calls[1][1]["settings"].detector.model == "mask-rcnn-c8"


@pytest.mark.parametrize("what", ["completion", "order"])
def test_evaluate_masks(fake_stage, what):
    calls = fake_stage(f"evaluation.{what}", f"evaluate_{what}")
    invoke("evaluate", what, "truth.json", "labels.json", "--things-only", "--out", "out", "--set", "labels.gap_px=4")
    [(args, kwargs)] = calls
    assert args == (Path("truth.json"), Path("labels.json"))
    assert (kwargs["things_only"], kwargs["out"], kwargs["gap_px"]) == (True, Path("out"), 4)


def test_evaluate_detector(fake_stage):
    calls = fake_stage("evaluation.detector", "evaluate_detector")
    invoke("evaluate", "detector", "folder", "--device", "cpu")
    assert calls[0][0] == (Path("folder"),) and calls[0][1]["device"] == "cpu"


def test_run_keeps_the_paths_of_the_file(fake_stage, tmp_path):
    (tmp_path / "mine.yaml").write_text("data: {annotations: a.json, images: i}\ntraining: {steps: 9}\n")
    calls = fake_stage("pipeline.run_all", "run_pipeline")
    invoke("run", tmp_path / "mine.yaml", "--out", "out", "--set", "data.images=other", "--seed", "2")
    values, out, device, _, until = calls[0][0]
    assert values == {"data": {"annotations": "a.json", "images": "other"}, "training": {"steps": 9}, "seed": 2}
    assert (out, device, until) == (Path("out"), "auto", "refine")


def test_run_takes_paths_and_the_last_stage_as_options(fake_stage, tmp_path):
    (tmp_path / "mine.yaml").write_text("data: {annotations: a.json, images: i, init: none}\n")
    calls = fake_stage("pipeline.run_all", "run_pipeline")
    invoke(
        "run", tmp_path / "mine.yaml", "--out", "o", "--annotations", "b.json", "--images", "j", "--until", "complete"
    )
    values, *_, until = calls[0][0]
    assert values == {"data": {"annotations": "b.json", "images": "j", "init": "none"}}
    assert until == "complete"


def test_methods_are_listed():
    lines = invoke("complete", "--list").stdout.splitlines()
    rows = {line.split()[0]: line for line in lines if line.strip()}
    assert {"layered", "pcnet-m", "asbu", "init", "builtin"} < set(rows)
    assert "modal, boundary" in rows["asbu"] and "pair by pair" in rows["asbu"]


def test_demo(fake_stage):
    calls = fake_stage("pipeline.demo", "demo")
    invoke("demo", "--out", "out", "--set", "detector.steps=2")
    assert calls[0][0][:3] == (Path("out"), {"detector": {"steps": 2}}, "auto")


def test_settings_lists_names_values_and_meanings():
    text = invoke("settings", "labels", "--set", "labels.gap_px=7").stdout
    row = next(line for line in text.splitlines() if "labels.gap_px" in line)
    assert " 7 " in row and "free image pixels" in row and "training." not in text


def test_settings_of_a_section_within_a_section_are_listed_as_they_are_set():
    text = invoke("settings", "synthesis", "--set", "synthesis.layers.tries=17").stdout
    assert " 17 " in next(line for line in text.splitlines() if "synthesis.layers.tries" in line)


def test_settings_as_json_is_a_settings_file(tmp_path):
    file = tmp_path / "all.yaml"
    file.write_text(invoke("settings", "--json", "--set", "training.steps=11").stdout)
    again = invoke("settings", "--json", "--config", file).stdout
    assert again == file.read_text() and json.loads(again)["training"]["steps"] == 11
