"""`run` from boxes alone: a model that learns from them makes the labels, and a detector learns from these."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("mmdet")

from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import SettingsError
from amodalpl.pipeline.run_all import run_pipeline
from amodalpl.settings_values import merge, read_config

TINY = Path(__file__).parents[2] / "configs" / "tiny.yaml"
SIZE_HW = (96, 128)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """Drawn photos with visible and whole boxes, no mask, and their truth."""
    folder = tmp_path_factory.mktemp("boxes")
    scenes = write_scenes(folder, 8, seed=0, size_hw=SIZE_HW)
    truth = json.loads(scenes.truth.read_text())
    visible = {a["id"]: a["bbox"] for a in json.loads(scenes.annotations.read_text())["annotations"]}
    kept = ("id", "image_id", "category_id", "iscrowd")
    truth["annotations"] = [
        {**{k: a[k] for k in kept}, "bbox": visible[a["id"]], "amodal_bbox": a["bbox"]} for a in truth["annotations"]
    ]
    (folder / "boxes.json").write_text(json.dumps(truth))
    return folder / "boxes.json", scenes


def values(boxes, **data):
    file, scenes = boxes
    paths = {"annotations": str(file), "images": str(scenes.images), "init": "none"}
    return merge(read_config(TINY), {"data": {**paths, **data}})


def test_boxes_to_a_detector_in_one_command(boxes, tmp_path):
    known = write_scenes(tmp_path / "known", 8, seed=1, size_hw=SIZE_HW)
    given = {"known": str(known.truth), "known_images": str(known.images), "truth": str(boxes[1].truth)}
    hiding = {"synthesis": {"holdout_fraction": 0.9, "occluded": {"least_side_px": 12, "objects": 3}}}
    wanted = merge(values(boxes, box_model="bayesian-amodal", **given), hiding)
    first = run_pipeline(wanted, tmp_path / "out", "cpu")
    assert list(first.counts) == ["train-compositional", "hide objects", "pseudolabel", "train-detector"]
    for folder in ("box_model", "hidden", "labels", "detector"):
        assert json.loads((tmp_path / "out" / folder / "run.json").read_text())["state"] == "done"
    assert first.counts["pseudolabel"]["uncertainty"].startswith("calibrated on")
    labels = json.loads((tmp_path / "out" / "labels" / "pseudo_amodal.json").read_text())["annotations"]
    assert labels and {a["amodalpl"]["completer"] for a in labels} == {"bayesian-amodal"}
    names = " ".join(first.scores)
    assert "masks from boxes" in names and "COCO AP amodal" in names and "completion, micro" in names
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*/*")}
    assert run_pipeline(wanted, tmp_path / "out", "cpu").scores == first.scores
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*/*")} == before


@pytest.mark.parametrize("model", ["blade", "bbtp"])
def test_a_detector_that_learns_from_boxes_makes_the_labels(boxes, model, tmp_path):
    summary = run_pipeline(values(boxes, box_model=model, detector=False), tmp_path / "out", "cpu")
    assert list(summary.counts) == ["box model", "pseudolabel"]
    assert list(summary.scores) == ["box model: COCO AP amodal (bbox, held-back labels)"]
    learnt = json.loads((tmp_path / "out" / "box_model" / "run.json").read_text())["settings"]["detector"]
    assert (learnt["model"], learnt["boxes_of"]) == (model, "file")
    stats = json.loads((tmp_path / "out" / "labels" / "stats.json").read_text())
    objects = len(json.loads(boxes[0].read_text())["annotations"])
    assert stats["counts"]["labels"] + sum(stats["counts"]["left out"].values()) == objects


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"box_model": "blade", "refine": True}, "refine: expected it to be off with box_model"),
        ({"known": "masks.json"}, "known: expected box_model beside it"),
        ({"box_init": "none"}, "box_init: expected box_model beside it"),
        ({"box_model": "blad"}, "box_model: .*blad"),
    ],
)
def test_what_does_not_go_together_is_refused(boxes, data, why, tmp_path):
    with pytest.raises(SettingsError, match=why):
        run_pipeline(values(boxes, **data), tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


def test_a_last_stage_that_boxes_do_not_have_is_named(boxes, tmp_path):
    with pytest.raises(SettingsError, match="--until synth: expected pseudolabel or train-detector"):
        run_pipeline(values(boxes, box_model="bbtp"), tmp_path / "out", "cpu", until="synth")
    summary = run_pipeline(values(boxes, box_model="bbtp"), tmp_path / "out", "cpu", until="pseudolabel")
    assert list(summary.counts) == ["box model", "pseudolabel"]
