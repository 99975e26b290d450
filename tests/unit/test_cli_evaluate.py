"""The evaluate commands from end to end: what is printed, and what is refused."""

import json

import pytest
from drawn_detections import annotation, detection, truth
from typer.testing import CliRunner

from amodalpl_cli.main import app

WHOLE, HALF_HIDDEN, VISIBLE = (0, 0, 20, 20), (40, 0, 20, 20), (40, 0, 10, 20)
SCENE = truth(annotation(1, WHOLE, visible=WHOLE), annotation(2, HALF_HIDDEN, visible=VISIBLE))


def invoke(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
def files(tmp_path):
    (tmp_path / "truth.json").write_text(json.dumps(SCENE))
    (tmp_path / "found.json").write_text(json.dumps([detection(WHOLE, 0.9)]))
    return tmp_path


def test_a_name_that_is_no_set_of_levels_is_one_line(files):
    result = invoke("evaluate", "completion", files / "truth.json", files / "truth.json", "--levels", "kitti")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: --levels: expected known bins of occlusion, got 'kitti'; known: cocoa-cls, kins, occluded-vehicles\n"
    )


def test_every_table_of_numbers_has_its_protocol_above(files):
    result = invoke("evaluate", "detections", files / "truth.json", files / "found.json", "--levels", "kins")
    assert result.exit_code == 0, result.output
    for protocol in (
        "COCO AP amodal (segm)",
        "COCO AP amodal (bbox)",
        "AP(Occluded), less occluded truths ignored (segm)",
        "COCO AP amodal by occlusion level, KINS bins (segm)",
        "mAP^r, assigned by amodal boxes (Li and Malik)",
    ):
        assert f"\n{protocol}\n" in result.output


def test_class_agnostic_option(files):
    result = invoke("evaluate", "detections", files / "truth.json", files / "found.json", "--class-agnostic", "--json")
    assert set(json.loads(result.stdout)["scores"]) >= {"COCO AP amodal (segm, class-agnostic)"}


def test_completion_takes_levels(files):
    same = files / "truth.json"
    result = invoke("evaluate", "completion", same, same, "--levels", "occluded-vehicles", "--json")
    names = json.loads(result.stdout)["scores"]
    assert "completion, macro over occlusion levels (OccludedVehicles bins, object only): all" in names
    assert "occlusion presence (Li and Malik): all" in names


def test_compare_prints_or_refuses(files):
    same = files / "truth.json"
    for name, options in (("a", ()), ("b", ()), ("c", ("--things-only",))):
        assert invoke("evaluate", "completion", same, same, "--out", files / name, *options).exit_code == 0
    agreed = invoke("evaluate", "compare", files / "a", files / "b", "--json")
    assert agreed.exit_code == 0
    assert "completion, micro (PCNet/ASBU): all" in json.loads(agreed.stdout)["scores"]
    refused = invoke("evaluate", "compare", files / "a", files / "c")
    assert refused.exit_code == 2
    assert "error: " in refused.output and "things_only is True, there False" in refused.output
    assert "Traceback" not in refused.output
