"""The parts of the benchmarks that can be right or wrong without a clock."""

from __future__ import annotations

import json
import sys
import time

import pytest
import torch

from amodalpl.tools.check import check
from benchmarks import __main__ as command
from benchmarks.busy import BusyShare
from benchmarks.compare import slower_than_stored
from benchmarks.drawn import PHOTO_HW, scene_of_eight, write_large_file, write_large_photos
from benchmarks.machine import Machine, measure_machine
from benchmarks.memory import run_and_watch
from benchmarks.watch import Watch


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
    if sys.platform == "linux":
        assert 50 < peak_mb < 120
    else:
        assert peak_mb is None


def test_large_file_is_sound_and_as_large_as_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.drawn.SCENES_REPEATED", 2)
    file, images = write_large_file(tmp_path / "large", 41)
    content = json.loads(file.read_text())
    assert len(content["annotations"]) == 41
    assert len(content["images"]) == len(list(images.iterdir())) >= 4
    summary = check(file, images)
    assert summary.ok and summary.counts["instances"] == 41
    assert summary.counts["overlaps"]["pairs"] > 0  # outlines of neighbours overlap, as COCO's do


def test_large_photos_have_the_objects_asked_for(tmp_path):
    file, images = write_large_photos(tmp_path / "large", 3, 24, (200, 300), 5)
    summary = check(file, images)
    assert summary.ok and summary.counts["instances"] == 24 + 2 * 5
    assert summary.counts["overlaps"]["pairs"] > 10


def test_scene_has_eight_instances_at_the_size_of_a_photo():
    masks, image = scene_of_eight()
    assert masks.shape == (8, *PHOTO_HW) and image.shape == (*PHOTO_HW, 3)
    assert masks.any(axis=(1, 2)).all() and masks.sum(axis=0).max() == 1


@pytest.mark.parametrize(("ratio", "code"), [(3.9, 0), (4.1, 1)], ids=["as fast", "slower by over a third"])
def test_check_fails_when_a_ratio_is_worse(tmp_path, monkeypatch, capsys, ratio, code):
    stored = tmp_path / "ratios.json"
    stored.write_text(json.dumps({"quick cpu": {"training step asbu, 32 x 256 px": 3.0}}))
    machine = {"gflops": 100.0, "copy_gbs": 10.0}
    row = {"value": 1.0, "unit": "ms", "seconds": ratio, "floor_s": 1.0, "ratio": ratio, "machine": machine}
    monkeypatch.setattr(command, "RATIOS", stored)
    monkeypatch.setattr(command, "run_in_own_process", lambda *_: {**row, "busy": None, "peak_mb": 100.0})
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick", "--check", "--only", "step asbu"])
    assert command.main() == code
    assert ("slower: training step asbu, 32 x 256 px: 4.1 times the floor" in capsys.readouterr().err) == (code == 1)


def test_busy_share_is_the_mean_of_what_the_driver_says(tmp_path):
    driver, has_said = tmp_path / "nvidia-smi", tmp_path / "has_said"
    driver.write_text(f"#!/bin/sh\necho 100\necho 80\necho '[N/A]'\necho 90\ntouch '{has_said}'\nexec sleep 60\n")
    driver.chmod(0o755)
    share = BusyShare(str(driver))
    share.start()
    for _ in range(600):
        if has_said.exists():
            break
        time.sleep(0.05)
    assert share.stop() == pytest.approx(0.9)
    assert share.stop() is None
    nobody = BusyShare(str(tmp_path / "missing"))
    nobody.start()
    assert nobody.stop() is None


def test_watch_takes_one_task_only(monkeypatch):
    clock = iter([0.0, 2.0, 2.0, 5.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    watch = Watch("training", torch.device("cpu"))
    with watch.task("loading", 3) as advance:
        advance(1)
    with watch.task("training", 6) as advance:
        for units in (1, 2, 1, 2):
            advance(units)
    assert watch.marks == [(1, 0.0), (3, 2.0), (4, 2.0), (6, 5.0)]
    assert watch.seconds_per_unit() == 1.0  # of 1, 0 and 1.5


def test_watch_does_not_hold_a_gpu_up(monkeypatch):
    waits = []
    monkeypatch.setattr("benchmarks.watch.wait", waits.append)
    monkeypatch.setattr("benchmarks.watch.BusyShare", lambda: BusyShare("no such command"))
    watch = Watch("training", torch.device("cuda"))
    with watch.task("training", 50) as advance:
        for _ in range(50):
            advance(1)
    assert [done for done, _ in watch.marks] == [5, 50] and len(waits) == 2
