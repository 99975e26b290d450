"""`amodalpl evaluate completion`: amodal masks against true ones, always beside the baselines that cost nothing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..data.read import read_annotations
from ..data.records import AnnotationSet, Instance
from ..errors import DataError
from ..masks import boxed, rle
from ..masks.boxed import BoxedMasks, common_window
from ..masks.geometry import count_px
from ..masks.neighbours import near_pairs, neighbours_both_ways
from ..masks.rle import Rle
from ..metrics import baselines, completion
from ..metrics.levels import LevelSet, choose_levels, compute_levels
from ..metrics.per_object import GIVEN, GIVEN_FROM, PREDICTED, compute_given, compute_predicted
from ..metrics.presence import PRESENCE, compute_presence
from ..runtime.progress import SILENT, Progress
from ..runtime.summary import Summary
from .scores_file import LABELS, Digest, label_file, read_truth, write_evaluation

_LISTED = 20  # ids named in the summary; the counts are always whole


def evaluate_completion(
    truth: Path,
    labels: Path,
    *,
    things_only: bool = False,
    gap_px: int = 2,
    levels: str | None = None,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> Summary:
    """Compare amodal masks with true ones, annotation by annotation.

    The hidden part is measured outside the modal mask of the truth file, or of the label file where the truth has none.
    The hull's neighbours are all instances of the photo in either file, stuff included and crowds left out.

    Args:
        truth: any supported file with amodal masks.
        labels: a label folder, or any supported file with the same annotation ids. Of a file without amodal masks
            (plain COCO), `segmentation` counts as the prediction.
        things_only: leave out stuff instead of scoring all regions and things side by side.
        gap_px: free pixels between two masks that still count as neighbours, for the hull.
        levels: bins of occlusion, a name in `metrics.levels.LEVEL_SETS`; None means those of KINS for KINS, else those
            of COCOA-cls.
        out: folder for `evaluation.json`; nothing is written when None.
        progress: shows the photos done.

    Returns:
        `scores`: "PROTOCOL: SUBSET" -> "modal mask", "convex hull", "labels" -> metric -> value.

    Raises:
        DataError: no amodal masks in the truth, no annotation in common, masks of different sizes, or unknown levels.
    """
    known = read_truth(truth)
    level_set = choose_levels(levels, known.format)
    file = label_file(labels)
    scored = score_objects(known, file, things_only=things_only, gap_px=gap_px, progress=progress)
    summary = Summary(
        stage="evaluate completion",
        out=out,
        counts={
            "photos": len(known.images),
            "dropped_by_reader": len(known.dropped),
            **scored.tally.as_counts(),
            "occluded": sum(c.is_occluded for c in scored.rows[LABELS]),
        },
        scores=_completion_scores(scored, things_only, level_set),
    )
    options = {"things_only": things_only, "gap_px": gap_px, "levels": level_set.name}
    return write_evaluation(summary, "evaluation.json", options, scored.digest, truth=truth, labels=file)


@dataclass(frozen=True)
class ScoredObject:
    """What is known of a scored instance beside its own pixels; decides to which subsets it belongs.

    Attributes:
        id: of the annotation.
        image_id: of its photo.
        is_stuff: COCOA's flag.
        category_name: of its class.
        height_px: of the true amodal box.
        under_annotated_px: pixels of its hidden part where another annotated object is seen.
    """

    id: int
    image_id: int
    is_stuff: bool
    category_name: str
    height_px: int
    under_annotated_px: int


@dataclass(frozen=True)
class ScoredObjects:
    """All that were scored, in the order of the truth.

    Attributes:
        objects: one per instance.
        rows: "modal mask", "convex hull", "labels" -> the counts of each of them.
        tally: what took no part, and why.
        digest: of what was scored.
    """

    objects: list[ScoredObject]
    rows: dict[str, list[completion.Counts]]
    tally: _Tally
    digest: Digest


def score_objects(
    known: AnnotationSet, file: Path, *, things_only: bool, gap_px: int, progress: Progress = SILENT
) -> ScoredObjects:
    """Count the pixels of every instance that truth and labels have in common.

    Args:
        known: the truth.
        file: of the labels.
        things_only: leave out stuff.
        gap_px: free pixels between two masks that still count as neighbours, for the hull.
        progress: shows the photos done.

    Raises:
        DataError: no annotation in common, or masks of different sizes.
    """
    truth = known.path
    labels, tally = read_annotations(file), _Tally()
    predicted, why_not = _by_id(labels, known, tally)
    ids = {i.id for i in known.instances}
    others: dict[int, list[Instance]] = defaultdict(list)
    for instance in labels.instances:
        if instance.id not in ids and not instance.is_crowd:
            others[instance.image_id].append(instance)
            is_known = instance.image_id in known.image_by_id
            (tally.only_in_labels if is_known else tally.missing_in_truth).append(instance.id)
    rows: dict[str, list[completion.Counts]] = defaultdict(list)
    objects: list[ScoredObject] = []
    digest = Digest()
    with progress.task("scoring", len(known.images)) as advance:
        for image in known.images:
            pairs = _matched(known.by_image[image.id], predicted, why_not, things_only, tally)
            if any(pair.score for pair in pairs):
                _check_sizes(pairs, truth, file)
                pairs += _only_neighbours(others[image.id], pairs)
                of_image, under_px = _completion_of_image(pairs, gap_px)
                for row, counts in of_image.items():
                    rows[row] += counts
                for index, pair in enumerate(pairs):
                    if pair.score and pair.truth.amodal:
                        digest.add(pair.truth.id, pair.modal["counts"])
                        name = known.category_names.get(pair.truth.category_id, "")
                        height_px = rle.box_xywh(pair.truth.amodal)[3]
                        whose = (pair.truth.id, image.id, pair.truth.is_stuff, name)
                        objects.append(ScoredObject(*whose, height_px, under_px[index]))
            advance(1)
    if not objects:
        raise DataError(
            f"{file}: expected annotations with the ids of {truth}, but no instance could be scored "
            f"({len(tally.missing_in_labels)} of {len(known.instances)} are not in it, "
            f"{len(tally.without_modal)} have no modal mask in either file)"
        )
    return ScoredObjects(objects, rows, tally, digest)


@dataclass
class _Tally:
    """Annotations that are not in both files, or cannot be scored."""

    matched: int = 0
    crowd: int = 0
    stuff_left_out: int = 0
    truth_without_amodal: list[int] = field(default_factory=list)
    without_modal: list[int] = field(default_factory=list)
    modal_from_labels: int = 0
    modal_ious: list[float] = field(default_factory=list)
    rejected_in_labels: list[int] = field(default_factory=list)
    not_readable_in_labels: list[int] = field(default_factory=list)
    of_another_photo_in_labels: list[int] = field(default_factory=list)
    missing_in_labels: list[int] = field(default_factory=list)
    only_in_labels: list[int] = field(default_factory=list)
    missing_in_truth: list[int] = field(default_factory=list)

    @property
    def visible_were_given(self) -> bool:
        """Whether the labels were made from the truth's visible masks, as far as they say."""
        return not self.modal_ious or sum(self.modal_ious) / len(self.modal_ious) >= GIVEN_FROM

    def as_counts(self) -> dict[str, Any]:
        counts: dict[str, Any] = {
            "matched": self.matched,
            "crowd_left_out": self.crowd,
            "stuff_left_out": self.stuff_left_out,
            "modal_from_labels": self.modal_from_labels,
            "modal_iou_of_labels": round(sum(ious) / len(ious), 4) if (ious := self.modal_ious) else None,
        }
        always = ("missing_in_labels", "missing_in_truth", "truth_without_amodal", "without_modal")
        seldom = ("rejected_in_labels", "not_readable_in_labels", "of_another_photo_in_labels", "only_in_labels")
        for name in (*always, *seldom):
            ids = sorted(getattr(self, name))
            if ids or name in always:
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


def _by_id(
    labels: AnnotationSet, known: AnnotationSet, tally: _Tally
) -> tuple[dict[int, Instance], dict[int, list[int]]]:
    """Return the labels that can be compared; and of those that are there and cannot, where they are counted."""
    names = {i.id: _file_name(known, i) for i in known.instances}
    predicted: dict[int, Instance] = {}
    why_not = {d.annotation_id: tally.not_readable_in_labels for d in labels.dropped if d.annotation_id is not None}
    for label in labels.instances:
        if label.is_crowd:
            why_not[label.id] = tally.rejected_in_labels
        elif _file_name(labels, label) != names.get(label.id, _file_name(labels, label)):
            why_not[label.id] = tally.of_another_photo_in_labels
        else:
            predicted[label.id] = label
    return predicted, why_not


def _file_name(data: AnnotationSet, instance: Instance) -> str:
    return PurePosixPath(data.image_by_id[instance.image_id].file_name).name


def _matched(
    instances: list[Instance],
    predicted: dict[int, Instance],
    why_not: dict[int, list[int]],
    things_only: bool,
    tally: _Tally,
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
            why_not.get(instance.id, tally.missing_in_labels).append(instance.id)
        elif instance.amodal is None or rle.area_px(instance.amodal) == 0:
            tally.truth_without_amodal.append(instance.id)
        elif modal is None:
            tally.without_modal.append(instance.id)
        else:
            score = True
            tally.matched += 1
            tally.modal_from_labels += instance.modal is None
            if label and label.modal and label.amodal and instance.modal:
                tally.modal_ious.append(_iou(instance.modal, label.modal))
        if modal is not None:
            pairs.append(_Matched(instance, modal, guess, score))
    return pairs


def _iou(first: Rle, second: Rle) -> float:
    if first["size"] != second["size"]:
        return 0.0  # refused later, with the annotation's name
    return rle.iou(first, second)


def _only_neighbours(labelled: list[Instance], pairs: list[_Matched]) -> list[_Matched]:
    """Return the labels that the truth does not know; what is seen of them may hide what it knows."""
    size = next(p.truth.amodal["size"] for p in pairs if p.score and p.truth.amodal)
    return [
        _Matched(instance, instance.modal, None, score=False)
        for instance in labelled
        if instance.modal and instance.amodal and instance.modal["size"] == size
    ]


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


def _completion_of_image(
    pairs: list[_Matched], gap_px: int
) -> tuple[dict[str, list[completion.Counts]], dict[int, int]]:
    """Return the counts of each row; and by index, how many hidden pixels lie where another object is seen."""
    height, width = pairs[0].modal["size"]
    modal = BoxedMasks((boxed.decode(pair.modal) for pair in pairs), (height, width))
    neighbours = neighbours_both_ways(near_pairs(modal, gap_px))
    rows: dict[str, list[completion.Counts]] = {name: [] for name in (*baselines.COMPLETION, LABELS)}
    under_px: dict[int, int] = {}
    for index, pair in enumerate(pairs):
        if not pair.score or pair.truth.amodal is None or pair.predicted is None:
            continue
        truth, predicted = boxed.decode(pair.truth.amodal), boxed.decode(pair.predicted)
        window = common_window(modal[index], truth, predicted)  # nothing is true outside
        mine, whole = modal[index][window], truth[window]
        around = modal.any_of(neighbours.get(index, []), window)
        guesses = {name: complete(mine, around) for name, complete in baselines.COMPLETION.items()}
        guesses[LABELS] = predicted[window]
        for name, guess in guesses.items():
            rows[name].append(completion.count_instance(guess, whole, mine))
        others = modal.any_of((k for k in modal.meeting(window) if k != index), window)
        under_px[index] = count_px(whole & ~mine & others)
    return rows, under_px


def _completion_scores(
    scored: ScoredObjects, things_only: bool, level_set: LevelSet
) -> dict[str, dict[str, dict[str, Any]]]:
    objects = scored.objects
    is_stuff = np.array([o.is_stuff for o in objects])
    occluded = np.array([c.is_occluded for c in scored.rows[LABELS]])
    whole = "things" if things_only else "all"
    everything = ~is_stuff if things_only else np.ones_like(occluded)
    subsets = {whole: everything, "occluded things" if things_only else "occluded": occluded & everything}
    if is_stuff.any() and not things_only:
        subsets["things"] = ~is_stuff
    selected = np.array([level_set.selects(o.category_name, o.height_px) for o in objects])
    of_levels = {name: chosen for name, chosen in subsets.items() if not name.startswith("occluded")}
    if selected.any():
        of_levels[level_set.selection] = selected
    of_presence = {name: chosen for name, chosen in of_levels.items() if name != level_set.selection}
    per_object = (GIVEN, compute_given) if scored.tally.visible_were_given else (PREDICTED, compute_predicted)
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    for protocol, compute, groups in (
        (completion.MICRO, completion.compute_micro, subsets),
        (completion.PER_INSTANCE, completion.compute_per_instance, subsets),
        (level_set.protocol, lambda counts: compute_levels(counts, level_set), of_levels),
        (*per_object, of_presence),
        (PRESENCE, compute_presence, of_presence),
    ):
        for subset, chosen in groups.items():
            scores[f"{protocol}: {subset}"] = {
                row: compute([c for c, wanted in zip(counts, chosen, strict=True) if wanted])
                for row, counts in scored.rows.items()
            }
    return scores
