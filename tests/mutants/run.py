"""`make mutants`: small faults, one at a time, in the modules that science and safety rest on; do their tests see them?

Two kinds of faults. A sample of what cosmic-ray can change, drawn per module by a seed, so that a change of one module
leaves the faults of the others as they are. And faults that survived once (`planted.json`). Each runs with the tests
that `modules.json` names beside its module and the module's own examples, in a copy of the tree. Faults that no test
can see are in `survivors.json`, each with the reason.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from difflib import unified_diff
from pathlib import Path
from random import Random

import cv2  # noqa: F401  # slow to import, so before the forks
import mmengine.runner  # noqa: F401
import pytest
import scipy.optimize  # noqa: F401
import sklearn  # noqa: F401
import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENOUGH = 0.92  # of the sample
LINES_PER_FAULT = 200  # a module has one fault, and one more per so many lines
MOST_SECONDS = 600
_EQUALS = {ast.Is: ast.Eq, ast.IsNot: ast.NotEq}
KILLED_BY_TESTS, ERROR_IN_IMPORT, NO_FAILURE = 1, 2, 0  # exit codes of pytest


@dataclass
class Fault:
    """One fault.

    Attributes:
        module: path of the file, from the root of the tree.
        text: the module with the fault.
        change: the lines that differ, `-` before and `+` after.
        outcome: "killed", "survived" or "timeout".
        seconds: that its tests took.
    """

    module: str
    text: str
    change: str
    outcome: str = ""
    seconds: float = 0.0


def sampled(module: str, code: str, seed: int) -> list[Fault]:
    """Return the faults of a module that the seed draws: places first, so that all of them are equally likely."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    tree = get_ast(code)
    places: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for name in operator_names():
        operator = get_operator(name)
        if not operator.arguments():
            found = (start for node in ast_nodes(tree) for start, _ in operator().mutation_positions(node))
            for occurrence, place in enumerate(found):
                places.setdefault(place, []).append((name, occurrence))
    random = Random(f"{seed}/{module}")
    faults: list[Fault] = []
    for place in random.sample(sorted(places), len(places)):
        if len(faults) == 1 + code.count("\n") // LINES_PER_FAULT:
            break
        name, occurrence = random.choice(places[place])
        text = mutate_code(code, get_operator(name)(), occurrence) or ""
        if _meaning(text) not in ("", _meaning(code)):
            faults.append(Fault(module, text, _change(code, text)))
    return faults


def _meaning(code: str) -> str:
    """Return a module's tree without what no test can see; "" of what is no Python.

    That is: annotations, marks that speak to readers (`frozen`, `strict`), and `is` in place of `==`.
    """
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return ""
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if hasattr(node, name):
                setattr(node, name, None)
        if isinstance(node, ast.Call):
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in ("frozen", "strict")]
        if isinstance(node, ast.Compare):
            node.ops = [_EQUALS.get(type(op), type(op))() for op in node.ops]
    return ast.dump(tree)


def _change(before: str, after: str) -> str:
    lines = unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return "\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---"))


def planted() -> list[Fault]:
    """Return the faults that survived once."""
    found = []
    for row in json.loads((HERE / "planted.json").read_text(encoding="utf-8")):
        code = (ROOT / row["module"]).read_text(encoding="utf-8")
        if code.count(row["was"]) != 1:
            sys.exit(f"planted.json: {row['module']}: expected {row['was']!r} once; write it as the code is now")
        text = code.replace(row["was"], row["becomes"])
        found.append(Fault(row["module"], text, _change(code, text)))
    return found


def copied_tree(folder: Path) -> Path:
    """Copy what git knows or would know into a folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def tests_pass(tree: Path, what: list[str]) -> int:
    """Return pytest's exit code in a forked process, which has the slow imports already; -1 where it took too long."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setsid()
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
            os.chdir(tree)
            os.environ["PYTHONPATH"] = str(tree)
            sys.path[:0] = [str(tree), str(tree / "tests")]
            code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--no-header", *what])
        finally:
            os._exit(code)
    end = time.monotonic() + MOST_SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return abs(os.waitstatus_to_exitcode(status))
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def forget_bytecode(file: Path) -> None:
    """Remove what Python keeps of a module: a fault may have the size and the second of the text before it."""
    for kept in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
        kept.unlink()


def judge(fault: Fault, tree: Path, tests: list[str]) -> None:
    """Run the tests of a module with a fault in it."""
    file = tree / fault.module
    before, start = file.read_bytes(), time.monotonic()
    try:
        file.write_text(fault.text, encoding="utf-8")
        forget_bytecode(file)
        code = tests_pass(tree, [*tests, fault.module])
    finally:
        file.write_bytes(before)
        forget_bytecode(file)
    if code not in (KILLED_BY_TESTS, ERROR_IN_IMPORT, NO_FAILURE, -1):
        sys.exit(f"{fault.module}: pytest ended with {code} for {' '.join(tests)}")
    fault.outcome = {NO_FAILURE: "survived", -1: "timeout"}.get(code, "killed")
    fault.seconds = round(time.monotonic() - start, 1)


def main() -> int:
    """Plant all faults, write what became of them, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="another sample")
    parser.add_argument("--only", default="", help="modules whose path contains this")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "mutants.json", help="what became of each")
    parser.add_argument("--planted", action="store_true", help="only the faults that survived once")
    parser.add_argument("--untouched", action="store_true", help="first run all those tests without a fault")
    asked = parser.parse_args()
    try:
        import cosmic_ray  # noqa: F401
    except ImportError:
        sys.exit("make mutants needs cosmic-ray: pip install -e '.[mutants]'")
    tests = {m: t for m, t in json.loads((HERE / "modules.json").read_text()).items() if asked.only in m}
    sampled_modules = [] if asked.planted else list(tests)
    drawn = [f for m in sampled_modules for f in sampled(m, (ROOT / m).read_text(encoding="utf-8"), asked.seed)]
    again = [fault for fault in planted() if fault.module in tests]
    excused = {(row["module"], row["change"]) for row in json.loads((HERE / "survivors.json").read_text())}
    os.nice(10)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        tree = copied_tree(Path(scratch))
        if asked.untouched and tests_pass(tree, sorted({test for files in tests.values() for test in files})):
            sys.exit("tests fail without any fault; mend them first")
        for number, fault in enumerate([*drawn, *again], 1):
            judge(fault, tree, tests[fault.module])
            print(
                f"{number} of {len(drawn) + len(again)}  {fault.outcome}  {fault.seconds:.0f} s  {fault.module}",
                flush=True,
            )
            if fault.outcome == "survived":
                print(fault.change, flush=True)
    killed = sum(fault.outcome != "survived" for fault in drawn)
    unexplained = [f for f in [*drawn, *again] if f.outcome == "survived" and (f.module, f.change) not in excused]
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    rows = [{key: value for key, value in asdict(f).items() if key != "text"} for f in [*drawn, *again]]
    asked.out.write_text(
        json.dumps({"seed": asked.seed, "killed": killed, "drawn": len(drawn), "faults": rows}, indent=1)
    )
    print(f"{killed} of {len(drawn)} drawn faults killed, {len(again)} that survived once tried again; {asked.out}")
    for fault in unexplained:
        print(f"survived without a reason in survivors.json: {fault.module}\n{fault.change}")
    return int(killed < ENOUGH * len(drawn) or bool(unexplained))


if __name__ == "__main__":
    sys.exit(main())
