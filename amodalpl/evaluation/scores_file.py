"""What the evaluations share: reading a truth, finding the label file, and the file that scores are written to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..data.label_folder import LABELS as LABEL_FILE
from ..data.read import read_annotations
from ..data.records import AnnotationSet
from ..errors import DataError, OutputError
from ..io.files import hash_file, read_json, write_json
from ..runtime.stage_run import git_state
from ..runtime.summary import Summary
from ..version import __version__

LABELS = "labels"  # the row of what is evaluated, beside the baselines


def read_truth(path: Path, visible_will_do: bool = False) -> AnnotationSet:
    """Read annotations with amodal masks.

    Args:
        path: any supported file.
        visible_will_do: visible masks can be scored, where there are no others.

    Raises:
        DataError: it has none.
    """
    truth = read_annotations(path)
    if not truth.instances:
        raise DataError(f"{path}: expected objects to score against, got none in {len(truth.images)} photos")
    if not any(i.amodal or (visible_will_do and i.modal) for i in truth.instances):
        raise DataError(
            f"{path}: expected true amodal masks (COCOA, KINS, or COCO with `visible_mask` beside `segmentation`), "
            f"got modal masks only (read as {truth.format})"
        )
    return truth


def label_file(labels: Path) -> Path:
    """Return the label file of a label folder; anything else is for the reader."""
    return labels / LABEL_FILE if labels.is_dir() and (labels / LABEL_FILE).exists() else labels


class Digest:
    """A hash of what the scores stand on, object by object, so that scores of other objects are not compared."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.objects = 0

    def add(self, *parts: object) -> None:
        """Add an object: its id and what it was measured against."""
        self._hash.update(repr(parts).encode())
        self.objects += 1

    def to_json(self) -> dict[str, Any]:
        """Return the number of objects and the hash."""
        return {"objects": self.objects, "sha256": self._hash.hexdigest()}


@dataclass(frozen=True)
class Evaluation:
    """A file of scores.

    Attributes:
        path: the file.
        command: the command that wrote it.
        truth_sha256: of the truth file, or of all records of a folder.
        options: that change what the numbers mean.
        scored: the objects that were scored, as `Digest.to_json` has them.
        version: of amodalpl.
        scores: protocol -> row -> metric -> value.
    """

    path: Path
    command: str
    truth_sha256: str
    options: dict[str, Any]
    scored: dict[str, Any]
    version: str
    scores: dict[str, dict[str, dict[str, Any]]]


def write_evaluation(summary: Summary, name: str, options: dict[str, Any], scored: Digest, **inputs: Path) -> Summary:
    """Write the scores with what they stand on, when an output folder is given.

    Args:
        summary: of the evaluation; its `out` None writes nothing.
        name: of the file.
        options: that change what the numbers mean.
        scored: what was scored.
        inputs: `truth` and what was compared with it.

    Raises:
        OutputError: the folder cannot be made.
    """
    if summary.out is None:
        return summary
    make_folder(summary.out)
    file = summary.out / name
    record = {
        "amodalpl": __version__,
        "git": git_state(),
        "command": summary.stage,
        "inputs": {k: {"path": str(p), "sha256": _hash(p)} for k, p in inputs.items()},
        "options": options,
        "scored": scored.to_json(),
        "counts": summary.counts,
        "scores": summary.scores,
    }
    write_json(file, record)
    return replace(summary, files={"scores": file})


def make_folder(out: Path) -> None:
    """Make the folder that scores are written to.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: expected a folder to write to ({error.strerror})") from None


def read_evaluation(path: Path) -> Evaluation:
    """Read what `write_evaluation` wrote.

    Raises:
        DataError: it is something else.
    """
    record = read_json(path, "scores that `amodalpl evaluate ... --out DIR` wrote")
    try:
        evaluation = Evaluation(
            path=path,
            command=str(record["command"]),
            truth_sha256=str(record["inputs"]["truth"]["sha256"]),
            options=dict(record["options"]),
            scored=dict(record["scored"]),
            version=str(record["amodalpl"]),
            scores={p: {r: dict(v) for r, v in rows.items()} for p, rows in record["scores"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: expected scores that `amodalpl evaluate ... --out DIR` wrote, got something else "
            f"({type(error).__name__}: {error}); evaluate again with --out"
        ) from None
    return evaluation


def _hash(path: Path) -> str:
    """Return the hash of a file, or of all JSON files of a folder, in order of their names."""
    if not path.is_dir():
        return hash_file(path)
    digest = hashlib.sha256()
    for file in sorted(path.glob("*.json")):
        digest.update(f"{file.name}\0{hash_file(file)}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
