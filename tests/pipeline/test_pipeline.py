"""The whole chain on drawn scenes with the tiny settings: every file is there, and a second call keeps them all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import CheckpointError
from amodalpl.pipeline.run_all import run_pipeline
from amodalpl.settings_values import merge, read_config

FILES = {
    "synth": ("bank/table.npy", "bank/bits.npy", "holdout.json", "preview.png"),
    "completer": ("weights.pth", "completer.json", "metrics.json", "curves.png"),
    "labels": ("pseudo_amodal.json", "order.json", "stats.json", "report.html", "overlays.png"),
}
TINY = Path(__file__).parents[2] / "configs" / "tiny.yaml"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"), 6, seed=0, size_hw=(96, 128))


def values(scenes, **data):
    paths = {"annotations": str(scenes.annotations), "images": str(scenes.images), "truth": str(scenes.truth)}
    return merge(read_config(TINY), {"data": {**paths, **data}})


def stage_files(out):
    """Return what stages wrote; `scores.json` is put together anew by every call."""
    return {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file() and p.parent != out}


def test_scenes_to_labels_and_scores(scenes, tmp_path):
    out = tmp_path / "out"
    wanted = values(scenes, detector=False)
    first = run_pipeline(wanted, out, "cpu")
    for folder, names in FILES.items():
        for name in (*names, "run.json"):
            assert (out / folder / name).is_file(), name
        assert json.loads((out / folder / "run.json").read_text())["state"] == "done"
    assert not (out / "detector").exists()
    assert all(path.is_file() for path in first.files.values())
    assert json.loads((out / "scores.json").read_text()) == first.scores
    names = " ".join(first.scores)
    assert "hold-out completion" in names and "order, O-Acc" in names and "completion, micro (PCNet/ASBU): all" in names
    labels = json.loads((out / "labels/pseudo_amodal.json").read_text())["annotations"]
    assert {a["id"] for a in labels} == {a["id"] for a in json.loads(scenes.truth.read_text())["annotations"]}
    before = stage_files(out)
    second = run_pipeline(wanted, out, "cpu")
    assert second.scores == first.scores and second.counts == first.counts
    assert stage_files(out) == before


def test_scenes_to_detector_scores(scenes, tmp_path):
    pytest.importorskip("mmdet")
    out, other = tmp_path / "out", write_scenes(tmp_path / "other", 2, seed=1, size_hw=(96, 128))
    wanted = values(scenes, val=str(other.truth), val_images=str(other.images), init="none")
    first = run_pipeline(wanted, out, "cpu")
    assert json.loads((out / "detector/run.json").read_text())["state"] == "done"
    assert all(path.exists() for path in first.files.values())
    assert "train-detector" in first.counts
    before = stage_files(out)
    assert run_pipeline(wanted, out, "cpu").scores == first.scores
    assert stage_files(out) == before


def test_missing_start_weights_are_named_before_any_work(scenes, tmp_path):
    pytest.importorskip("mmdet")
    wanted = merge(values(scenes), {"detector": {"backbone": "mobilenet_v2"}, "data": {"detector": True, "init": None}})
    with pytest.raises(CheckpointError, match="mobilenet_v2 has no start weights to download: .*--init none"):
        run_pipeline(wanted, tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()
