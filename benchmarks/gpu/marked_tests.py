"""The tests marked `gpu`; without a GPU they are only found."""

from __future__ import annotations

import re
import subprocess
import sys

from .context import Context
from .runner import REPOSITORY

_COUNTED = re.compile(r"(\d+)(?:/\d+)? (passed|failed|skipped|errors?|tests? collected)")


def measure(context: Context) -> None:
    """Run the tests and keep how many passed, and the names of those that did not."""
    marked = [file for file in sorted(REPOSITORY.glob("tests/**/test_*.py")) if "mark.gpu" in file.read_text("utf-8")]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
        "--tb=short",
        "-rf",
        *map(str, marked),
    ]
    lines = []
    with subprocess.Popen(
        command if context.on_gpu else [*command, "--collect-only"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as tests:
        for line in tests.stdout or ():
            lines.append(line.rstrip())
            print(f"    {line}", end="", flush=True)
    (context.out / "gpu_tests.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    counts = {name: int(number) for number, name in _COUNTED.findall(lines[-1] if lines else "")}
    if not counts:
        raise SystemExit(f"error: pytest ended with code {tests.returncode} and no count; see gpu_tests.txt")
    for name, count in counts.items():
        context.say(name, count, at_most=0 if name.startswith(("failed", "error")) else None)
    for line in lines:
        if line.startswith("FAILED"):
            context.say(line.split(" ")[1], line.partition(" - ")[2] or "failed")
