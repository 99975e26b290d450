"""`python -m benchmarks.gpu.wheels`: a folder of wheels for a GPU machine without a network.

Such a machine has a torch for its GPU and what usually comes with it; `MISSING` is the rest, in the versions of
`docker/constraints.txt`, each without what it depends on, so that nothing that is there is replaced.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from .runner import REPOSITORY

CONSTRAINTS = REPOSITORY / "docker" / "constraints.txt"
FROM_SOURCE = ("onedl-mmcv", "onedl-mmdetection")  # published as sources only; pure Python as we build them
MISSING = (
    "addict",
    "annotated-types",
    "imagecorruptions-imaug",
    "imaug",
    "onedl-mmengine",
    "platformdirs",
    "pycocotools",
    "pydantic",
    "pydantic-core",
    "shapely",
    "termcolor",
    "terminaltables",
    "typing-inspection",
    "yapf",
    *FROM_SOURCE,
)
_GLIBC = (17, 24, 27, 28)  # versions after "2." that wheels are tagged with and a machine of 2026 has


def pinned() -> dict[str, str]:
    """Return the versions of `docker/constraints.txt` by name."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def build(folder: Path, python: str, platform: str) -> int:
    """Download or build the wheels; returns the bytes of all.

    Args:
        folder: gets the `.whl` files.
        python: version of the machine's Python, such as "3.12".
        platform: processor of the machine, such as "x86_64".
    """
    versions = pinned()
    pip = [sys.executable, "-m", "pip"]
    wanted = [f"{name}=={versions[name]}" for name in MISSING if name not in FROM_SOURCE]
    tags = [f"--platform=manylinux_2_{minor}_{platform}" for minor in _GLIBC] + [f"--platform=manylinux2014_{platform}"]
    machine = ["--only-binary=:all:", f"--python-version={python}", "--implementation=cp", *tags]
    subprocess.run([*pip, "download", "--quiet", "--no-deps", *machine, "--dest", str(folder), *wanted], check=True)
    sources = [f"{name}=={versions[name]}" for name in FROM_SOURCE]
    plain = {**os.environ, "MMCV_WITH_OPS": "0"}
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), *sources], check=True, env=plain)
    made = list(folder.glob("*.whl"))
    strange = [file.name for file in made if not _fits(file.name, python, platform)]
    if strange:
        raise SystemExit(f"error: {folder}: expected wheels for Python {python} on {platform}, got {strange}")
    return sum(file.stat().st_size for file in made)


def _fits(name: str, python: str, platform: str) -> bool:
    """Tell whether a wheel's file name says that it runs there.

    >>> _fits("a-1-py3-none-any.whl", "3.12", "x86_64"), _fits("a-1-cp311-cp311-linux_x86_64.whl", "3.12", "x86_64")
    (True, False)
    """
    interpreter, _, system = name.removesuffix(".whl").split("-")[-3:]
    if system == "any":
        return "py3" in interpreter.split(".")
    return interpreter == f"cp{python.replace('.', '')}" and "manylinux" in system and system.endswith(platform)


def main() -> None:
    """Build the folder that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.wheels", description=__doc__)
    parser.add_argument("folder", type=Path, help="for the wheels; best a new one")
    parser.add_argument("--python", default="3.12", help="of the GPU machine")
    parser.add_argument("--platform", default="x86_64", help="of the GPU machine")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    size = build(options.folder, options.python, options.platform)
    print(f"{len(list(options.folder.glob('*.whl')))} wheels, {size / 1e6:.1f} MB, in {options.folder}")


if __name__ == "__main__":
    main()
