"""`python -m benchmarks`: run the cases, print a table, write the results as JSON, compare with stored ratios."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from amodalpl import __version__
from amodalpl.errors import AmodalplError
from amodalpl.io.files import write_json
from amodalpl.io.parallel import usable_cores
from amodalpl.runtime.stage_run import git_state

from .compare import slower_than_stored
from .memory import run_and_watch

RATIOS = Path(__file__).with_name("ratios.json")
_SKIPPED = 3  # exit code of a case that cannot run here


def main() -> int:
    """Return the exit code: 0 done, 1 a case failed or, with --check, has become slower, 2 wrong usage."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the case under way is ended too
    options = _options()
    if options.case:
        return _run_case(options)
    from .cases import CASES

    names = [name for name in CASES if (options.only or "") in name]
    if not names:
        print(f"error: --only {options.only}: expected a part of a case's name: {'; '.join(CASES)}", file=sys.stderr)
        return 2
    rows: dict[str, dict[str, Any]] = {}
    failed: list[str] = []
    for name in names:
        print(name, file=sys.stderr, flush=True)
        row = run_in_own_process(name, options)
        if row is None:
            failed.append(name)
        elif "skipped" in row:
            print(f"  skipped: {row['skipped']}", file=sys.stderr)
        else:
            rows[name] = row
    kind = f"{'quick' if options.quick else 'whole'} {options.device}"
    _print_table(rows)
    if options.out:
        machine = {"system": platform.platform(), "cores": usable_cores(), "threads": options.threads}
        about = {"amodalpl": __version__, "git": git_state(), "command": sys.argv, "kind": kind, **machine}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, {**about, "cases": rows})
    ratios = {name: float(f"{row['ratio']:.3g}") for name, row in rows.items()}
    stored = json.loads(RATIOS.read_text(encoding="utf-8")) if RATIOS.exists() else {}
    if options.store:
        write_json(RATIOS, {**stored, kind: {**stored.get(kind, {}), **ratios}})
    slower = slower_than_stored(ratios, stored.get(kind, {})) if options.check else []
    if options.check and not stored.get(kind):
        print(f"error: {RATIOS}: no ratios of the kind {kind!r}; measure them once with --store", file=sys.stderr)
        return 2
    for line in slower:
        print(f"slower: {line}", file=sys.stderr)
    for name in failed:
        print(f"failed: {name}", file=sys.stderr)
    return 1 if slower or failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="NAME", help="run the cases whose name contains this")
    parser.add_argument("--quick", action="store_true", help="less work per case; has stored ratios of its own")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of the networks")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of the networks on the CPU")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument("--check", action="store_true", help="fail if a ratio is worse than stored by over a third")
    parser.add_argument("--store", action="store_true", help=f"remember the ratios in {RATIOS.name}")
    parser.add_argument("--case", metavar="NAME", help=argparse.SUPPRESS)  # run one in this process
    return parser.parse_args()


def run_in_own_process(name: str, options: argparse.Namespace) -> dict[str, Any] | None:
    """Run a case; returns its row, its reason to be skipped, or None if it failed."""
    with tempfile.TemporaryDirectory(prefix="amodalpl-bench-") as folder:
        answer = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks", "--case", name, "--out", str(answer)]
        command += ["--device", options.device, "--threads", str(options.threads)]
        code, peak_mb = run_and_watch([*command, "--quick"] if options.quick else command)
        if code not in (0, _SKIPPED) or not answer.exists():
            return None
        return {**json.loads(answer.read_text(encoding="utf-8")), "peak_mb": peak_mb}


def _run_case(options: argparse.Namespace) -> int:
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch is loaded
    import torch

    from .cases import CASES, Setting, Skipped

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="amodalpl-bench-") as folder:
        try:
            result = CASES[options.case](Setting(Path(folder), torch.device(options.device), options.quick))
        except Skipped as reason:
            write_json(options.out, {"skipped": str(reason)})
            return _SKIPPED
        except AmodalplError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    write_json(options.out, {**asdict(result), "ratio": result.seconds / result.floor_s})
    return 0


def _print_table(rows: dict[str, dict[str, Any]]) -> None:
    table = Table(
        "case", *(("value", "unit", "floor", "times the floor", "peak memory", "GPU busy", "GFLOP/s", "copy GB/s"))
    )
    for name, row in rows.items():
        floor = row["floor_s"] * row["value"] / row["seconds"]  # in the unit of the value, when that is a time
        if "per second" in row["unit"]:
            floor = 1 / row["floor_s"]
        machine = row["machine"]
        table.add_row(
            name,
            f"{row['value']:.3g}",
            row["unit"],
            f"{floor:.3g}",
            f"{row['ratio']:.3g}",
            f"{row['peak_mb']:,.0f} MB" if row["peak_mb"] else "-",
            f"{row['busy']:.0%}" if row.get("busy") is not None else "-",
            f"{machine['gflops']:.0f}",
            f"{machine['copy_gbs']:.1f}",
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    sys.exit(main())
