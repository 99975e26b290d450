"""The few scores that matter out of all that a stage measured, beside the best baseline that needs no training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

OURS = ("labels", "detector")  # the rows of what was made; rows that begin so show it under other conditions
HOLDOUT = "hold-out"  # protocols of scenes made from photos that training never saw
HELD_BACK = "held-back labels"  # protocols of labels that the detector was not trained on
NO_BASELINE = ("oracle", "random")

Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Line:
    """One score that matters.

    Attributes:
        name: as it is printed.
        protocol: of the score, without "hold-out "; the first one that starts so counts.
        metric: of the protocol.
        why: what may put a baseline ahead; empty where nothing general can be said.
    """

    name: str
    protocol: str
    metric: str
    why: str = ""


LINES = (
    Line("whole objects: mIoU", "completion, micro (PCNet/ASBU): all", "miou"),
    Line("hidden parts: mIoU", "completion, micro (PCNet/ASBU): all", "invisible_miou"),
    Line("hidden objects that improve: share", "completion, per-instance means: occluded", "win_rate"),
    Line(
        "pairs in the right order: share",
        "order, O-Acc (PCNet/ASBU)",
        "accuracy",
        "hulls tell the order of convex objects with clean contours, as most of the demo's are; the network has to "
        "learn it, so train longer",
    ),
    Line("detector: amodal AP50", "COCO AP amodal (segm", "AP50"),
)


@dataclass(frozen=True)
class Result:
    """A line with its numbers.

    Attributes:
        line: which.
        ours: score of what was made.
        baseline: of the best baseline; None where there is none.
        by: name of that baseline.
        rows: all rows of the protocol.
        against: "hold-out", "held-back labels", or "" for a truth that was given.
    """

    line: Line
    ours: float
    baseline: float | None
    by: str
    rows: Mapping[str, Mapping[str, Any]]
    against: str


def headline(scores: Scores) -> list[Result]:
    """Pick the scores that matter; of the same score, the one against a given truth comes before the hold-out's.

    >>> [found] = headline({"hold-out order, O-Acc (PCNet/ASBU)": {"convex hull": {"accuracy": 0.7},
    ...     "labels": {"accuracy": 0.9}, "labels, eroded": {"accuracy": 0.8}}})
    >>> found.ours, found.baseline, found.by, found.against
    (0.9, 0.7, 'convex hull', 'hold-out')
    """
    return [result for line in LINES for result in list(_results(line, scores))[:1]]


def _results(line: Line, scores: Scores) -> Iterator[Result]:
    for start in (line.protocol, f"{HOLDOUT} {line.protocol}"):
        for protocol, rows in scores.items():
            ours = next((rows[name].get(line.metric) for name in OURS if name in rows), None)
            if not protocol.startswith(start) or ours is None:
                continue
            others = {
                name: row[line.metric]
                for name, row in rows.items()
                if not name.startswith((*OURS, *NO_BASELINE)) and row.get(line.metric) is not None
            }
            by = max(others, key=lambda name: others[name], default="")
            against = next((what for what in (HOLDOUT, HELD_BACK) if what in protocol), "")
            yield Result(line, ours, others.get(by), by, rows, against)


def behind(results: list[Result]) -> list[str]:
    """Say where a baseline is ahead, and why."""
    ahead: dict[str, list[str]] = {}
    for result in results:
        if result.baseline is not None and result.baseline > result.ours:
            ahead.setdefault(_reason(result), []).append(f"“{result.line.name}” ({result.by})")
    return [f"a baseline is ahead in {' and '.join(names)}: {reason}" for reason, names in ahead.items()]


def _reason(result: Result) -> str:
    if result.line.metric != "win_rate":
        return result.line.why or "train longer, and look at the report"
    ours = next(result.rows[name] for name in OURS if name in result.rows)
    parts = []
    for name, row in (("labels", ours), (result.by, result.rows[result.by])):
        changed = row["win_rate"] + row["loss_rate"]
        better = f", {row['win_rate'] / changed:.0%} of them for the better" if changed else ""
        parts.append(f"{name}: {changed:.0%} changed{better}")
    return f"objects that stay as drawn do not count as improved ({'; '.join(parts)})"
