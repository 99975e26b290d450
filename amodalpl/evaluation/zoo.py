"""`amodalpl evaluate zoo`: several detectors on one data set, in one table: every AP, the order, speed and memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.exif import any_turned
from ..data.records import AnnotationSet, Instance
from ..errors import DataError
from ..io.files import write_json
from ..io.images import image_path, read_image
from ..labelling.detections import label_detections
from ..masks import boxed, rle
from ..masks.boxed import BoxedMasks
from ..masks.rle import Rle
from ..metrics import ordering
from ..metrics.detection import ONLY_VISIBLE
from ..metrics.levels import LevelSet, choose_levels
from ..runtime.distributed import pick_device
from ..runtime.progress import SILENT, Progress
from ..runtime.summary import Summary
from ..runtime.usable_photos import require_photos
from ..runtime.usage import Usage
from .detections import NO_WHOLE_MASKS, protocols, to_coco
from .scores_file import make_folder, read_truth, write_evaluation

COST = "speed and memory"
_SAME_OBJECT = 0.5  # least IoU of whole masks, for a detection to be an object of the truth in the order
_WARM_UP = 1  # photos that are seen once more before the clock runs
_AGNOSTIC = "object"  # the class of detectors that know one only


@dataclass
class _Found:
    """What one detector found on all photos.

    Attributes:
        results: as COCO has them, with ids of the truth.
        order: of each photo.
        seconds: that the network and the encoding of its masks took.
        peak_mb: the most memory held at once while it ran, of the GPU where it ran on one.
        parameters: of the network.
        two_masks: its model predicts visible masks too.
    """

    results: list[dict[str, Any]] = field(default_factory=list)
    order: list[ordering.OrderCounts] = field(default_factory=list)
    seconds: float = 0.0
    peak_mb: int | None = None
    parameters: int = 0
    two_masks: bool = False


def evaluate_zoo(
    truth: Path,
    images: Path,
    detectors: Sequence[Path],
    *,
    class_agnostic: bool = False,
    levels: str | None = None,
    score_threshold: float = 0.3,
    gap_px: int = 2,
    out: Path | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Summary:
    """Run detectors on the photos of a truth, one after another, and score each by all protocols of detections.

    Args:
        truth: any supported file with amodal masks. Of one with visible masks only, AP visible is scored, beside speed
            and memory.
        images: folder of its photos.
        detectors: output folders of `amodalpl train-detector`.
        class_agnostic: compare detections and truths whatever their categories.
        levels: bins of occlusion, see `evaluate_completion`.
        score_threshold: detections from it on take part in the order; AP looks at all.
        gap_px: free pixels between two masks that still count as neighbours, for the true order.
        out: folder for `evaluation_zoo.json` and the detections of each; nothing is written when None.
        device: auto, cpu or cuda.
        progress: shows photos and protocols.

    Returns:
        `scores`: protocol -> name of the folder -> metric -> value. Protocols of visible masks have only the rows of
        detectors that predict them.

    Raises:
        DataError: no masks to score by, photos that are not there, or a detector of other classes.
        OutputError: a folder is not that of a finished detector, or scores cannot be written to `out`.
        CheckpointError: its weights are damaged.
        MissingPackageError: mmdet is not installed.
    """
    from ..detector import require_mmdetection

    require_mmdetection("evaluate zoo")
    from ..detector import trained

    known = read_truth(truth, visible_will_do=True)
    require_photos(known, images, progress)
    if any_turned(known, images):
        progress.note(f"{images}: photos whose masks fit only when turned as EXIF says are seen turned")
    where = pick_device(device)
    level_set = choose_levels(levels, known.format)
    expected, left_out, scored_on = to_coco(known)
    named = _names(detectors)
    for folder in named.values():  # all of them before the first photo
        opened = trained.open_detector(folder, None, where)
        _categories(opened, known, folder, class_agnostic)
        opened.require_seen((images / record.file_name, record.size_hw) for record in known.images)
    if out is not None:
        make_folder(out)
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    files = {}
    for name, folder in named.items():
        found = _run(folder, name, known, images, where, class_agnostic, score_threshold, gap_px, progress)
        of_this = _scores(name, found, expected, class_agnostic, level_set, progress)
        for protocol, values in {**of_this, COST: _cost(found, len(known.images))}.items():
            scores.setdefault(protocol, {})[name] = values
        if out is not None:
            files[name] = out / f"detections_{name}.json"
            write_json(files[name], found.results)
    scores[COST] = scores.pop(COST)  # the last table
    counts = {
        "photos": len(known.images),
        "instances": scored_on.objects,
        "left_out": dict(sorted(left_out.items())),
        "device": where.type,
        "detectors": {name: str(folder) for name, folder in named.items()},
    }
    if ONLY_VISIBLE in expected:
        counts["not_scored"] = _not_scored(scores)
    options = {"class_agnostic": class_agnostic, "levels": level_set.name, "score_threshold": score_threshold}
    summary = Summary("evaluate zoo", out, counts=counts, scores=scores)
    summary = write_evaluation(summary, "evaluation_zoo.json", options, scored_on, truth=truth)
    summary.files.update(files)
    return summary


def _scores(
    name: str, found: _Found, truth: dict[str, Any], class_agnostic: bool, level_set: LevelSet, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Return protocol -> metric -> value of one detector; a truth without whole masks tells no order."""
    jobs = protocols(truth, found.results, class_agnostic, level_set, found.two_masks)
    scores: dict[str, dict[str, Any]] = {}
    with progress.task(f"scoring {name}", len(jobs)) as advance:
        for protocol, compute in jobs.items():
            scores[protocol] = compute()
            advance(1)
    return scores if ONLY_VISIBLE in truth else scores | ordering.compute(found.order)


def _not_scored(scores: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Say what a truth with visible masks only leaves out of the table, and the detectors whose cost alone is there."""
    scored = {name for protocol, rows in scores.items() if protocol != COST for name in rows}
    unscored = ", ".join(name for name in scores[COST] if name not in scored)
    line = f"AP of whole masks, boxes and occlusion, and the order: {NO_WHOLE_MASKS}"
    return f"{line}; of {unscored} all but {COST}: no visible masks" if unscored else line


def _names(detectors: Sequence[Path]) -> dict[str, Path]:
    """Return a name for each folder: its own, with its parent's where two are alike.

    Raises:
        DataError: none, or one twice.
    """
    if not detectors:
        raise DataError("evaluate zoo: expected at least one folder of `amodalpl train-detector`, got none")
    whole = [folder.resolve() for folder in detectors]
    twice = next((given for given, path in zip(detectors, whole, strict=True) if whole.count(path) > 1), None)
    if twice is not None:
        raise DataError(f"{twice}: expected different detectors, got this one twice")
    short = Counter(path.name for path in whole)
    named = {path.name if short[path.name] == 1 else f"{path.parent.name}_{path.name}": path for path in whole}
    if len(named) < len(whole):
        raise DataError(f"{detectors[0]}: expected folders that their name or their parent's tells apart")
    return named


def _categories(opened: Any, known: AnnotationSet, folder: Path, class_agnostic: bool) -> dict[int, int]:
    """Return the truth's category of each of a detector's, found by name.

    Raises:
        DataError: the truth does not know a class of the detector's.
    """
    of_name = {name: identity for identity, name in known.category_names.items()}
    if class_agnostic:
        first = min(of_name.values())
        return {entry["id"]: of_name.get(entry["name"], first) for entry in opened.categories}
    unknown = [entry["name"] for entry in opened.categories if entry["name"] not in of_name]
    if unknown:
        one = unknown == [_AGNOSTIC]
        raise DataError(
            f"{folder}: expected classes of {known.path} ({', '.join(sorted(of_name)[:5])}), got "
            f"{', '.join(unknown[:5])}; {'it knows one class only: ' if one else ''}--class-agnostic compares all"
        )
    return {entry["id"]: of_name[entry["name"]] for entry in opened.categories}


def _run(
    folder: Path,
    name: str,
    known: AnnotationSet,
    images: Path,
    device: Any,
    class_agnostic: bool,
    score_threshold: float,
    gap_px: int,
    progress: Progress,
) -> _Found:
    """Look at every photo, one at a time, as a user would who has one photo."""
    import torch

    from ..detector import inference, trained
    from ..detector.model_table import MODELS

    usage = Usage()
    opened = trained.open_detector(folder, None, device)
    category = _categories(opened, known, folder, class_agnostic)
    found = _Found(parameters=sum(parameter.numel() for parameter in opened.model.parameters()))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with progress.task(f"detecting, {name}", len(known.images)) as advance:
        for number, record in enumerate(known.images):
            photo = read_image(image_path(images, record.file_name), record.size_hw)
            for _ in range(_WARM_UP if number == 0 else 0):
                inference.detect_photos(opened, [photo], least_score=0.0, batch_size=1)
            began = time.perf_counter()
            [objects] = inference.detect_photos(opened, [photo], least_score=0.0, batch_size=1)
            found.seconds += time.perf_counter() - began  # detections are on the processor: nothing is still running
            found.results += [
                replace(thing, category_id=category[thing.category_id]).to_coco(record.id) for thing in objects
            ]
            sure = [thing for thing in objects if thing.score >= score_threshold]
            truths = [i for i in known.by_image[record.id] if not i.is_crowd and i.modal and i.amodal]
            if truths:
                found.order.append(_order(truths, sure, gap_px))
            advance(1)
    predicts = opened.name in MODELS and "visible" in MODELS[opened.name].predicts
    found.two_masks = predicts or any("visible_mask" in result for result in found.results)
    on_gpu = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
    found.peak_mb = round(on_gpu) if on_gpu is not None else usage.to_json()["peak_memory_mb"]
    return found


def _order(truths: Sequence[Instance], found: Sequence[Any], gap_px: int) -> ordering.OrderCounts:
    """Compare who hides whom among the objects that were found; a true pair with one that was not is missed.

    A detection is the object whose whole mask it is most like, the surest one first; pairs of detections that are none
    are left out, since AP counts them.
    """
    modal = _boxed([thing.modal for thing in truths if thing.modal])
    amodal = _boxed([thing.amodal for thing in truths if thing.amodal])
    evidence: dict[tuple[int, int], float] = {}
    if found:
        whole = _boxed([thing.mask for thing in found])
        seen = [thing.visible_mask for thing in found]
        visible = None if seen[0] is None else _boxed([mask for mask in seen if mask])
        labels = label_detections(whole, visible, [thing.score for thing in found])
        of_truth = truth_of_each([thing.mask for thing in found], [thing.amodal for thing in truths if thing.amodal])
        evidence = {
            (of_truth[pair.front], of_truth[pair.back]): pair.evidence_px
            for pair in labels.order
            if pair.front in of_truth and pair.back in of_truth
        }
    return ordering.counting_by_masks(modal, amodal, gap_px)(ordering.make_one_way(evidence), set(evidence))


def _boxed(masks: Sequence[Rle]) -> BoxedMasks:
    """Return masks of one photo, of which there is at least one."""
    height, width = masks[0]["size"]
    return BoxedMasks(map(boxed.decode, masks), (height, width))


def truth_of_each(found: Sequence[Rle], truths: Sequence[Rle]) -> dict[int, int]:
    """Return the truth that each detection is, at most one each; detections come by falling score."""
    shared = np.asarray(rle.intersections_px(found, truths))  # (D, T)
    ious = shared / (rle.areas_px(found)[:, None] + rle.areas_px(truths)[None] - shared)
    of_truth: dict[int, int] = {}
    for index, row in enumerate(ious):
        free = [k for k in np.argsort(-row) if k not in of_truth.values() and row[k] >= _SAME_OBJECT]
        if free:
            of_truth[index] = int(free[0])
    return of_truth


def _cost(found: _Found, photos: int) -> dict[str, Any]:
    return {
        "images per second": round(photos / found.seconds, 3),
        "peak memory, MB": found.peak_mb,
        "weights, millions": round(found.parameters / 1e6, 3),
    }
