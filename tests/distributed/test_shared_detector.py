"""`train-detector` by two processes (gloo, CPU): both take every step, one writes the results."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("mmdet")

from amodalpl.scenes import write_scenes

TINY = (
    "backbone=resnet18_small", "steps=3", "batch_size=1", "workers=0", "optimizer=adamw", "warmup_steps=1",
    "image_scale=[64,48]", "rpn_proposals=20", "roi_samples=16", "channels=16", "score_threshold=0.0",
)  # fmt: skip


@pytest.mark.slow
def test_torchrun(tmp_path):
    files = write_scenes(tmp_path / "scenes", 6, seed=0, size_hw=(96, 128))
    out = tmp_path / "detector"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
        "amodalpl_cli.main", "train-detector", files.truth, files.images, "--out", out, "--init", "none",
        "--device", "cpu", *(word for setting in TINY for word in ("--set", f"detector.{setting}")),
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("train-detector: done") == 1
    record = json.loads((out / "run.json").read_text())
    assert record["state"] == "done" and record["counts"]["steps"] == 3
