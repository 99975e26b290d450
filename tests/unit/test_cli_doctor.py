"""`amodalpl doctor`: what is here, what is missing, and what to do."""

from __future__ import annotations

import json
from functools import partial
from importlib import import_module, metadata
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from amodalpl.detector import ops
from amodalpl.tools import doctor
from amodalpl_cli.main import app


def imported(broken, name, package=None):
    """Import a module, but raise what is given for one that is broken, and leave out packages that are looked for."""
    if name in broken:
        raise broken[name]
    return None if name in LOOKED_FOR else import_module(name, package)


@pytest.fixture
def installed(monkeypatch):
    """Choose which distributions are here and which imports fail, on a machine without a GPU."""
    monkeypatch.setattr(doctor, "has_gpu_driver", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def choose(versions, broken=()):
        def version(name):
            if name not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(doctor.metadata, "version", version)
        monkeypatch.setattr(doctor.importlib, "import_module", partial(imported, dict(broken)))

    return choose


LOOKED_FOR = (
    *("torch", "numpy", "cv2", "mmengine", "pycocotools", "pydantic", "matplotlib", "jinja2", "mmcv", "mmdet"),
    *("torchvision", "onnxruntime"),
)
ALL = {
    **dict.fromkeys(("torch", "numpy", "opencv-python", "onedl-mmengine", "pycocotools", "pydantic"), "1.0"),
    **dict.fromkeys(("matplotlib", "Jinja2", "onedl-mmcv", "onedl-mmdetection"), "2.0"),
}


def test_here_everything_required_is_found():
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0
    counts = json.loads(result.stdout)["counts"]
    assert counts["packages"]["torch"].startswith("torch 2.") and counts["device"] in ("cpu", "cuda")
    assert {"python", "amodalpl", "gpus", "cpu_threads", "detector_ops", "advice"} <= counts.keys()


def test_nothing_to_do(installed):
    installed(ALL)
    summary = doctor.doctor()
    assert summary.ok and summary.counts["advice"] == ["nothing to do"]
    assert summary.next == "amodalpl demo --out runs/demo"


def test_detector_that_is_missing_is_no_error_but_says_what_to_install(installed):
    names = ("onedl-mmcv", "onedl-mmdetection")
    installed(
        {k: v for k, v in ALL.items() if k not in names},
        {name: ModuleNotFoundError("No module") for name in ("mmcv", "mmdet")},
    )
    summary = doctor.doctor()
    assert summary.ok and summary.counts["packages"]["mmdet"] == "missing"
    assert summary.counts["advice"] == [
        f"{name} is needed by train-detector: pip install 'amodalpl[detector]'" for name in ("mmcv", "mmdet")
    ]


def test_required_package_that_is_missing_is_exit_1(installed):
    installed({k: v for k, v in ALL.items() if k != "pycocotools"}, {"pycocotools": ModuleNotFoundError("No module")})
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "pycocotools is needed by every stage: pip install pycocotools" in " ".join(result.stdout.split())


def test_torchvision_of_another_torch_is_told_with_its_reason(installed):
    installed(
        {**ALL, "torchvision": "0.28.0"}, {"torchvision": RuntimeError("operator\ntorchvision::nms does not exist")}
    )
    summary = doctor.doctor()
    problem = "RuntimeError: operator torchvision::nms does not exist"  # in one line
    assert f"torchvision 0.28.0; its import fails: {problem}" in summary.counts["packages"]["torchvision"]
    assert summary.ok


@pytest.mark.parametrize(
    ("cuda", "init", "told"),
    [
        pytest.param(None, None, "is built without it: install a build for your GPU", id="a build for CPUs"),
        pytest.param("13.0", "driver\ntoo old", "is built for CUDA 13.0, cannot use it: driver too old", id="a driver"),
        pytest.param("13.0", None, "no device is visible, see CUDA_VISIBLE_DEVICES", id="hidden"),
    ],
)
def test_a_gpu_that_torch_does_not_use_is_told_with_the_reason(installed, monkeypatch, cuda, init, told):
    def start():
        if init:
            raise RuntimeError(init)

    installed(ALL)
    monkeypatch.setattr(doctor, "has_gpu_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "init", start)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", None)
    summary = doctor.doctor()
    [advice] = summary.counts["advice"]
    assert advice.startswith("a GPU is here, and torch") and told in advice
    assert summary.ok and summary.next == ""


def test_a_gpu_without_operations_of_its_own_is_told(installed, monkeypatch):
    installed(ALL)
    gpu = SimpleNamespace(name="H100", total_memory=80 * 2**30)
    for name, value in (("is_available", True), ("device_count", 1), ("get_device_properties", gpu)):
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(ops, "backend", lambda: "torch")
    counts = doctor.doctor().counts
    assert (counts["device"], counts["gpus"], counts["detector_ops"]) == ("cuda", ["H100, 80 GiB"], "torch")
    [advice] = counts["advice"]
    assert advice.startswith("the detector's operations run slowly on the GPU without torchvision")
    for served_by in ("torchvision", "mmcv"):
        monkeypatch.setattr(ops, "backend", lambda served_by=served_by: served_by)
        assert doctor.doctor().counts["advice"] == ["nothing to do"]


def test_two_lines_of_openmmlab_clash(installed):
    installed({**ALL, "mmdet": "3.3.0"})
    advice = doctor.doctor().counts["advice"]
    assert len(advice) == 1
    assert "pip uninstall onedl-mmdetection mmdet; then pip install 'amodalpl[detector]'" in advice[0]
