"""`amodalpl rerun`: repeat a finished run from its record, and compare the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..data.mask_parsing import brief
from ..errors import DataError, OutputError, nearest
from ..io.files import read_json
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import RUN_FILE
from ..runtime.summary import Summary
from ..settings_values import resolve

Values = Mapping[str, Any]
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
        record_file: `run.json` of a finished synth, complete, pseudolabel, train-detector or apply-review, or its
            folder.
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
    arguments = dict(record["arguments"])
    for name, path in (moved or {}).items():
        if name not in arguments:
            raise DataError(f"{file}: {name} is no argument of `amodalpl {record['stage']}`{nearest(name, arguments)}")
        arguments[name] = str(path)
    values = {"seed": record["seed"], **record["settings"]}
    _STAGES[record["stage"]](arguments, values, out, device, progress)
    again = read_json(out / RUN_FILE, "the record of the repetition")
    counts = _comparison(record, again)
    return Summary("rerun", out, counts, ok=not counts["different"])


def _require_repeatable(file: Path, record: Any, out: Path) -> None:
    if not isinstance(record, dict) or not isinstance(record.get("stage"), str) or record["stage"] not in _STAGES:
        found = record.get("stage") if isinstance(record, dict) else type(record).__name__
        raise DataError(f"{file}: expected the record of {', '.join(_STAGES)}, got one of {brief(found)}")
    if record.get("state") != "done":
        raise OutputError(f"{file}: `amodalpl {record['stage']}` has not finished there; nothing to compare with")
    kinds = {"arguments": dict, "outputs": dict, "settings": dict, "inputs": dict, "seed": int}
    wrong = [name for name, kind in kinds.items() if not isinstance(record.get(name), kind)]
    if wrong or not record["arguments"]:
        raise OutputError(
            f"{file}: expected {(wrong or ['arguments'])[0]} as this version records them, got none; "
            "it is of an earlier version, or changed by hand"
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


def _path(arguments: Values, name: str) -> Path:
    try:
        if "\0" in arguments[name]:
            raise TypeError
        return Path(arguments[name])
    except (KeyError, TypeError):
        raise OutputError(
            f"{RUN_FILE}: arguments.{name}: expected a path, got {brief(arguments.get(name))}; it was changed by hand"
        ) from None


def _maybe(arguments: Values, name: str) -> Path | None:
    return None if arguments.get(name) is None else _path(arguments, name)


def _synth(arguments: Values, values: Values, out: Path, device: str, progress: Progress) -> None:
    from .synth import synth

    annotations, images = _path(arguments, "annotations"), _path(arguments, "images")
    synth(annotations, images, out, resolve(values), arguments.get("fmt", "auto"), progress)


def _complete(arguments: Values, values: Values, out: Path, device: str, progress: Progress) -> None:
    from .complete import complete

    complete(_path(arguments, "synth_dir"), out, values, device, progress)


def _pseudolabel(arguments: Values, values: Values, out: Path, device: str, progress: Progress) -> None:
    from .pseudolabel import pseudolabel

    given: dict[str, Any] = {name: arguments[name] for name in ("fmt", "backend") if arguments.get(name) is not None}
    pseudolabel(
        _path(arguments, "annotations"),
        _path(arguments, "images"),
        _path(arguments, "completer"),
        out,
        resolve(values),
        device=device,
        progress=progress,
        review=_maybe(arguments, "review"),
        **given,
    )


def _train_detector(arguments: Values, values: Values, out: Path, device: str, progress: Progress) -> None:
    from .train_detector import train_detector

    train_detector(
        _path(arguments, "labels"),
        _path(arguments, "images"),
        out,
        resolve(values),
        val=_maybe(arguments, "val"),
        val_images=_maybe(arguments, "val_images"),
        init=arguments.get("init"),
        device=device,
        progress=progress,
    )


def _apply_review(arguments: Values, values: Values, out: Path, device: str, progress: Progress) -> None:
    from .apply_review import apply_review

    apply_review(
        _path(arguments, "labels"),
        _path(arguments, "images"),
        _path(arguments, "review"),
        out,
        completer=_maybe(arguments, "completer"),
        progress=progress,
    )


_STAGES: dict[str, Callable[[Values, Values, Path, str, Progress], None]] = {
    "synth": _synth,
    "complete": _complete,
    "pseudolabel": _pseudolabel,
    "train-detector": _train_detector,
    "apply-review": _apply_review,
}
