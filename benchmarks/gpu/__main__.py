"""`python -m benchmarks.gpu`: measure rows one after the other, and put a table together."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from . import figures
from .rows import ROWS
from .runner import REPOSITORY, install, run_limited

TABLE, RESULTS = "table.txt", "gpu.json"
_LEFT_OVER_S = 12.0  # of --minutes, to end a row and for the table
_SHORTEST_S = 15.0  # a row is not begun with less


def main() -> int:
    """Return the exit code: 0 all is done, 1 something failed or ran out of time, 2 wrong usage."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the row under way is ended too
    options = read_options()
    if options.row:
        from .context import measure

        return measure(options)
    began = time.monotonic()
    work = options.work or options.out
    for folder in (options.out, work):
        folder.mkdir(parents=True, exist_ok=True)
    environment = install(options.wheels, work / "site") if options.wheels else dict(os.environ)
    wanted = options.rows or list(ROWS)
    figures.forget(work, wanted)
    states: dict[str, dict[str, object]] = {}
    for name in wanted:
        row = ROWS[name]
        limit_s: float = row.tiny_s if options.tiny else row.limit_s
        if options.minutes:
            limit_s = min(limit_s, options.minutes * 60 - _LEFT_OVER_S - (time.monotonic() - began))
        print(f"{name}: {row.title}", flush=True)
        if limit_s < _SHORTEST_S:
            states[name] = {"state": "not begun: no time left", "seconds": 0.0}
            print("  not begun: no time left", flush=True)
            continue
        state, seconds = run_limited(row_command(options, work, name, limit_s), environment, limit_s)
        states[name] = {"state": state, "seconds": round(seconds, 1)}
        print(f"  {state}, {seconds:.0f} s", flush=True)
        _write(options.out, work, states)
        if name == "ceilings" and state != "done":
            break  # there is nothing to measure on
    _write(options.out, work, states)
    print((options.out / TABLE).read_text(encoding="utf-8"), end="")
    all_done = len(states) == len(wanted) and all(row["state"] == "done" for row in states.values())
    failed = any(figure.failed for figure in figures.read(work) if figure.row in wanted)
    return 0 if all_done and not failed else 1


def read_options() -> argparse.Namespace:
    """Return what the command line asks for."""
    rows = "; ".join(f"{name} {row.title}" for name, row in ROWS.items())
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__, epilog=f"Rows: {rows}.")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help=f"gets {TABLE}, {RESULTS} and the profiles")
    parser.add_argument("--work", type=Path, help="keeps data and trainings for later calls; --out unless given")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="install these packages, and this checkout, first")
    parser.add_argument("--rows", type=_row_names, metavar="A,B,...", help="measure these only, in this order")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--short", action="store_true", help="the most wanted figures only, with fewer steps")
    sizes.add_argument("--tiny", action="store_true", help="sizes that mean nothing, to see that it runs")
    parser.add_argument("--minutes", type=float, help="end within this time; what is left is not begun")
    parser.add_argument("--annotations", type=Path, help="photos to label and detect on; drawn ones unless given")
    parser.add_argument("--images", type=Path, help="folder of these photos")
    parser.add_argument("--steps", type=int, default=56_000, help="of the real training, row f")
    parser.add_argument("--row", help=argparse.SUPPRESS)  # measure one in this process
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)  # that it has
    options = parser.parse_args()
    if (options.annotations is None) != (options.images is None):
        parser.error("--annotations and --images belong together: expected both or none")
    for name in ("out", "work", "wheels", "annotations", "images"):
        path = getattr(options, name)
        setattr(options, name, path and path.resolve())  # rows start in the repository
    return options


def _row_names(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names or not set(names) <= set(ROWS):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(ROWS)}, got {text!r}")
    return names


def row_command(options: argparse.Namespace, work: Path, name: str, limit_s: float) -> list[str]:
    """Return the command that measures one row in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--row", name, "--seconds", f"{limit_s:.0f}"]
    command += ["--out", str(options.out), "--work", str(work), "--device", options.device]
    command += ["--steps", str(options.steps)]
    command += [f"--{size}" for size in ("short", "tiny") if getattr(options, size)]
    if options.annotations:
        command += ["--annotations", str(options.annotations), "--images", str(options.images)]
    return command


def _write(out: Path, work: Path, states: dict[str, dict[str, object]]) -> None:
    found = figures.read(work)
    (out / TABLE).write_text(figures.table(found) + "\n", encoding="utf-8")
    about = {"command": shlex.join(sys.argv), "commit": _commit(), "rows": states}
    values = [{**asdict(figure), "met": figure.met} for figure in found]
    (out / RESULTS).write_text(json.dumps({**about, "figures": values}, indent=1) + "\n", encoding="utf-8")


def _commit() -> str:
    try:
        git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=REPOSITORY)
    except OSError:  # no git here
        return "unknown"
    return git.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
