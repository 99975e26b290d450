"""What stands beside a label file, checked before anything believes it: it may come from anywhere.

What `pseudolabel` and `apply-review` write passes; a file of another kind, or one changed by hand, gets one clear line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import DataError
from .segmentation import brief

_PROMISE = ("uncertainty_at_most", "iou_above", "share")
_NEXT = "write it with `amodalpl pseudolabel`"


def check_stats(path: Path, content: Any) -> dict[str, Any]:
    """Return the content of a `stats.json`.

    Raises:
        DataError: it is not one.
    """
    counts = content.get("counts", {}) if isinstance(content, dict) else None
    left_out = counts.get("left out") if isinstance(counts, dict) else None
    if not isinstance(counts, dict) or not isinstance(left_out or {}, dict):
        raise DataError(f"{path}: expected an object with counts, got {brief(content)}; {_NEXT}")
    return content


def check_hold_out(path: Path, metrics: Any, card: Any) -> None:
    """Refuse what a report cannot show of a completer's hold-out.

    Args:
        path: folder of the completer, for messages.
        metrics: content of its `metrics.json`; whatever is missing is missing.
        card: content of its `completer.json`, likewise.

    Raises:
        DataError: scores that are no tables, curves that are no pairs of numbers, a promise that is none.
    """
    if not isinstance(metrics, dict) or not isinstance(card, dict):
        raise DataError(f"{path}: expected what `amodalpl complete` writes, got {brief(metrics)} and {brief(card)}")
    scores, diagrams = metrics.get("scores") or {}, metrics.get("reliability") or {}
    if not _are_mappings(scores) or not all(map(_are_mappings, scores.values())):
        raise DataError(f"{path}: metrics.json: scores: expected tables of numbers, got {brief(scores)}")
    calibration, promise = card.get("calibration") or {}, card.get("promise") or {}
    if not _are_mappings(diagrams) or not isinstance(calibration, dict):
        raise DataError(f"{path}: expected curves of what is said and what is so, got {brief(diagrams)}")
    for curve, x, y in [(c, "stated", "seen") for c in diagrams.values()] + [(calibration, "probability", "belongs")]:
        xs, ys = curve.get(x) or [], curve.get(y) or []
        both = isinstance(xs, list) and isinstance(ys, list) and len(xs) == len(ys)
        if not both or not all(type(value) in (int, float) and abs(value) <= 2 for value in [*xs, *ys]):
            raise DataError(f"{path}: expected a curve as two lists of shares, got {brief(xs)} and {brief(ys)}")
    told: list[Any] = [promise.get(key) for key in _PROMISE] if isinstance(promise, dict) else [None]
    if promise and not all(type(value) in (int, float) and abs(value) <= 2 for value in told):
        raise DataError(f"{path}: completer.json: promise: expected shares, got {brief(told)}")


def _are_mappings(table: Any) -> bool:
    return isinstance(table, dict) and all(isinstance(row, dict) for row in table.values())
