"""Scores labels against a file with true amodal masks, always beside the baselines that cost nothing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, baselines
from ..errors import DataError, OutputError
from ..formats import read_annotations
from ..masks import rle
from ..masks.neighbours import near_pairs
from ..metrics import completion, ordering
from ..progress import SILENT, Progress
from ..provenance import git_state, hash_file, read_json, write_json
from ..records import AnnotationSet, Instance, Rle
from .summary import Summary

LABEL_FILE = "pseudo_amodal.json"
ORDER_FILE = "order.json"
LABELS = "labels"
_LISTED = 20  # ids named in the summary; the counts are always whole

Pair = tuple[int, int]


def evaluate_completion(
    truth: Path,
    labels: Path,
    *,
    things_only: bool = False,
    gap_px: int = 2,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> Summary:
    """Compare amodal masks with true ones, annotation by annotation.

    The hidden part is measured outside the modal mask of the truth file, or of the label file where the truth has none.
    The hull's neighbours are all instances of the photo, stuff included and crowds left out.

    Args:
        truth: any supported file with amodal masks.
        labels: a label folder, or any supported file with the same annotation ids. Of a file without amodal masks
            (plain COCO), `segmentation` counts as the prediction.
        things_only: leave out stuff instead of scoring all regions and things side by side.
        gap_px: free pixels between two masks that still count as neighbours, for the hull.
        out: folder for `evaluation.json`; nothing is written when None.
        progress: shows the photos done.

    Returns:
        `scores`: "PROTOCOL: SUBSET" -> "modal mask", "convex hull", "labels" -> metric -> value.

    Raises:
        DataError: no amodal masks in the truth, no annotation in common, or masks of different sizes.
    """
    known = _read_truth(truth)
    file = _label_file(labels)
    predicted = {i.id: i for i in read_annotations(file).instances if not i.is_crowd}
    tally = _Tally(missing_in_truth=predicted.keys() - {i.id for i in known.instances})
    scored: dict[str, list[completion.Counts]] = defaultdict(list)
    is_stuff: list[bool] = []
    with progress.task("scoring", len(known.images)) as advance:
        for image in known.images:
            pairs = _matched(known.by_image[image.id], predicted, things_only, tally)
            if any(pair.score for pair in pairs):
                _check_sizes(pairs, truth, file)
                for row, counts in _completion_of_image(pairs, gap_px).items():
                    scored[row] += counts
                is_stuff += [pair.truth.is_stuff for pair in pairs if pair.score]
            advance(1)
    if not is_stuff:
        raise DataError(
            f"{file}: expected annotations with the ids of {truth}, but no instance could be scored "
            f"({len(tally.missing_in_labels)} of {len(known.instances)} are not in it, "
            f"{len(tally.without_modal)} have no modal mask in either file)"
        )
    summary = Summary(
        stage="evaluate completion",
        out=out,
        counts={
            "photos": len(known.images),
            "dropped_by_reader": len(known.dropped),
            **tally.as_counts(),
            "occluded": sum(c.is_occluded for c in scored[LABELS]),
        },
        scores=_completion_scores(scored, np.array(is_stuff), things_only),
    )
    options = {"things_only": things_only, "gap_px": gap_px}
    return _written(summary, "evaluation.json", options, truth=truth, labels=file)


def evaluate_order(
    truth: Path,
    labels: Path,
    *,
    things_only: bool = False,
    gap_px: int = 2,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> Summary:
    """Compare who hides whom with the order that true masks imply.

    Args:
        truth: any supported file with amodal masks; instances without a modal mask take no part.
        labels: a label folder, its `pseudo_amodal.json` or `order.json`: the recovered order counts. Of any other
            annotation file the order that its amodal masks imply (of plain COCO, `segmentation`).
        things_only: leave out stuff.
        gap_px: free pixels between two masks that still count as neighbours, for directed pairs. O-Acc looks at masks
            that touch, as the papers do.
        out: folder for `evaluation_order.json`; nothing is written when None.
        progress: shows the photos done.

    Returns:
        `scores`: protocol -> "smaller in front", "larger in front", "lower in front", "convex hull", "labels" ->
        metric -> value.

    Raises:
        DataError: no amodal masks in the truth, an order file of another shape, or no annotation in common.
    """
    known = _read_truth(truth)
    source = _read_order(labels)
    if isinstance(source, _FileOrder):
        source.check_ids({i.id for i in known.instances}, truth)
    counted: dict[str, list[ordering.OrderCounts]] = defaultdict(list)
    tally = {"photos": 0, "instances": 0, "photos_without_labels": 0, "without_both_masks": 0}
    with progress.task("scoring", len(known.images)) as advance:
        for image in known.images:
            wanted = [i for i in known.by_image[image.id] if not i.is_crowd and not (things_only and i.is_stuff)]
            whole = [_Whole(i.id, i.modal, i.amodal) for i in wanted if i.modal and i.amodal]
            tally["without_both_masks"] += len(wanted) - len(whole)
            if whole and not source.covers(image.id, whole):
                tally["photos_without_labels"] += 1
            elif whole:
                tally["photos"] += 1
                tally["instances"] += len(whole)
                for row, count in _order_of_image(whole, source, image.id, gap_px, truth).items():
                    counted[row].append(count)
            advance(1)
    if not counted:
        raise DataError(f"{source.path}: expected the image and annotation ids of {truth}, found none of them")
    scores: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row, of_images in counted.items():
        for protocol, values in ordering.compute(of_images).items():
            scores[protocol][row] = values
    summary = Summary(stage="evaluate order", out=out, counts={**tally, "order_from": source.what}, scores=dict(scores))
    options = {"things_only": things_only, "gap_px": gap_px}
    return _written(summary, "evaluation_order.json", options, truth=truth, labels=source.path)


@dataclass
class _Tally:
    """Annotations that are not in both files, or cannot be scored."""

    matched: int = 0
    crowd: int = 0
    stuff_left_out: int = 0
    truth_without_amodal: list[int] = field(default_factory=list)
    without_modal: list[int] = field(default_factory=list)
    modal_from_labels: int = 0
    missing_in_labels: list[int] = field(default_factory=list)
    missing_in_truth: set[int] = field(default_factory=set)

    def as_counts(self) -> dict[str, Any]:
        counts: dict[str, Any] = {
            "matched": self.matched,
            "crowd_left_out": self.crowd,
            "stuff_left_out": self.stuff_left_out,
            "modal_from_labels": self.modal_from_labels,
        }
        for name in ("missing_in_labels", "missing_in_truth", "truth_without_amodal", "without_modal"):
            ids = sorted(getattr(self, name))
            counts[name] = len(ids)
            if ids:
                counts[f"{name}_ids"] = ids[:_LISTED]
        return counts


@dataclass(frozen=True)
class _Matched:
    """An instance of the truth, its modal mask, and its prediction; `score` False: only somebody's neighbour."""

    truth: Instance
    modal: Rle
    predicted: Rle | None
    score: bool


def _matched(
    instances: list[Instance], predicted: dict[int, Instance], things_only: bool, tally: _Tally
) -> list[_Matched]:
    pairs = []
    for instance in instances:
        label = predicted.get(instance.id)
        modal = instance.modal or (label.modal if label and label.amodal else None)
        guess = (label.amodal or label.modal) if label else None
        score = False
        if instance.is_crowd:
            tally.crowd += 1
            continue
        if things_only and instance.is_stuff:
            tally.stuff_left_out += 1
        elif guess is None:
            tally.missing_in_labels.append(instance.id)
        elif instance.amodal is None or rle.area_px(instance.amodal) == 0:
            tally.truth_without_amodal.append(instance.id)
        elif modal is None:
            tally.without_modal.append(instance.id)
        else:
            score = True
            tally.matched += 1
            tally.modal_from_labels += instance.modal is None
        if modal is not None:
            pairs.append(_Matched(instance, modal, guess, score))
    return pairs


def _check_sizes(pairs: list[_Matched], truth: Path, labels: Path) -> None:
    wanted = next(p.truth.amodal["size"] for p in pairs if p.score and p.truth.amodal)
    for pair in pairs:
        for path, name, mask in (
            (truth, "amodal", pair.truth.amodal),
            (truth if pair.truth.modal else labels, "modal", pair.modal),
            (labels, "amodal", pair.predicted),
        ):
            if mask is not None and mask["size"] != wanted:
                raise DataError(
                    f"{path}: annotation {pair.truth.id}: {name} mask: expected {wanted[0]}x{wanted[1]} pixels "
                    f"(height x width, as in {truth}), got {mask['size'][0]}x{mask['size'][1]}; "
                    "both files must be of the same photos"
                )


def _completion_of_image(pairs: list[_Matched], gap_px: int) -> dict[str, list[completion.Counts]]:
    modal = np.stack([rle.decode(pair.modal) for pair in pairs])  # (N, H, W)
    neighbours: dict[int, list[int]] = defaultdict(list)
    for i, j in near_pairs(modal, gap_px):
        neighbours[i].append(j)
        neighbours[j].append(i)
    rows: dict[str, list[completion.Counts]] = {name: [] for name in (*baselines.COMPLETION, LABELS)}
    for index, pair in enumerate(pairs):
        if not pair.score or pair.truth.amodal is None or pair.predicted is None:
            continue
        rows_in, columns_in = window = _window([pair.modal, pair.truth.amodal, pair.predicted])
        cropped = modal[:, rows_in, columns_in]  # (N, h, w)
        mine, around = cropped[index], np.logical_or.reduce(cropped[neighbours[index]], axis=0)
        whole = rle.decode(pair.truth.amodal)[window]
        guesses = {name: complete(mine, around) for name, complete in baselines.COMPLETION.items()}
        guesses[LABELS] = rle.decode(pair.predicted)[window]
        for name, guess in guesses.items():
            rows[name].append(completion.count_instance(guess, whole, mine))
    return rows


def _window(masks: list[Rle]) -> tuple[slice, slice]:
    """Return rows and columns of the smallest window that holds all masks."""
    boxes = np.array([rle.box_xywh(m) for m in masks if rle.area_px(m)])
    (x, y), (x1, y1) = boxes[:, :2].min(axis=0), (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    return slice(int(y), int(y1)), slice(int(x), int(x1))


def _completion_scores(
    scored: dict[str, list[completion.Counts]], is_stuff: np.ndarray, things_only: bool
) -> dict[str, dict[str, dict[str, Any]]]:
    occluded = np.array([c.is_occluded for c in scored[LABELS]])
    subsets = {"things" if things_only else "all": ~is_stuff if things_only else np.ones_like(occluded)}
    subsets["occluded things" if things_only else "occluded"] = occluded & next(iter(subsets.values()))
    if is_stuff.any() and not things_only:
        subsets["things"] = ~is_stuff
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    for protocol, compute in (
        (completion.MICRO, completion.compute_micro),
        (completion.PER_INSTANCE, completion.compute_per_instance),
    ):
        for subset, chosen in subsets.items():
            scores[f"{protocol}: {subset}"] = {
                row: compute([c for c, wanted in zip(counts, chosen, strict=True) if wanted])
                for row, counts in scored.items()
            }
    return scores


@dataclass(frozen=True)
class _Whole:
    """An instance of the truth with both masks."""

    id: int
    modal: Rle
    amodal: Rle


@dataclass(frozen=True)
class _FileOrder:
    """The order that `amodalpl pseudolabel` recovered: image id -> (front, back) annotation ids -> evidence."""

    path: Path
    by_image: dict[int, dict[Pair, float]]
    what: str = ORDER_FILE

    def check_ids(self, known: set[int], truth: Path) -> None:
        pairs = [pair for pairs in self.by_image.values() for pair in pairs]
        if pairs and not any(a in known and b in known for a, b in pairs):
            raise DataError(
                f"{self.path}: expected pairs of annotation ids of {truth}, found none of {len(pairs)} pairs there; "
                "is it of other photos?"
            )

    def covers(self, image_id: int, instances: list[_Whole]) -> bool:
        return image_id in self.by_image

    def order(
        self, image_id: int, instances: list[_Whole], modal: np.ndarray, gap_px: int
    ) -> tuple[set[Pair], set[Pair]]:
        """Return the one-way and the directed order, by index into `instances`."""
        index = {instance.id: n for n, instance in enumerate(instances)}
        pairs = self.by_image[image_id].items()
        evidence = {(index[a], index[b]): weight for (a, b), weight in pairs if a in index and b in index}
        return ordering.make_one_way(evidence), set(evidence)


@dataclass(frozen=True)
class _MaskOrder:
    """The order that amodal masks imply, found as that of the truth is."""

    path: Path
    amodal: dict[int, Rle]
    what: str = "amodal masks"

    def covers(self, image_id: int, instances: list[_Whole]) -> bool:
        return any(i.id in self.amodal for i in instances)

    def order(
        self, image_id: int, instances: list[_Whole], modal: np.ndarray, gap_px: int
    ) -> tuple[set[Pair], set[Pair]]:
        """Return the one-way and the directed order, by index into `instances`."""
        amodal = np.zeros_like(modal)
        for n, instance in enumerate(instances):
            if instance.id in self.amodal:
                mask = rle.decode(self.amodal[instance.id])
                if mask.shape != modal.shape[1:]:
                    raise DataError(
                        f"{self.path}: annotation {instance.id}: expected a mask of {modal.shape[1:]} (height, width) "
                        f"as in the truth, got {mask.shape}; both files must be of the same photos"
                    )
                amodal[n] = mask
        return ordering.one_way_order_from_masks(modal, amodal), ordering.order_from_masks(modal, amodal, gap_px)


def _order_of_image(
    instances: list[_Whole], source: _FileOrder | _MaskOrder, image_id: int, gap_px: int, truth: Path
) -> dict[str, ordering.OrderCounts]:
    sizes = {tuple(mask["size"]) for i in instances for mask in (i.modal, i.amodal)}
    if len(sizes) > 1:
        raise DataError(f"{truth}: image {image_id}: expected masks of one size, got {sorted(sizes)}")
    modal = np.stack([rle.decode(i.modal) for i in instances])  # (N, H, W)
    amodal = np.stack([rle.decode(i.amodal) for i in instances])
    one_way = ordering.one_way_order_from_masks(modal, amodal)
    directed = ordering.order_from_masks(modal, amodal, gap_px)
    bordering = {frozenset(pair) for pair in ordering.bordering_pairs(modal)}
    near = near_pairs(modal, gap_px)
    rows = {name: (order, order) for name, order in ((n, rule(modal, near)) for n, rule in baselines.ORDER.items())}
    rows[LABELS] = source.order(image_id, instances, modal, gap_px)
    return {
        name: ordering.count_image(
            len(instances), one_way, directed, {pair for pair in forced if frozenset(pair) in bordering}, free
        )
        for name, (forced, free) in rows.items()
    }


def _read_truth(path: Path) -> AnnotationSet:
    truth = read_annotations(path)
    if not any(i.amodal for i in truth.instances):
        raise DataError(
            f"{path}: expected true amodal masks (COCOA, KINS, or COCO with `visible_mask` beside `segmentation`), "
            f"got modal masks only (read as {truth.format})"
        )
    return truth


def _read_order(labels: Path) -> _FileOrder | _MaskOrder:
    order_file = labels / ORDER_FILE if labels.is_dir() else labels.with_name(ORDER_FILE)
    if labels.name == ORDER_FILE or (order_file.is_file() and (labels.is_dir() or labels.name == LABEL_FILE)):
        return _FileOrder(order_file, _parse_order(order_file, read_json(order_file, "an order file")))
    file = _label_file(labels)
    masks = ((i.id, i.amodal or i.modal) for i in read_annotations(file).instances if not i.is_crowd)
    found = {annotation_id: mask for annotation_id, mask in masks if mask}
    return _MaskOrder(file, found)


def _parse_order(path: Path, content: Any) -> dict[int, dict[Pair, float]]:
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise DataError(f"{path}: expected an object with a list `images`; see `amodalpl pseudolabel`")
    by_image: dict[int, dict[Pair, float]] = {}
    for n, entry in enumerate(content["images"]):
        try:
            pairs = {(int(p["front"]), int(p["back"])): float(p["evidence_px"]) for p in entry["pairs"]}
            by_image[int(entry["image_id"])] = pairs
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: images[{n}]: expected `image_id` and `pairs` of `front`, `back`, `evidence_px`, "
                f"got something else ({type(error).__name__}: {error})"
            ) from None
    return by_image


def _label_file(labels: Path) -> Path:
    """Return the label file of a label folder; anything else is for the reader."""
    return labels / LABEL_FILE if labels.is_dir() and (labels / LABEL_FILE).exists() else labels


def _written(summary: Summary, name: str, options: dict[str, Any], **inputs: Path) -> Summary:
    """Write the scores with what they stand on, when an output folder is given."""
    if summary.out is None:
        return summary
    try:
        summary.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{summary.out}: expected a folder to write to ({error.strerror})") from None
    file = summary.out / name
    record = {
        "amodalpl": __version__,
        "git": git_state(),
        "inputs": {k: {"path": str(p), "sha256": hash_file(p) if p.is_file() else None} for k, p in inputs.items()},
        "options": options,
        "counts": summary.counts,
        "scores": summary.scores,
    }
    write_json(file, record)
    return replace(summary, files={"scores": file})
