"""`amodalpl rerun`: repeat a finished run from its record, and compare the results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.mask_parsing import brief
from ..errors import DataError, OutputError, nearest
from ..io.files import read_json
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import RUN_FILE
from ..runtime.summary import Summary
from .stage_table import STAGES

Values = Mapping[str, Any]
_RUN_AS_PYTHON = ("checkpoint",)
"""Arguments that come with a config of MMDetection, which is code: a record must not be able to have it run."""
_NAMES_ITSELF = {"mmdet_config.py"}  # holds the path of its folder, so it differs in another one


def rerun(
    record_file: Path,
    out: Path,
    moved: Mapping[str, Path] | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Summary:
    """Repeat a run and compare what it makes, by hash, with what the record says was made.

    Args:
        record_file: `run.json` of a finished stage, or its folder.
        out: output folder of the repetition.
        moved: where inputs lie now, by the name they have among the record's `arguments`.
        device: "auto", "cpu" or "cuda"; results are the same to the byte only on the same kind of device.
        progress: shown while it works.

    Returns:
        Counts of equal and different outputs, with the names of the latter, and of inputs and versions that differ.
        `ok` is False when an output differs.

    Raises:
        DataError: the record cannot be read, or a name in `moved` is none of its arguments.
        OutputError: the run has not finished, or its record says too little.
    """
    file = record_file / RUN_FILE if record_file.is_dir() else record_file
    record = read_json(file, "the record of a run")
    _require_repeatable(file, record, out)
    stage = STAGES[record["stage"]]
    arguments = dict(record["arguments"])
    for name, path in (moved or {}).items():
        if name not in arguments:
            raise DataError(f"{file}: {name} is no argument of `amodalpl {stage.name}`{nearest(name, arguments)}")
        arguments[name] = str(path)
    if grown := record.get("grown from"):
        progress.warn(f"{file}: went on from {grown} steps; in one go, its learning rate changes otherwise")
    values = {"seed": record["seed"], **record["settings"]}
    stage.run({i.name: i.from_json(arguments.get(i.name)) for i in stage.inputs}, out, values, device, progress)
    again = read_json(out / RUN_FILE, "the record of the repetition")
    counts = _comparison(record, again)
    return Summary("rerun", out, counts, ok=not counts["different"])


def _require_repeatable(file: Path, record: Any, out: Path) -> None:
    if not isinstance(record, dict) or not isinstance(record.get("stage"), str) or record["stage"] not in STAGES:
        found = record.get("stage") if isinstance(record, dict) else type(record).__name__
        raise DataError(f"{file}: expected the record of {', '.join(STAGES)}, got one of {brief(found)}")
    if record.get("state") != "done":
        raise OutputError(f"{file}: `amodalpl {record['stage']}` has not finished there; nothing to compare with")
    kinds = {"arguments": dict, "outputs": dict, "settings": dict, "inputs": dict, "seed": int}
    wrong = [name for name, kind in kinds.items() if not isinstance(record.get(name), kind)]
    if wrong or not record["arguments"]:
        raise OutputError(
            f"{file}: expected {(wrong or ['arguments'])[0]} as this version records them, got none; "
            "it is of an earlier version, or changed by hand"
        )
    code = next((name for name in _RUN_AS_PYTHON if record["arguments"].get(name) is not None), None)
    if code:
        raise OutputError(
            f"{file}: arguments.{code}: the run used a config of MMDetection, which is Python that a record cannot "
            "vouch for; repeat it by its command"
        )
    if out.resolve() == file.parent.resolve():
        raise OutputError(f"{out}: is the folder of the run itself; choose another --out")


def _comparison(before: Values, again: Values) -> dict[str, Any]:
    names = sorted({*before["outputs"], *again["outputs"]} - _NAMES_ITSELF)
    different = [name for name in names if before["outputs"].get(name) != again["outputs"].get(name)]
    machines = [m if isinstance(m, dict) else {} for m in (before.get("machine"), again.get("machine"))]
    changes = {
        name: f"{machines[0].get(name)} then, {machines[1].get(name)} now"
        for name in sorted({*machines[0], *machines[1]})
        if machines[0].get(name) != machines[1].get(name)
    }
    inputs = {*before["inputs"], *again["inputs"]}
    return {
        "equal": len(names) - len(different),
        "different": different,
        "inputs that differ": sorted(k for k in inputs if before["inputs"].get(k) != again["inputs"].get(k)),
        "code": f"{before.get('amodalpl')} {before.get('git')} then, {again.get('amodalpl')} {again.get('git')} now",
        "machine": changes or "the same",
    }
