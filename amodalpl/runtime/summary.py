"""What every stage returns: the closing table of the command line and its `--json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Summary:
    """The end of a stage.

    Attributes:
        stage: its name.
        out: its output folder; None for stages that only print.
        counts: what went in, what came out, what was skipped and why.
        scores: protocol name -> row name -> metric name -> value.
        files: what to open, name to path.
        next: what to do next, mostly a command; "" when there is nothing.
        then: the command after it, "" when there is none.
        ok: False makes the command exit with 1 (only `check` uses it).
    """

    stage: str
    out: Path | None
    counts: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    next: str = ""
    then: str = ""
    ok: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "stage": self.stage,
            "ok": self.ok,
            "out": None if self.out is None else str(self.out),
            "counts": self.counts,
            "scores": self.scores,
            "files": {name: str(path) for name, path in self.files.items()},
            "next": self.next,
            **({"then": self.then} if self.then else {}),
        }
