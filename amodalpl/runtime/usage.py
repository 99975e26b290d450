"""What a stage took and what it ran on, for `run.json`: never part of what identifies a run."""

from __future__ import annotations

import os
import platform
import sys
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # which drivers make
_PACKAGES = ("torch", "numpy", "opencv-python", "onedl-mmengine", "onedl-mmdetection")


class Usage:
    """Time and memory from its making on.

    On Linux the kernel's mark of the highest memory is put back when it is made, so that stages of one process are told
    apart; elsewhere the mark is that of the whole process.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def to_json(self) -> dict[str, Any]:
        """Return `seconds` and `peak_memory_mb` (of this process, and of its largest helper when that is larger)."""
        return {"seconds": round(time.monotonic() - self._began, 3), "peak_memory_mb": peak_memory_mb()}


def has_gpu_driver() -> bool:
    """Tell whether a driver has made the files of a GPU, whatever torch makes of it."""
    return any(Path(file).exists() for file in GPU_FILES)


def peak_memory_mb() -> int | None:
    """Return the most memory held at once in 10^6 bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    helpers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        own = int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    return round(max(own, helpers) / 1e6)


def machine() -> dict[str, Any]:
    """Return versions, processor count, threads and device names; torch is asked only if it is in use already."""
    versions = {}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    found: dict[str, Any] = {
        "system": platform.platform(),
        "python": platform.python_version(),
        **versions,
        "cores": os.cpu_count(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        if torch.cuda.is_initialized():
            found["devices"] = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return found
