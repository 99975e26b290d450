"""What is installed, which device is used, and what to do about what is missing."""

from __future__ import annotations

import importlib
import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from ..runtime.summary import Summary
from ..runtime.usage import has_gpu_driver
from ..version import __version__

_DETECTOR = "pip install 'amodalpl[detector]'"
_TORCH_FOR_GPU = "a build for your GPU: https://pytorch.org/get-started"


@dataclass(frozen=True)
class _Package:
    """A package by its import name, and the distributions that provide it.

    Attributes:
        module: import name.
        distributions: that provide it.
        remedy: what to do when it is missing.
        required: by every stage.
    """

    module: str
    distributions: tuple[str, ...]
    remedy: str
    required: bool = True


_PACKAGES = (
    _Package("torch", ("torch",), f"pip install torch ({_TORCH_FOR_GPU})"),
    _Package("numpy", ("numpy",), "pip install numpy"),
    _Package("cv2", ("opencv-python", "opencv-python-headless"), "pip install opencv-python"),
    _Package("mmengine", ("onedl-mmengine", "mmengine"), "pip install onedl-mmengine"),
    _Package("pycocotools", ("pycocotools",), "pip install pycocotools"),
    _Package("pydantic", ("pydantic",), "pip install pydantic"),
    _Package("matplotlib", ("matplotlib",), "pip install matplotlib"),
    _Package("jinja2", ("Jinja2",), "pip install Jinja2"),
    _Package("mmcv", ("onedl-mmcv", "mmcv", "mmcv-lite"), _DETECTOR, required=False),
    _Package("mmdet", ("onedl-mmdetection", "mmdet"), _DETECTOR, required=False),
    _Package("torchvision", ("torchvision",), "", required=False),
    _Package("onnxruntime", ("onnxruntime", "onnxruntime-gpu"), "", required=False),
)


def doctor() -> Summary:
    """Look at the installation; not ok when something is missing that every stage needs.

    Returns:
        `counts` holds `python`, `amodalpl`, `packages` (name to version, or what is wrong), `device`, `gpus`,
        `cpu_threads`, `detector_ops` and `advice` (one line per thing to do).
    """
    packages: dict[str, str] = {}
    advice: list[str] = []
    ok = True
    for package in _PACKAGES:
        installed = _installed(package)
        problem = _import_problem(package.module)
        packages[package.module] = ", ".join(f"{name} {version}" for name, version in installed.items()) or "missing"
        if problem is None:
            continue
        if installed:
            packages[package.module] += f"; its import fails: {problem}"
        if package.required:
            ok = False
            advice.append(f"{package.module} is needed by every stage: {package.remedy}")
        elif package.remedy:
            advice.append(f"{package.module} is needed by train-detector: {package.remedy}")
    advice += [
        f"{' and '.join(pair)} are both installed and overwrite each other's files: pip uninstall {' '.join(pair)}; "
        f"then {_DETECTOR}"
        for pair in _clashes()
    ]
    devices, operations = _devices(), _detector_ops()
    advice += _gpu_advice(bool(devices.get("gpus")), operations)
    counts = {
        "amodalpl": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "packages": packages,
        **devices,
        "detector_ops": operations,
        "advice": advice or ["nothing to do"],
    }
    return Summary("doctor", None, counts, ok=ok, next="amodalpl demo --out runs/demo" if ok and not advice else "")


def _installed(package: _Package) -> dict[str, str]:
    """Return the distributions of a package that are here, name to version."""
    found = {}
    for name in package.distributions:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _import_problem(module: str) -> str | None:
    """Import a module and return what went wrong, in one line.

    Any exception is an answer here: torchvision built for CUDA raises RuntimeError beside a CPU build of torch, and
    mmdet raises AssertionError beside an mmcv that it does not like.
    """
    try:
        importlib.import_module(module)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
    return None


def _clashes() -> list[tuple[str, str]]:
    """Pairs of distributions that install the same import name."""
    clashes = []
    for package in _PACKAGES:
        if package.module in ("mmengine", "mmcv", "mmdet"):
            first, *others = _installed(package) or [""]
            clashes += [(first, other) for other in others]
    return clashes


def _devices() -> dict[str, Any]:
    """Say which device `--device auto` takes, and what there is."""
    try:
        import torch
    except Exception:
        return {"device": "none, since torch cannot be imported"}
    gpus = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            gpus.append(f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB")
    return {
        "device": "cuda" if gpus else "cpu",
        "gpus": gpus,
        "cpu_threads": f"{torch.get_num_threads()} of {os.cpu_count()}",
    }


def _gpu_advice(in_use: bool, operations: str) -> list[str]:
    """Say why a GPU that is there is not used, and what the detector misses on one that is.

    Args:
        in_use: torch sees a GPU.
        operations: what serves the detector's.
    """
    if in_use:
        slow = "the detector's operations run slowly on the GPU without torchvision: install the build of your torch"
        return [slow] if operations == "torch" else []
    if not has_gpu_driver():
        return []
    try:
        import torch
    except Exception:
        return []  # told already
    built_for = torch.version.cuda or torch.version.hip
    if built_for is None:
        return [f"a GPU is here, and torch {torch.__version__} is built without it: install {_TORCH_FOR_GPU}"]
    try:
        torch.cuda.init()
        problem = "no device is visible, see CUDA_VISIBLE_DEVICES"
    except Exception as error:
        problem = " ".join(str(error).split())[:160]
    return [f"a GPU is here, and torch, which is built for CUDA {built_for}, cannot use it: {problem}"]


def _detector_ops() -> str:
    """Name what serves mmcv's compiled functions to the detector."""
    try:
        from ..detector import ops

        return str(ops.backend())
    except Exception as error:
        return f"none ({type(error).__name__}: {' '.join(str(error).split())})"[:160]
