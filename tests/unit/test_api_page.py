"""Every example in docs/api.md runs and prints what the page says."""

from __future__ import annotations

import doctest
import importlib.util
import re
from pathlib import Path

import pytest
import torch

from amodalpl.calibration.fit import Calibration
from amodalpl.completion.checkpoint import CompleterBundle, save_completer
from amodalpl.completion.predictor import CropSpec
from amodalpl.drawn_scenes import write_scenes
from amodalpl.models.completer import build_completer
from amodalpl.settings import CompleterSettings, SynthesisSettings
from amodalpl.settings_values import resolve
from amodalpl.tools.export_onnx import export_onnx

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
HAS_MMDET = bool(importlib.util.find_spec("mmdet"))
TINY_DETECTOR = {
    "backbone": "resnet18_small", "steps": 2, "batch_size": 1, "workers": 0, "image_scale": [64, 48],
    "rpn_proposals": 20, "roi_samples": 16, "channels": 16,
}  # fmt: skip
HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """The files that the page names, in the folder that it is read in."""
    torch.manual_seed(2)
    completer = build_completer("layered", 4, False, init_gain=1.0).eval()
    folder = tmp_path / "runs" / "completer"
    folder.mkdir(parents=True)
    trained = CompleterBundle(completer, CropSpec(32), calibration=Calibration((0.0, 1.0), (0.05, 0.9)))
    save_completer(folder, trained, CompleterSettings(width=4), SynthesisSettings(patch_px=32))
    files = write_scenes(tmp_path, 2, seed=0, size_hw=(64, 80))
    files.annotations.rename(tmp_path / "instances.json")
    assert files.images == tmp_path / "images"
    if HAS_MMDET:
        from amodalpl.pipeline.train_detector import train_detector

        settings = resolve({"detector": TINY_DETECTOR})
        train_detector(tmp_path / "truth.json", files.images, tmp_path / "runs/detector", settings, init="none")
    monkeypatch.chdir(tmp_path)
    return folder


def run(blocks):
    parser = doctest.DocTestParser()
    runner = doctest.DocTestRunner(verbose=False)
    names: dict = {}
    said: list[str] = []
    for block in blocks:
        test = parser.get_doctest(block, names, "docs/api.md", str(PAGE), 0)
        runner.run(test, out=said.append, clear_globs=False)
        names = test.globs
    return runner.summarize(verbose=False), "".join(said)


def test_examples_run(workplace):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    by_onnx = [block for block in blocks if 'backend="onnx"' in block]
    assert len(blocks) >= 6 and len(by_onnx) == 1
    if not HAS_MMDET:
        blocks = [block for block in blocks if "detect_image" not in block]
    if HAS_ONNX:
        export_onnx(workplace)
    else:
        blocks.remove(by_onnx[0])
    result, said = run(blocks)
    assert result.attempted > 15 and result.failed == 0, said


def test_a_wrong_example_would_be_seen():
    result, said = run([">>> 1 + 1\n3\n"])
    assert result.failed == 1 and "Expected:\n    3" in said
