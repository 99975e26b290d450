"""`amodalpl export-onnx` as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from typer.testing import CliRunner

from amodalpl.completion.checkpoint import CompleterBundle, save_completer
from amodalpl.completion.predictor import CropSpec
from amodalpl.errors import OutputError
from amodalpl.models.completer import build_completer
from amodalpl.runtime.folder_lock import LOCK_FILE
from amodalpl.settings import CompleterSettings, SynthesisSettings
from amodalpl.tools.export_onnx import export_onnx
from amodalpl_cli.main import app


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    trained = CompleterBundle(build_completer("layered", 4, False).eval(), CropSpec(32))
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


def test_a_folder_that_another_process_works_in_is_refused(folder):
    code = (
        "import sys; from pathlib import Path; from amodalpl.runtime.folder_lock import lock_folder; "
        "kept = lock_folder(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        before = sorted(path.name for path in folder.iterdir())
        result = CliRunner().invoke(app, ["export-onnx", str(folder)])
        assert sorted(path.name for path in folder.iterdir()) == before
        other.stdin.close()
    assert result.exit_code == 2
    assert f"another process is working in this folder (process {other.pid} on" in result.output


def test_the_lock_goes_with_the_command(folder, monkeypatch):
    seen = []

    def write(completer, *_):
        seen.append((completer / LOCK_FILE).exists())
        raise OutputError("no space")

    monkeypatch.setattr("amodalpl.tools.export_onnx.write_network", write)
    with pytest.raises(OutputError, match="no space"):
        export_onnx(folder)
    assert seen == [True] and not (folder / LOCK_FILE).exists()


def test_no_folder(tmp_path):
    result = CliRunner().invoke(app, ["export-onnx", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "completer.json: expected the card of a trained completer" in result.output


def test_no_completer(tmp_path):
    result = CliRunner().invoke(app, ["export-onnx", str(tmp_path)])
    assert result.exit_code == 2
    assert "completer.json: expected the card of a trained completer" in result.output
    assert not list(tmp_path.iterdir())
