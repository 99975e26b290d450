"""`amodalpl evaluate promise`: do labels hold what they say of themselves, on any truth, and how sure is that?

The few numbers that decide whether labels can be used, each with a bootstrap interval over photos: hidden parts beside
the free baselines, uncertainty beside error, the promise beside what was seen, and who hides whom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..calibration.fit import RiskGuarantee
from ..data.label_file import NOTHING_IN_FRONT, read_label_head, read_labels
from ..data.label_folder import STATS
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
EVERY_LABEL = "every label of these photos"
ANNOTATED_FRACTION = 0.8
"""An object is hidden by what is annotated when at least this share of its hidden part lies under annotated masks."""

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
    promise = promise_of(file)
    stated = _what_labels_state(file, promise)
    scored = score_objects(known, file, things_only=things_only, gap_px=gap_px, progress=progress)
    orders = count_orders(known, labels, things_only=things_only, gap_px=gap_px, progress=progress)
    photos = sorted({o.image_id for o in scored.objects})
    position = {image_id: n for n, image_id in enumerate(photos)}
    photo_of = np.array([position[o.image_id] for o in scored.objects])
    draws = draw_photos(len(photos), seed)

    def per_photo(values: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return sums over objects."""
        return np.bincount(photo_of, weights=np.asarray(values, float), minlength=len(photos))

    def ratio(above: Sequence[float] | np.ndarray, below: Sequence[float] | np.ndarray) -> Ratio:
        """Return a ratio of sums over objects."""
        return ratio_of_sums(per_photo(above), per_photo(below), draws)

    groups = _groups(scored.objects, scored.rows[LABELS])
    uncertainty, promised = (np.array([stated[o.id][k] for o in scored.objects], float) for k in (0, 1))
    scores = {
        HIDDEN: _hidden_scores(scored.rows, ratio),
        UNCERTAINTY: {
            **_uncertainty_scores(scored.rows[LABELS], uncertainty, groups, ratio),
            EVERY_LABEL: _of_every_label(
                stated.values(), per_photo([1 - c.iou for c in scored.rows[LABELS]]), position, draws
            ),
        },
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


def _what_labels_state(file: Path, promise: RiskGuarantee | None) -> dict[int, tuple[float, bool, int]]:
    """Return the uncertainty of each label, whether it is promised, and its photo."""
    images, categories = read_label_head(file)
    stated = {}
    for label in read_labels(file, images, categories):
        number, note = label["id"], label["amodalpl"]
        if note.get("uncertainty") is None:
            raise DataError(f"{file}: annotation {number}: expected an uncertainty, as labels of `pseudolabel` have")
        stated[number] = float(note["uncertainty"]), is_promised(note, promise), label["image_id"]
    return stated


def is_promised(notes: Mapping[str, Any], promise: RiskGuarantee | None) -> bool:
    """Tell whether the promise speaks of a label: something is in front of it, and its uncertainty is low enough.

    Args:
        notes: what the label file says of it, under `amodalpl`.
        promise: None where none was made; then labels are meant that are not doubtful.
    """
    flags = set(notes.get("flags") or ())
    if promise is None:
        return not flags & (NOTHING_IN_FRONT | {"low_confidence"})
    uncertainty = notes.get("uncertainty")
    return not flags & NOTHING_IN_FRONT and uncertainty is not None and uncertainty <= promise.uncertainty_at_most


def promise_of(file: Path) -> RiskGuarantee | None:
    """Return the promise that was made with the labels; None without one, or without `stats.json`."""
    path = file.with_name(STATS)
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
        "hidden by half or more": np.array([2 * c.hidden_px >= c.truth_px for c in counts]),
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


def _of_every_label(
    stated: Iterable[tuple[float, bool, int]], known_error: np.ndarray, position: Mapping[int, int], draws: np.ndarray
) -> dict[str, Any]:
    """Hold what all labels state against the least that their error can be: labels without truth count as right.

    A truth of hidden objects only chooses those that are worst. What labels state is about all objects, and no such
    truth can excuse a mean below what is known.

    Args:
        stated: uncertainty, whether it is promised and photo of each label.
        known_error: (photos,) float, sum of the errors that the truth tells.
        position: of each photo with truth.
        draws: of photos, for the bootstrap.
    """
    labels, uncertainty = np.zeros((2, len(position)))
    for value, _, image_id in stated:
        if image_id in position:
            labels[position[image_id]] += 1
            uncertainty[position[image_id]] += value
    mean, least = ratio_of_sums(uncertainty, labels, draws), ratio_of_sums(known_error, labels, draws)
    return {
        "labels": int(labels.sum()),
        **mean.as_scores("mean_uncertainty"),
        **least.as_scores("mean_error_at_least"),
        **least.minus(mean).as_scores("error_unstated_at_least"),
    }


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
