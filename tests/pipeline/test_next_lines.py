"""Every `next:` and `then:`, run as it is printed: nothing that was chosen is lost on the way."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import MissingPackageError
from amodalpl.pipeline import demo as demo_stage
from amodalpl.pipeline.stage_table import IN_RUN
from amodalpl.runtime import usage
from amodalpl_cli import next_command
from amodalpl_cli.main import app

CHOSEN = ["--config", "tiny", "--set", "training.steps=3", "--seed", "4", "--device", "cpu"]


def run(line: str, *more: str) -> dict:
    """Run a printed line, and return its closing summary."""
    program, *args = shlex.split(line)
    assert program == "amodalpl"
    result = CliRunner().invoke(app, [*args, *more, "--json"])
    assert result.exit_code == 0, f"{line}: {result.output}"
    return json.loads(result.stdout)


def parse(line: str) -> None:
    """Parse a command line without running it."""
    root = typer.main.get_command(app)
    with root.make_context("amodalpl", shlex.split(line)[1:]) as context:
        name, command, rest = root.resolve_command(context, [*context._protected_args, *context.args])
        command.make_context(name, rest, parent=context)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with photos, their annotations, and a name that a shell would cut."""
    folder = tmp_path / "my photos"
    files = write_scenes(folder, 6, seed=0, size_hw=(64, 80))
    files.annotations.rename(folder / "instances.json")
    monkeypatch.chdir(folder)
    return folder


def test_from_checking_to_labels_and_advice_by_what_is_printed(place):
    checked = run(f"amodalpl check instances.json images {shlex.join(CHOSEN)}")
    summary = run(checked["next"])
    assert summary["next"] == "open runs/at_once/report.html" and Path("runs/at_once/report.html").is_file()
    assert summary["then"].startswith("amodalpl train-detector runs/at_once/pseudo_amodal.json images ")
    summary, stages = run(checked["then"]), ["advise"]
    while summary["next"].startswith("amodalpl "):
        summary = run(summary["next"])
        stages.append(summary["stage"])
    assert stages[-1] == "pseudolabel" and Path(shlex.split(summary["next"])[1]).is_file(), stages
    assert "--set training.steps=3 --seed 4 --device cpu" in summary["then"]


def test_from_cutting_out_to_the_report_by_what_is_printed(place):
    summary = run(f"amodalpl synth instances.json images --out runs/synth {shlex.join(CHOSEN)}")
    stages = ["synth"]
    while summary["next"].startswith("amodalpl "):
        assert summary["next"].endswith(shlex.join(CHOSEN)), summary["next"]
        summary = run(summary["next"])
        stages.append(summary["stage"])
    assert stages == ["synth", "complete", "pseudolabel"]
    opener, page = shlex.split(summary["next"])
    assert opener == "open" and Path(page) == Path("runs/labels/report.html") and Path(page).is_file()
    record = json.loads(Path("runs/completer/run.json").read_text())
    assert (record["settings"]["training"]["steps"], record["seed"]) == (3, 4)
    assert summary["then"].startswith(
        "amodalpl train-detector runs/labels/pseudo_amodal.json images --out runs/detector --init none --config tiny"
    )
    parse(summary["then"])


@pytest.mark.slow
def test_from_the_report_to_the_detector_s_scores_by_what_is_printed(place):
    pytest.importorskip("mmdet")
    until = f"amodalpl run tiny --annotations instances.json --images images --out runs {shlex.join(CHOSEN[2:])}"
    summary = run(f"{until} --until pseudolabel --init none")
    assert summary["next"] == "open runs/labels/report.html"
    summary = run(summary["then"])
    assert summary["next"] == "open runs/detector/report.html"
    summary = run(summary["then"])
    assert summary["stage"] == "predict" and summary["next"] == "open runs/found/labels/report.html"
    parse(summary["then"])


@pytest.mark.slow
def test_from_boxes_alone_to_labels_by_what_is_printed(place):
    pytest.importorskip("mmdet")
    content = json.loads(Path("instances.json").read_text())
    for entry in content["annotations"]:
        del entry["segmentation"]
    Path("boxes.json").write_text(json.dumps(content))
    checked = run("amodalpl check boxes.json images --config tiny --set detector.steps=2 --device cpu")
    summary = run(checked["next"])
    assert summary["stage"] == "train-detector" and "bbtp" in checked["next"]
    assert summary["then"].startswith("amodalpl pseudolabel boxes.json images --detector runs/detector ")
    labels = run(summary["then"])
    assert labels["counts"]["labels"] == len(content["annotations"]) and labels["next"].startswith("open ")
    assert run(checked["then"])["counts"] == labels["counts"]


@pytest.mark.slow
def test_from_boxes_to_labels_by_what_is_printed(place):
    pytest.importorskip("mmdet")
    summary = run(f"amodalpl train-compositional instances.json images --init none --out 'my shapes' {BOXES}")
    assert summary["next"].endswith(f"--detector 'my shapes' --out 'my labels' {BOXES}")
    summary = run(summary["next"])
    assert summary["next"] == "open 'my labels/report.html'" and Path("my labels/report.html").is_file()
    assert summary["then"].startswith("amodalpl train-detector 'my labels/pseudo_amodal.json' images ")
    parse(summary["then"])


BOXES = "--config tiny --device cpu"


@pytest.mark.slow
def test_predictions_with_spaces_in_every_path_by_what_is_printed(place):
    pytest.importorskip("mmdet")
    Path("images").rename("new photos")
    run(f"amodalpl train-detector truth.json 'new photos' --init none --out 'my detector' {LAST} --config tiny")
    summary = run(
        "amodalpl predict 'new photos' --detector 'my detector' --out 'all found' --set predict.score_threshold=0"
    )
    (label, *_) = json.loads(Path("all found/labels/pseudo_amodal.json").read_text())["annotations"]
    decided(label)
    assert run(summary["then"])["next"] == "open 'all found_corrected/report.html'"


@pytest.mark.parametrize("until", IN_RUN[:3])
def test_run_goes_on_by_the_same_command(until, fake_stage, place):
    fake_stage("pipeline.run_all", "run_pipeline", lambda *a: demo_stage.Summary("run", None, next="open a.html"))
    data = "--annotations instances.json --images images --init none"
    summary = run(f"amodalpl run tiny --out 'a b' {data} --set training.steps=3 --until {until}")
    assert summary["then"] == f"amodalpl run tiny --out 'a b' {data} --set training.steps=3"
    parse(summary["then"])


@pytest.mark.slow
def test_a_run_that_stopped_early_goes_on_to_its_end_by_what_is_printed(place):
    pytest.importorskip("mmdet")
    data = f"--annotations instances.json --images images {shlex.join(CHOSEN[2:])}"
    summary = run(f"amodalpl run tiny {data} --out 'all runs' --until synth")
    assert " --init none " in summary["next"]  # else it would end for want of start weights
    again = run(summary["next"])
    assert again["stage"] == "run" and again["next"] == "open 'all runs/detector/report.html'"
    assert Path("all runs/detector/weights.pth").is_file()
    assert run(again["then"])["stage"] == "predict"


def test_a_network_as_onnx_labels_by_what_is_printed(place):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    run(f"amodalpl run tiny --annotations instances.json --images images --out runs --until complete {LAST}")
    summary = run("amodalpl export-onnx runs/completer")
    assert "--backend onnx" in summary["next"]
    labels = run(summary["next"])
    assert labels["stage"] == "pseudolabel" and Path(shlex.split(labels["next"])[1]).is_file()


@pytest.mark.slow
def test_refined_labels_and_their_detector_by_what_is_printed(place):
    pytest.importorskip("mmdet")
    run(f"amodalpl run tiny --annotations instances.json --images images --out runs --until pseudolabel {LAST}")
    summary = run(
        "amodalpl refine runs/labels images --synth runs/synth --out 'my refined' --init none --config tiny "
        "--device cpu"
    )
    opener, page = shlex.split(summary["next"])
    assert opener == "open" and Path(page).is_file()
    assert run(summary["then"])["stage"] == "predict"


@pytest.mark.parametrize(("gpu", "preset"), [(False, " --config coco_cpu"), (True, "")])
def test_the_preset_is_that_of_the_device(gpu, preset, place, monkeypatch):
    monkeypatch.setattr(next_command, "has_gpu", lambda: gpu)
    assert run("amodalpl check instances.json images")["next"].endswith(f"--out runs/at_once{preset}")
    assert run("amodalpl check instances.json images --device cpu")["next"].endswith(" --config coco_cpu --device cpu")


def test_a_gpu_is_seen_without_torch(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(usage, "GPU_FILES", (str(tmp_path / "none"),))
    assert not next_command.has_gpu()
    monkeypatch.setattr(usage, "GPU_FILES", (str(tmp_path),))
    assert next_command.has_gpu() and "torch" not in sys.modules


def test_a_decided_run_goes_on_to_what_was_decided(place):
    run(f"amodalpl run tiny --annotations instances.json --images images --out runs --until pseudolabel {LAST}")
    label = json.loads(Path("runs/labels/pseudo_amodal.json").read_text())["annotations"][0]
    review = decided(label)
    data = "instances.json images --completer runs/completer"
    summary = run(f"amodalpl pseudolabel {data} --review {review} --out runs/labels2 --config tiny {LAST}")
    assert summary["then"] == (
        "amodalpl apply-review runs/labels2 images runs/labels2/review.json --out runs/corrected2"
    )
    summary = run(summary["then"])
    assert summary["next"] == "open runs/corrected2/report.html" and Path("runs/corrected2/report.html").is_file()
    parse(summary["then"])


LAST = "--set training.steps=2 --device cpu"


def decided(label) -> Path:
    from amodalpl.data.review_file import Decision, Review, fingerprint, write_review

    write_review(Path("review.json"), Review("0" * 64, (Decision(label["id"], "accept", fingerprint(label)),)))
    return Path("review.json")


def test_the_demo_ends_with_its_labels_where_mmdetection_is_missing(tmp_path, monkeypatch):
    def missing(wanted_by):
        raise MissingPackageError(f"{wanted_by} needs MMDetection")

    monkeypatch.setattr(demo_stage, "require_mmdetection", missing)
    monkeypatch.setattr(demo_stage, "TRAINING_SCENES", 6)
    monkeypatch.setattr(demo_stage, "VALIDATION_SCENES", 2)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["demo", "--out", "d", "--config", "tiny", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "warning: the demo ends with its labels: train-detector needs MMDetection" in result.stderr
    assert "next: open d/labels/report.html" in result.stdout and not Path("d/detector").exists()
    assert "then: amodalpl train-detector d/labels/pseudo_amodal.json d/scenes/images --out d/detector" in result.stdout
    assert "--config tiny --device cpu" in result.stdout  # no line leads to the long training of the papers


def test_a_folder_of_another_tool_is_said_before_missing_start_weights(place):
    run("amodalpl convert instances.json --images images --to labelme --out 'my labelme'")
    result = CliRunner().invoke(
        app, ["run", "coco_cpu", "--annotations", "my labelme", "--images", "images", "--out", "runs"]
    )
    assert result.exit_code == 2 and not Path("runs").exists()
    assert "`amodalpl convert 'my labelme' --images PHOTOS --out instances.json`" in result.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["check", "instances.json", "images"],
        ["run", "tiny", "--annotations", "instances.json", "--images", "images", "--out", "runs", "--init", "none"],
    ],
    ids=["check", "run"],
)
def test_a_class_that_is_not_there_is_said_before_hours_of_work(args, place):
    result = CliRunner().invoke(app, [*args, "--set", "labels.per_class.sqare.threshold=0.4"])
    assert result.exit_code == 2 and not Path("runs/synth").exists()
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: labels.per_class: instances.json has no class 'sqare'; ")


def test_a_completer_serves_any_classes(place):
    """What is said of classes is no part of it, so that it may be said later."""
    data = "--annotations instances.json --images images --out runs"
    run(f"amodalpl run tiny {data} --until complete {LAST}")
    name = json.loads(Path("instances.json").read_text())["categories"][0]["name"]
    more = f"--set labels.per_class.{name}.keep_modal=true"
    assert run(f"amodalpl run tiny {data} --until pseudolabel {LAST} {more}")["counts"]["pseudolabel"]["flags"][
        "kept_modal"
    ]
    assert json.loads(Path("runs/completer/run.json").read_text())["settings"]["labels"]["per_class"] == {}


def test_whole_masks_for_yolo_and_the_photos_beside_them(place):
    """From a label folder, which knows its photos; the copy is what Ultralytics reads, and we too."""
    Path("images").rename("my images")
    data = "--annotations instances.json --images 'my images'"
    run(f"amodalpl run tiny {data} --out runs --until pseudolabel {LAST}")
    summary = run("amodalpl convert runs/labels --to yolo --out 'for yolo'")
    assert summary["next"] == "cp -r 'my images'/. 'for yolo/images'" and summary["counts"]["masks"] == "amodal"
    subprocess.run(summary["next"], shell=True, check=True)
    again = run("amodalpl convert 'for yolo' --images 'for yolo/images' --out again.json")
    assert again["counts"]["photos"] == 6 and again["next"] == "amodalpl check again.json 'for yolo/images'"
    assert run("amodalpl convert instances.json --to labelme --out l")["next"] == "cp -r IMAGES/. l"


def test_photos_that_are_links_to_elsewhere(place, monkeypatch):
    monkeypatch.setenv("AMODALPL_FOLLOW_LINKS", "")  # what the option sets ends with the test
    Path("images").rename("archive")
    Path("images").mkdir()
    for photo in Path("archive").iterdir():
        Path("images", photo.name).symlink_to(photo.resolve())
    result = CliRunner().invoke(app, ["check", "instances.json", "images"])
    assert result.exit_code == 2 and "start with `amodalpl --follow-links`" in result.stderr
    summary = run("amodalpl --follow-links check instances.json images --config tiny")
    assert summary["next"].startswith("amodalpl --follow-links pseudolabel instances.json images ")
    assert run(summary["next"])["then"].startswith("amodalpl --follow-links train-detector ")


def test_a_wrong_folder_is_said_before_missing_start_weights(place):
    args = ["run", "coco_cpu", "--annotations", "instances.json", "--images", "imges", "--out", "runs"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 2 and not Path("runs").exists()
    assert result.stderr == "error: data.images: imges: expected the folder of the photos, found no such folder\n"
