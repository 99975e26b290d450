"""Review decisions on single labels, and whether a decision still fits its label.

A decision holds for a label when its id and its fingerprint agree, so a review outlives the label file that it was made
on: of a later file it keeps the decisions on labels that came out the same, and no other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from ..errors import DataError, nearest
from ..io.files import read_json, write_json

FORMAT, VERSION = "amodalpl-review", 1
REVIEW_FILE = "review.json"
NO_LONGER_FIT = "decisions that no longer fit"
"""Key under which stages list, in `stats.json`, what `carry_over` could not keep."""
COMPLETED = "completed"
"""Key of `amodalpl` in a corrected label: the mask of the completer, where a decision put another in its place."""
FEW_AGREE = 0.5  # of a review of another label file; a rerun with another completer keeps at least what did not grow

Verdict = Literal["accept", "reject", "keep-modal"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True)
class Decision:
    """What was decided of one label.

    Attributes:
        id: of the annotation.
        decision: "accept" takes the label as it is; "reject" takes it out of training; "keep-modal" takes the visible
            mask for the whole one.
        fingerprint: of the label that was looked at, see `fingerprint`.
    """

    id: int
    decision: Verdict
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a review file."""
        return {"id": self.id, "decision": self.decision, "fingerprint": self.fingerprint}


@dataclass(frozen=True)
class Review:
    """A review file.

    Attributes:
        labels_sha256: of the label file that was looked at, 64 hex digits.
        decisions: at most one per label.
    """

    labels_sha256: str
    decisions: tuple[Decision, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the content of a review file."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "labels_sha256": self.labels_sha256,
            "decisions": [decision.to_json() for decision in self.decisions],
        }


@dataclass(frozen=True)
class Lost:
    """A decision that fits no label any more, and why."""

    decision: Decision
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return a row for `stats.json`."""
        return {"id": self.decision.id, "decision": self.decision.decision, "reason": self.reason}


def fingerprint(annotation: Mapping[str, Any]) -> str:
    """Return 16 hex digits that change when a label's photo, class, visible or completed mask does.

    A label that `amodalpl apply-review` corrected has the fingerprint of what the completer proposed, so that decisions
    on it can be shown, carried over and withdrawn.

    Args:
        annotation: of a label file; its masks are RLE with `counts` as text.

    >>> seen = {"size": [2, 3], "counts": "04"}
    >>> fingerprint({"image_id": 1, "category_id": 2, "segmentation": seen, "visible_mask": seen})
    '1baa021bbfe227c4'
    """
    whole = completed_mask(annotation)
    height, width = whole["size"]
    text = "\n".join(
        [
            str(annotation["image_id"]),
            str(annotation["category_id"]),
            f"{height}x{width}",
            whole["counts"],
            annotation["visible_mask"]["counts"],
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def completed_mask(annotation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the mask of the completer as JSON RLE, also for labels with a decision."""
    return (annotation.get("amodalpl") or {}).get(COMPLETED) or annotation["segmentation"]


def read_review(path: Path) -> Review:
    """Read a review that the report exported; nothing in it is guessed or passed over.

    Raises:
        DataError: no such file, half-written, of another kind or version, or an entry with a missing or unknown key,
            a value of the wrong type, an unknown decision, or a second opinion on one label.
    """
    content = read_json(path, "a review that report.html exported")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = f"format {_short(content.get('format'))}" if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path}: format: expected {FORMAT!r}, got {found}; export the review from report.html")
    if type(content.get("version")) is not int or content["version"] != VERSION:
        raise DataError(
            f"{path}: version: expected {VERSION}, got {_short(content.get('version'))}; "
            "export the review again with this amodalpl's report.html"
        )
    _check_keys(path, "", content, ("format", "version", "labels_sha256", "decisions"))
    sha256 = content["labels_sha256"]
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise DataError(f"{path}: labels_sha256: expected 64 hex digits, got {_short(sha256)}; export the review again")
    if not isinstance(content["decisions"], list):
        raise DataError(f"{path}: decisions: expected a list, got {type(content['decisions']).__name__}")
    decisions: dict[int, Decision] = {}
    for index, raw in enumerate(content["decisions"]):
        decision = _read_decision(path, f"decisions[{index}]", raw)
        earlier = decisions.setdefault(decision.id, decision)
        if earlier != decision:
            raise DataError(
                f"{path}: decisions[{index}]: expected one decision on label {decision.id}, got {decision.decision!r} "
                f"after {earlier.decision!r}; delete one of them"
            )
    return Review(sha256, tuple(decisions.values()))


def _read_decision(path: Path, place: str, raw: Any) -> Decision:
    if not isinstance(raw, dict):
        raise DataError(f"{path}: {place}: expected an object with id, decision and fingerprint, got {_short(raw)}")
    _check_keys(path, f"{place}.", raw, ("id", "decision", "fingerprint"))
    if type(raw["id"]) is not int:
        raise DataError(
            f"{path}: {place}.id: expected a whole number, got {_short(raw['id'])}; export the review again"
        )
    verdict, mark = raw["decision"], raw["fingerprint"]
    if verdict not in VERDICTS:
        hint = nearest(verdict, VERDICTS) if isinstance(verdict, str) else f"; known: {', '.join(sorted(VERDICTS))}"
        raise DataError(f"{path}: {place}.decision: expected a known decision, got {_short(verdict)}{hint}")
    if not isinstance(mark, str) or not re.fullmatch("[0-9a-f]{16}", mark):
        raise DataError(
            f"{path}: {place}.fingerprint: expected 16 hex digits, got {_short(mark)}; export the review again"
        )
    return Decision(raw["id"], cast(Verdict, verdict), mark)


def _check_keys(path: Path, place: str, raw: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in known:
        if key not in raw:
            raise DataError(f"{path}: {place}{key}: expected a value, found none; export the review again")
    for key in raw:
        if key not in known:
            raise DataError(f"{path}: {place}{key[:60]}: unknown key{nearest(key, known)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def write_review(path: Path, review: Review) -> None:
    """Write a review file, whole; equal reviews give equal bytes.

    Raises:
        OutputError: it cannot be written.
    """
    write_json(path, review.to_json())


def carry_over(
    review: Review, annotations: Iterable[Mapping[str, Any]], labels_sha256: str | None = None
) -> tuple[Review, list[Lost]]:
    """Keep the decisions that hold for the labels of a file.

    Args:
        review: decisions on these or earlier labels.
        annotations: of the label file; gone through once.
        labels_sha256: of the label file, for the review that is returned; None keeps that of `review`.

    Returns:
        The decisions that hold, in the order of the labels, and those that do not, in the order of the review.
    """
    wanted = {decision.id: decision for decision in review.decisions}
    kept: list[Decision] = []
    changed: set[int] = set()
    for annotation in annotations:
        decision = wanted.get(annotation["id"])
        if decision is None:
            continue
        if fingerprint(annotation) == decision.fingerprint:
            kept.append(decision)
        else:
            changed.add(decision.id)
    held = {decision.id for decision in kept}
    lost = [
        Lost(decision, "the label has changed" if decision.id in changed else "no label of this id")
        for decision in review.decisions
        if decision.id not in held
    ]
    return Review(review.labels_sha256 if labels_sha256 is None else labels_sha256, tuple(kept)), lost


def require_same_labels(path: Path, review: Review, kept: Review, lost: Sequence[Lost], labels: Path) -> None:
    """Refuse a review of another label set, and ids that its own label file does not have.

    Args:
        path: of the review, for the message.
        review: as read.
        kept: what `carry_over` kept, with the hash of the label file.
        lost: what it did not.
        labels: the label file, for the message.

    Raises:
        DataError: the review was made on another file and fewer than half of its decisions fit this one, or it was made
            on this file and names a label that is not in it.
    """
    if review.labels_sha256 != kept.labels_sha256:
        if len(kept.decisions) < FEW_AGREE * len(review.decisions):
            raise DataError(
                f"{path}: labels_sha256: expected a review of {labels}, got one of another label file: "
                f"{len(kept.decisions)} of {len(review.decisions)} decisions fit; review these labels in their own "
                "report.html"
            )
        return
    unknown = {entry.decision.id for entry in lost if entry.reason == "no label of this id"}
    for index, decision in enumerate(review.decisions):
        if decision.id in unknown:
            raise DataError(
                f"{path}: decisions[{index}].id: expected the id of a label of {labels}, got {decision.id}; "
                "the file was changed by hand, export the review again"
            )
