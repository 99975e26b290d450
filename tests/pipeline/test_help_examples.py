"""The example in every command's help, run as it is printed; trainings get the settings of `tiny`."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from amodalpl.data.review_file import Decision, Review, fingerprint, write_review
from amodalpl.drawn_scenes import write_scenes
from amodalpl.pipeline import demo as demo_stage
from amodalpl_cli.main import app

TINY = ["--config", "tiny", "--set", "training.steps=2", "--device", "cpu"]
OPTIONS = {  # that make an example quick
    "advise": ["--set", "training.steps=10", "--set", "training.batch_size=1", "--device", "cpu"],
    "complete": TINY,
    "synth": TINY,
    "demo": TINY,
    "train-detector": [*TINY, "--init", "none"],
    "refine": [*TINY, "--init", "none"],
    "train-compositional": [*TINY, "--init", "none"],
}
FIRST = ["convert", "check", "synth", "complete", "pseudolabel"]  # what they make is there for the others
NEED_DETECTOR = {  # and what must be there before
    "train-detector": None,
    "run": None,
    "demo": None,
    "evaluate detector": "train-detector",
    "evaluate zoo": "train-detector",
    "refine": None,
    "predict": "train-detector",
    "train-compositional": None,
}


def examples() -> dict[str, str]:
    """Return the example of each command, by the command's name."""

    def walk(command, name: str) -> Iterator[tuple[str, str]]:
        for inner, below in getattr(command, "commands", {}).items():
            yield from walk(below, f"{name} {inner}".strip())
        if not hasattr(command, "commands"):
            found = re.findall(r"Example: \[bold\]amodalpl (.+?)\[/bold\]", command.help or "")
            yield name, found[0] if found else ""

    return dict(walk(typer.main.get_command(app), ""))


def run(line: str, *more: str) -> None:
    result = CliRunner().invoke(app, [*shlex.split(line), *more])
    assert result.exit_code == 0, f"amodalpl {line}: {result.output} {result.exception!r}"


def run_example(name: str) -> None:
    line = examples()[name]
    if name == "complete":
        line = line.split(" --set ")[0]
    if name == "run":
        line = line.replace("coco_cpu", "tiny")
    run(line, *OPTIONS.get(name, ()))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """What help takes for granted."""
    folder = tmp_path_factory.mktemp("site")
    files = write_scenes(folder, 6, seed=0, size_hw=(64, 80))
    first = json.loads(files.truth.read_text(encoding="utf-8"))["images"][0]["file_name"]
    for file in (files.annotations, files.truth):
        file.write_text(file.read_text(encoding="utf-8").replace(first, "000000000009.jpg"), encoding="utf-8")
    (folder / "images" / first).rename(folder / "images/000000000009.jpg")
    files.annotations.rename(folder / "instances.json")
    shutil.copy(folder / "instances.json", folder / "boxes.json")
    shutil.copytree(folder / "images", folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("convert instances.json --images images --to labelme --out labelme")
        shutil.move("instances.json", "kept.json")
        run_example("convert")
        shutil.move("kept.json", "instances.json")  # whose ids are those of truth.json
        for name in FIRST[1:]:
            run_example(name)
        run("synth instances.json images --out runs/pairs --set synthesis.holdout_placement=pairs", *TINY)
        for name in ("asbu", "pcnet"):
            run(f"evaluate completion truth.json runs/labels/pseudo_amodal.json --out scores/{name}")
        labels = json.loads(Path("runs/labels/pseudo_amodal.json").read_text(encoding="utf-8"))["annotations"]
        decision = Decision(labels[0]["id"], "reject", fingerprint(labels[0]))
        write_review(Path("review.json"), Review("0" * 64, (decision,)))
        Path("runs/detector").mkdir()
        found = [{k: a[k] for k in ("image_id", "category_id", "segmentation")} | {"score": 0.9} for a in labels]
        Path("runs/detector/detections.json").write_text(json.dumps(found), encoding="utf-8")
    return folder


@pytest.fixture
def there(site, tmp_path, monkeypatch):
    shutil.copytree(site, tmp_path / "site")
    monkeypatch.chdir(tmp_path / "site")
    monkeypatch.setattr(demo_stage, "TRAINING_SCENES", 6)
    monkeypatch.setattr(demo_stage, "VALIDATION_SCENES", 2)


def test_every_command_has_an_example():
    assert [name for name, line in examples().items() if not line.startswith(name)] == []


@pytest.mark.parametrize("name", [name for name in examples() if name not in (*FIRST, *NEED_DETECTOR)])
def test_example_runs(name, there):
    if name == "export-onnx" and not importlib.util.find_spec("onnxruntime"):
        pytest.skip("needs the extra onnx")
    run_example(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NEED_DETECTOR)
def test_example_runs_with_a_detector(name, there):
    pytest.importorskip("mmdet")
    shutil.rmtree("runs/detector")
    if NEED_DETECTOR[name]:
        run_example(NEED_DETECTOR[name])
    run_example(name)
