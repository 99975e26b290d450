"""The parts of the benchmarks that can be right or wrong without a clock."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from amodalpl.stages.check import check
from benchmarks.compare import slower_than_stored
from benchmarks.drawn import PHOTO_HW, scene_of_eight, write_large_file
from benchmarks.machine import Machine, measure_machine
from benchmarks.memory import run_and_watch


def test_floor_is_the_larger_of_arithmetic_and_copies():
    machine = Machine(gflops=50, copy_gbs=5)
    assert machine.seconds_for(100e9, 1e9) == 2
    assert machine.seconds_for(10e9, 5e9) == 1


def test_machine_is_measured():
    machine = measure_machine(torch.device("cpu"))
    assert 0.1 < machine.gflops < 1e5 and 0.01 < machine.copy_gbs < 1e4


@pytest.mark.parametrize(
    ("ratio", "lines"),
    [
        pytest.param(3.99, 0, id="a third slower is allowed"),
        pytest.param(4.01, 1, id="more is not"),
        pytest.param(0.1, 0, id="faster"),
    ],
)
def test_slower_by_more_than_a_third(ratio, lines):
    found = slower_than_stored({"step": ratio, "new": 100.0}, {"step": 3.0, "not run": 1.0})
    assert len(found) == lines and all(line.startswith("step: ") for line in found)


def test_memory_of_helpers_is_seen():
    hold = "import time; held = bytearray(50_000_000); time.sleep(1.5)"
    nested = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {hold!r}]) + 7)"
    code, peak_mb = run_and_watch([sys.executable, "-c", nested])
    assert code == 7
    assert peak_mb is None or 50 < peak_mb < 120


def test_large_file_is_sound_and_as_large_as_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.drawn.SCENES_REPEATED", 2)
    file, images = write_large_file(tmp_path / "large", 41)
    content = json.loads(file.read_text())
    assert len(content["annotations"]) == 41
    assert len(content["images"]) == len(list(images.iterdir())) >= 4
    summary = check(file, images)
    assert summary.ok and summary.counts["instances"] == 41
    assert summary.counts["overlaps"]["pairs"] > 0  # outlines of neighbours overlap, as COCO's do


def test_scene_has_eight_instances_at_the_size_of_a_photo():
    masks, image = scene_of_eight()
    assert masks.shape == (8, *PHOTO_HW) and image.shape == (*PHOTO_HW, 3)
    assert masks.any(axis=(1, 2)).all() and masks.sum(axis=0).max() == 1
