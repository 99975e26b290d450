"""`amodalpl evaluate promise`: do labels hold what they say of themselves, on any truth, and how sure is that?

The few numbers that decide whether labels can be used, each with a bootstrap interval over photos: hidden parts beside
the free baselines, uncertainty beside error, the promise beside what was seen, and who hides whom.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..calibration.fit import RiskGuarantee
from ..data.label_file import NOTHING_IN_FRONT, read_label_head, read_labels
from ..errors import DataError
from ..io.files import read_json
from ..metrics import completion, ordering
from ..metrics.bootstrap import Ratio, draw_photos, ratio_of_sums
from ..metrics.hidden_parts import HIDDEN
from ..runtime.progress import SILENT, Progress
from ..runtime.summary import Summary
from .completion import ScoredObject, score_objects
from .order import count_orders
from .scores_file import LABELS, label_file, read_truth, write_evaluation

UNCERTAINTY = "labels: uncertainty beside error, with intervals"
PROMISE = "labels: promise, with intervals"
ORDER = "order: O-Acc (PCNet/ASBU) and directed pairs (InstaOrder), with intervals"
ANNOTATED_FRACTION = 0.8
"""An object is hidden by what is annotated when at least this share of its hidden part lies under annotated masks."""
UNPROMISED = NOTHING_IN_FRONT | {"low_confidence"}
STATS_FILE = "stats.json"

_Chosen = dict[str, np.ndarray]  # name of a group -> (objects,) bool


def evaluate_promise(
    truth: Path,
    labels: Path,
    *,
    things_only: bool = False,
    gap_px: int = 2,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> Summary:
    """Hold what labels say of themselves against a truth.

    Args:
        truth: any supported file with amodal masks.
        labels: output folder of `amodalpl pseudolabel`, or its label file with `order.json` and `stats.json` beside it.
        things_only: leave out stuff.
        gap_px: free pixels between two masks that still count as neighbours.
        seed: of the bootstrap.
        out: folder for `evaluation_promise.json`; nothing is written when None.
        progress: shows the photos done.

    Returns:
        `scores`: protocol -> row -> metric -> value; every metric M that has an interval has `M_low` and `M_high`.

    Raises:
        DataError: as `evaluate_completion` and `evaluate_order`; or the file is no label file of amodalpl.
    """
    known = read_truth(truth)
    file = label_file(labels)
    stated = _what_labels_state(file)
    promise = promise_of(file)
    scored = score_objects(known, file, things_only=things_only, gap_px=gap_px, progress=progress)
    orders = count_orders(known, labels, things_only=things_only, gap_px=gap_px, progress=progress)
    photos = sorted({o.image_id for o in scored.objects})
    position = {image_id: n for n, image_id in enumerate(photos)}
    photo_of = np.array([position[o.image_id] for o in scored.objects])
    draws = draw_photos(len(photos), seed)

    def ratio(above: Sequence[float] | np.ndarray, below: Sequence[float] | np.ndarray) -> Ratio:
        """Return a ratio of sums over objects."""
        top, bottom = (
            np.bincount(photo_of, weights=np.asarray(v, float), minlength=len(photos)) for v in (above, below)
        )
        return ratio_of_sums(top, bottom, draws)

    groups = _groups(scored.objects, scored.rows[LABELS])
    uncertainty, promised = (np.array([stated[o.id][k] for o in scored.objects], float) for k in (0, 1))
    scores = {
        HIDDEN: _hidden_scores(scored.rows, ratio),
        UNCERTAINTY: _uncertainty_scores(scored.rows[LABELS], uncertainty, groups, ratio),
        PROMISE: _promise_scores(scored.rows[LABELS], promised, promise, groups, ratio),
        ORDER: _order_scores(orders.rows, seed),
    }
    counts = {
        "photos": len(photos),
        **scored.tally.as_counts(),
        **{name: int(chosen.sum()) for name, chosen in groups.items()},
        "hidden_px_under_annotated_masks": _share_under(scored.objects, scored.rows[LABELS]),
        "promise": str(promise) if promise else "none was given",
        "order_from": orders.what,
    }
    summary = Summary(stage="evaluate promise", out=out, counts=counts, scores=scores)
    options = {"things_only": things_only, "gap_px": gap_px, "seed": seed}
    return write_evaluation(summary, "evaluation_promise.json", options, scored.digest, truth=truth, labels=file)


def _what_labels_state(file: Path) -> dict[int, tuple[float, bool]]:
    """Return the uncertainty of each label, and whether it is promised: it has an occluder, and enough confidence."""
    images, categories = read_label_head(file)
    notes = ((label["id"], label["amodalpl"]) for label in read_labels(file, images, categories))
    stated = {}
    for number, note in notes:
        if note.get("uncertainty") is None:
            raise DataError(f"{file}: annotation {number}: expected an uncertainty, as labels of `pseudolabel` have")
        stated[number] = float(note["uncertainty"]), is_promised(note)
    return stated


def is_promised(notes: Mapping[str, Any]) -> bool:
    """Tell whether the promise speaks of a label: something is in front of it, and its uncertainty is low enough."""
    return not UNPROMISED.intersection(notes.get("flags") or ())


def promise_of(file: Path) -> RiskGuarantee | None:
    """Return the promise that was made with the labels; None without one, or without `stats.json`."""
    path = file.with_name(STATS_FILE)
    content = read_json(path, "statistics of labels") if path.exists() else {}
    made = content.get("promise") if isinstance(content, dict) else None
    if made is None:
        return None
    try:
        return RiskGuarantee.from_json(made)
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: promise: expected a bound, an IoU and a share, got something else") from None


def _groups(objects: Sequence[ScoredObject], counts: Sequence[completion.Counts]) -> _Chosen:
    hidden = np.array([c.is_occluded for c in counts])
    under = np.array(
        [o.under_annotated_px >= ANNOTATED_FRACTION * c.hidden_px for o, c in zip(objects, counts, strict=True)]
    )
    return {
        "all": np.ones(len(counts), dtype=bool),
        "hidden by what is annotated": hidden & under,
        "hidden by what is not": hidden & ~under,
        "not hidden": ~hidden,
    }


def _share_under(objects: Sequence[ScoredObject], counts: Sequence[completion.Counts]) -> float | None:
    hidden_px = sum(c.hidden_px for c in counts)
    return sum(o.under_annotated_px for o in objects) / hidden_px if hidden_px else None


_RatioOf = Callable[[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray], Ratio]


def _hidden_scores(rows: dict[str, list[completion.Counts]], ratio: _RatioOf) -> dict[str, dict[str, Any]]:
    """Return `invisible_miou` of each row, and by how much the labels are better than the others."""
    found = {
        name: ratio([c.hidden_intersection_px for c in counts], [c.hidden_union_px for c in counts])
        for name, counts in rows.items()
    }
    lead = {f"{LABELS} - {name}": found[LABELS].minus(other) for name, other in found.items() if name != LABELS}
    return {name: value.as_scores("invisible_miou") for name, value in {**found, **lead}.items()}


def _uncertainty_scores(
    counts: Sequence[completion.Counts], uncertainty: np.ndarray, groups: _Chosen, ratio: _RatioOf
) -> dict[str, dict[str, Any]]:
    error = np.array([1 - c.iou for c in counts])
    scores = {}
    for name, chosen in groups.items():
        stated, seen = ratio(uncertainty * chosen, chosen), ratio(error * chosen, chosen)
        scores[name] = {
            "labels": int(chosen.sum()),
            **stated.as_scores("mean_uncertainty"),
            **seen.as_scores("mean_error"),
            **seen.minus(stated).as_scores("error_unstated"),
        }
    return scores


def _promise_scores(
    counts: Sequence[completion.Counts],
    promised: np.ndarray,
    promise: RiskGuarantee | None,
    groups: _Chosen,
    ratio: _RatioOf,
) -> dict[str, dict[str, Any]]:
    iou_above = promise.iou_above if promise else RiskGuarantee.iou_above
    good = np.array([c.iou > iou_above for c in counts])
    scores = {}
    for name, chosen in groups.items():
        kept = promised * chosen
        seen = ratio(good * kept, kept).as_scores("share_seen")
        high = seen["share_seen_high"]
        scores[name] = {
            "labels": int(chosen.sum()),
            "iou_above": iou_above,
            **ratio(good * chosen, chosen).as_scores("good"),
            "promised": int(kept.sum()),
            "share_promised": promise.share if promise else None,
            **seen,
            "holds": high >= promise.share if promise and high is not None else None,
        }
    return scores


def _order_scores(rows: dict[str, list[ordering.OrderCounts]], seed: int) -> dict[str, dict[str, Any]]:
    scores = {}
    for name, photos in rows.items():
        draws = draw_photos(len(photos), seed)
        one_way = ratio_of_sums([p.correct for p in photos], [p.pairs for p in photos], draws)
        f1 = ratio_of_sums(
            [2 * p.hits for p in photos], [p.predicted_directed + p.truth_directed for p in photos], draws
        )
        scores[name] = {"pairs": sum(p.pairs for p in photos), **one_way.as_scores("accuracy"), **f1.as_scores("f1")}
    return scores
