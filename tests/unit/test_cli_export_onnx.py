"""`amodalpl export-onnx` as it is typed."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from amodalpl.completion.asking import View
from amodalpl.completion.trained import TrainedCompleter, save_completer
from amodalpl.models.completer import build_completer
from amodalpl.settings import CompleterSettings, SynthesisSettings
from amodalpl_cli.main import app


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    trained = TrainedCompleter(build_completer("layered", 4, False).eval(), View(32))
    save_completer(tmp_path, trained, CompleterSettings(width=4), SynthesisSettings(patch_px=32))
    return tmp_path


def test_writes_the_network_and_says_so(folder):
    pytest.importorskip("onnx", reason="needs the extra: pip install 'amodalpl[onnx]'")
    pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'amodalpl[onnx]'")
    result = CliRunner().invoke(app, ["export-onnx", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["files"] == {
        "network": str(folder / "completer.onnx"),
        "note": str(folder / "completer_onnx.json"),
    }
    assert summary["counts"]["opset"] == 17 and float(summary["counts"]["largest difference from torch"]) < 1e-4
    assert "--backend onnx" in summary["next"]
    assert (folder / "completer.onnx").stat().st_size > 10_000


def test_no_completer(tmp_path):
    result = CliRunner().invoke(app, ["export-onnx", str(tmp_path)])
    assert result.exit_code == 2
    assert "completer.json: expected the card of a trained completer" in result.output
    assert not list(tmp_path.iterdir())
