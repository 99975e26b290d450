"""The import contracts of pyproject.toml: each is broken once, in a copy, and says so."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter")

ROOT = Path(__file__).resolve().parents[2]
FLOORS, RUNS, TORCH = "Imports go down", "know nothing of runs", "The ground floor needs no torch"
DOOR, BACKENDS = "imported by the detector's door only", "Only the training knows of its backend"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    for source, target in (("amodalpl", "amodalpl"), ("cli", "amodalpl_cli"), (".ci", ".ci")):
        shutil.copytree(ROOT / source, folder / target)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def broken(folder):
    done = subprocess.run([sys.executable, ".ci/imports.py"], cwd=folder, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return [line for line in done.stdout.splitlines() if "BROKEN" in line]


@pytest.mark.slow
def test_contracts_hold(copy):
    assert broken(copy) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("io/files.py", "from ..runtime.progress import SILENT", FLOORS),
        ("data/read.py", "from ..runtime.progress import SILENT", FLOORS),
        ("data/read.py", "from ..report.label_page import REPORT_FILE", FLOORS),
        ("masks/boxes.py", "from ..data.records import Dropped", FLOORS),
        ("evaluation/order.py", "from ..pipeline.synth import synth", FLOORS),
        ("synthesis/bank.py", "from ..metrics import completion", FLOORS),
        ("pipeline/synth.py", "import amodalpl_cli.main", FLOORS),
        (
            "completion/precision.py",
            "from ..labelling.ordering import OcclusionEdge",
            "what becomes of its answers",
        ),
        ("convert/yolo.py", "from ..runtime.progress import SILENT", RUNS),
        ("metrics/levels.py", "from ..runtime.progress import SILENT", RUNS),
        ("masks/gaps.py", "import torch", TORCH),
        ("data/read.py", "from ..io.checkpoints import load_plain", "Weights are read by what has networks"),
        ("pipeline/train_detector.py", "import mmdet.apis", DOOR),
        ("detector/config.py", "import mmcv", DOOR),
        ("models/unet.py", "from .conv_avx2 import Convolution", BACKENDS),
        ("pipeline/synth.py", "import rich.table", "Only the command line knows of the terminal"),
    ],
    ids=lambda value: value.split(" ")[-1] if value.startswith(("from", "import")) else value[:20],
)
def test_a_contract_that_is_broken_is_named(copy, file, line, contract):
    path = copy / "amodalpl" / file
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\n{line}\n", encoding="utf-8")
    try:
        assert any(contract in name for name in broken(copy))
    finally:
        path.write_text(before, encoding="utf-8")
