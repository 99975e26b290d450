"""`amodalpl evaluate compare`: scores of several evaluations side by side, if they mean the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..metrics import baselines
from ..runtime.summary import Summary
from .scores_file import Evaluation, read_evaluation

_FREE = {*baselines.COMPLETION, *baselines.ORDER}


def compare_evaluations(files: Sequence[Path]) -> Summary:
    """Put the numbers of evaluations side by side, or say why they must not stand there.

    They may if the same command made them, from the same truth, with the same options, on the same objects measured
    against the same masks, by the same version, and under the same protocols.

    Args:
        files: two or more files that `amodalpl evaluate ... --out` wrote, or their folders.

    Returns:
        `scores`: protocol -> row -> metric -> value. A baseline, which is the same in all files, stands there once,
        others as "FILE: ROW".

    Raises:
        DataError: fewer than two files, one given twice, not evaluations, or numbers that mean different things.
    """
    if len(files) < 2:
        raise DataError(f"expected at least two evaluations to compare, got {len(files)}")
    found = [read_evaluation(_file(path)) for path in files]
    paths = [evaluation.path for evaluation in found]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise DataError(f"{twice}: expected different evaluations to compare, got this one twice")
    first = found[0]
    for other in found[1:]:
        _require_same_meaning(first, other)
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    for protocol in first.scores:
        rows = scores[protocol] = {}
        for row in dict.fromkeys(row for evaluation in found for row in evaluation.scores[protocol]):
            having = [evaluation for evaluation in found if row in evaluation.scores[protocol]]
            values = [evaluation.scores[protocol][row] for evaluation in having]
            if row in _FREE and len(having) == len(found) and all(value == values[0] for value in values):
                rows[row] = values[0]
            else:
                rows |= {f"{e.path}: {row}": value for e, value in zip(having, values, strict=True)}
    counts = {"evaluations": [str(path) for path in paths], "objects": first.scored["objects"], **first.options}
    return Summary("evaluate compare", None, counts=counts, scores=scores)


def _file(path: Path) -> Path:
    """Return the file of scores of a folder that has one; anything else is for the reader."""
    inside = sorted(path.glob("evaluation*.json")) if path.is_dir() else []
    if len(inside) > 1:
        names = ", ".join(file.name for file in inside)
        raise DataError(f"{path}: expected one evaluation, found {names}; name the file")
    return inside[0] if inside else path


def _require_same_meaning(first: Evaluation, other: Evaluation) -> None:
    meanings: tuple[tuple[str, Callable[[Evaluation], Any]], ...] = (
        ("another evaluation", lambda e: e.command),
        ("another version of amodalpl", lambda e: e.version),
        ("another truth", lambda e: e.truth_sha256[:12]),
        ("other options", lambda e: e.options),
        ("other protocols", lambda e: sorted(e.scores)),
        ("other objects, or other visible masks", lambda e: f"{e.scored['objects']} ({e.scored['sha256'][:12]})"),
    )
    for what, meaning in meanings:
        mine, theirs = meaning(first), meaning(other)
        if mine != theirs:
            raise DataError(
                f"{other.path}: {what} than in {first.path}: {_difference(theirs, mine)}; "
                "numbers that mean different things do not stand side by side"
            )


def _difference(theirs: Any, mine: Any) -> str:
    if isinstance(mine, dict):
        keys = [key for key in sorted(mine.keys() | theirs.keys()) if mine.get(key) != theirs.get(key)]
        return ", ".join(f"{key} is {theirs.get(key)!r}, there {mine.get(key)!r}" for key in keys)
    if isinstance(mine, list):
        return f"only here {sorted(set(theirs) - set(mine))}, only there {sorted(set(mine) - set(theirs))}"
    return f"{theirs}, there {mine}"
