"""`amodalpl evaluate boxes`: whole masks made from boxes, level by level, beside what boxes give for free.

The protocol of the papers that are given boxes (Sun et al. 2022, Liu et al. 2024): a method gets the photo, a box and
its class, and nothing of what hides the object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.read import read_annotations
from ..data.records import AnnotationSet, Box, ImageRecord, Instance
from ..errors import DataError
from ..io.files import read_json
from ..io.images import image_path, read_image
from ..masks import boxed, rle
from ..metrics import box_baselines, completion
from ..metrics.levels import (
    CONTEXT_RATE,
    MASKS_FROM_BOXES,
    OCCLUDED_VEHICLES,
    LevelSet,
    choose_levels,
    compute_levels,
)
from ..runtime.progress import SILENT, Progress
from ..runtime.summary import Summary
from ..runtime.usable_photos import usable_photos
from .scores_file import Digest, read_truth, write_evaluation

if TYPE_CHECKING:  # baselines run without torch and MMDetection
    from ..detector.box_prompt import BoxPrompt
    from ..detector.trained import Detector

MEAN_SHAPE = "mean shape of the class"
JITTER = {"jittered by 5 %": 0.05, "jittered by 10 %": 0.1}
EXACT, PROPOSALS = "exact", "best proposals"
Row = Callable[[np.ndarray, Sequence[Box], Sequence[str]], Sequence[np.ndarray]]


@dataclass(frozen=True)
class _Object:
    """What is scored.

    Attributes:
        instance: with both masks.
        class_name: of its class.
        box_xywh: true box of the visible part or of the whole, as asked for.
        context_rate: covered share of its surroundings, where the truth says so.
    """

    instance: Instance
    class_name: str
    box_xywh: Box
    context_rate: float | None


def evaluate_boxes(
    truth: Path,
    images: Path,
    detectors: Sequence[Path] = (),
    *,
    proposals: Path | None = None,
    shapes: Path | None = None,
    whole_boxes: bool = False,
    levels: str | None = None,
    free: bool = True,
    moved: bool = True,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Summary:
    """Score masks made from boxes: true ones, true ones with each side moved at random, and the best proposals.

    Args:
        truth: any supported file with whole masks. Crowds, and objects without both masks, take no part.
        images: folder of its photos.
        detectors: output folders of `train-detector` or `train-compositional`. An object of a class that one has not
            learnt has an empty mask from it, and counts as 0.
        proposals: folder of a detector with a proposal network; of its proposals on a photo, each object's box is the
            one of highest IoU with the true box.
        shapes: file with masks to take the mean shape of each class from: whole masks, or visible ones where it has no
            others. It should be of other photos.
        whole_boxes: boxes of whole objects are given ("known centre"), not those of their visible parts.
        levels: see `evaluate_completion`; None means those of OccludedVehicles where the truth says how much of the
            surroundings is covered.
        free: also score what boxes give without any training.
        moved: also score true boxes with each side moved.
        seed: of the moved sides.
        out: folder for `evaluation_boxes.json`; nothing is written when None.
        device: "auto", "cpu" or "cuda".
        progress: shows the photos done.

    Returns:
        `scores`: protocol -> "filled box", "box ellipse", "GrabCut", "mean shape of the class", names of models ->
        metric -> value.

    Raises:
        DataError: no whole masks in the truth, photos that cannot be read, no object to score, unknown levels, or a
            model that knows none of the classes.
        OutputError: a folder is of another stage, or unfinished.
    """
    known = usable_photos(read_truth(truth), images, progress, most_left_out=0.0)
    rates = _context_rates(truth)
    level_set = _levels(levels, known, rates)
    left_out: Counter[str] = Counter()
    objects = {record.id: _objects(record, known, rates, whole_boxes, left_out) for record in known.images}
    everything = [o for of_photo in objects.values() for o in of_photo]
    if not everything:
        raise DataError(f"{truth}: expected objects with a visible and a whole mask, got none ({dict(left_out)})")
    prompts = _open(detectors, {o.class_name for o in everything}, device)
    proposer = _open_proposer(proposals, device)
    rows = _rows(prompts, shapes, whole_boxes, free)
    moves = JITTER if moved else {}
    counts: dict[str, dict[str, list[completion.Counts]]] = {}
    digest = Digest()
    with progress.task("scoring", len(known.images)) as advance:
        for record in known.images:
            of_photo = objects[record.id]
            if of_photo:
                image = read_image(image_path(images, record.file_name), record.size_hw)
                for name, boxes in _given(image, of_photo, proposer, moves, seed).items():
                    of_rows = counts.setdefault(name, {row: [] for row in rows})
                    for row, segment in rows.items():
                        masks = segment(image, boxes, [o.class_name for o in of_photo])
                        of_rows[row] += [_count(mask, o.instance) for mask, o in zip(masks, of_photo, strict=True)]
                for o in of_photo:
                    digest.add(o.instance.id, o.box_xywh)
            advance(1)
    summary = Summary(
        stage="evaluate boxes",
        out=out,
        counts={
            "photos": len(known.images),
            "objects": len(everything),
            "left out": dict(sorted(left_out.items())),
            "of a class that a model has not learnt": {
                name: unknown for name, p in prompts.items() if (unknown := _unknown(p, everything))
            },
        },
        scores=_scores(counts, everything, level_set, whole_boxes),
    )
    options = {"levels": level_set.name, "whole_boxes": whole_boxes, "seed": seed, "proposals": proposals is not None}
    return write_evaluation(summary, "evaluation_boxes.json", options, digest, truth=truth)


def _context_rates(truth: Path) -> dict[int, float]:
    """Return how much of the surroundings is covered, by annotation id, where the truth says so."""
    content = read_json(truth, "an annotation file") if truth.is_file() else None
    entries = content.get("annotations") if isinstance(content, dict) else None
    return {
        entry["id"]: float(entry[CONTEXT_RATE])
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get(CONTEXT_RATE), int | float) and "id" in entry
    }


def _levels(name: str | None, known: AnnotationSet, rates: Mapping[int, float]) -> LevelSet:
    if rates and name in (None, "occluded-vehicles"):
        return OCCLUDED_VEHICLES
    return choose_levels(name, known.format)


def _objects(
    record: ImageRecord, known: AnnotationSet, rates: Mapping[int, float], whole_boxes: bool, left_out: Counter[str]
) -> list[_Object]:
    kept = []
    for instance in known.by_image[record.id]:
        modal, amodal = instance.modal, instance.amodal
        if instance.is_crowd:
            left_out["crowd"] += 1
        elif modal is None or amodal is None or not rle.area_px(modal) or not rle.area_px(amodal):
            left_out["no visible or no whole mask"] += 1
        else:
            box = rle.box_xywh(amodal if whole_boxes else modal)
            kept.append(_Object(instance, known.category_names[instance.category_id], box, rates.get(instance.id)))
    return kept


def _open(detectors: Sequence[Path], classes: set[str], device: str) -> dict[str, BoxPrompt]:
    """Open models, by the name of their row: that of the model, with its folder where two are alike."""
    if not detectors:
        return {}
    from ..detector import require_mmdetection

    require_mmdetection("evaluate boxes")
    from ..detector.box_prompt import knows, open_box_prompt
    from ..runtime.distributed import pick_device

    opened = [open_box_prompt(folder, pick_device(device)) for folder in detectors]
    names = Counter(p.name for p in opened)
    prompts = {}
    for folder, prompt in zip(detectors, opened, strict=True):
        if not any(knows(prompt, name) for name in classes):
            raise DataError(
                f"{folder}: expected a model that knows one of the classes {', '.join(sorted(classes))}, it knows "
                f"{', '.join(prompt.class_names)}"
            )
        prompts[prompt.name if names[prompt.name] == 1 else f"{prompt.name} ({folder.name})"] = prompt
    return prompts


def _open_proposer(proposals: Path | None, device: str) -> Detector | None:
    if proposals is None:
        return None
    from ..detector import require_mmdetection

    require_mmdetection("evaluate boxes")
    from ..detector.trained import open_detector
    from ..runtime.distributed import pick_device

    return open_detector(proposals, None, pick_device(device))


def _unknown(prompt: BoxPrompt, objects: Sequence[_Object]) -> int:
    from ..detector.box_prompt import knows

    return sum(not knows(prompt, o.class_name) for o in objects)


def _rows(prompts: Mapping[str, BoxPrompt], shapes: Path | None, whole_boxes: bool, free: bool) -> dict[str, Row]:
    """Return what is scored, by name."""
    untrained: dict[str, box_baselines.Segment] = dict(box_baselines.FREE) if free else {}
    if shapes is not None:
        untrained[MEAN_SHAPE] = _mean_shapes(shapes)
    rows: dict[str, Row] = {name: partial(_one_by_one, segment) for name, segment in untrained.items()}
    return rows | {name: partial(_asked, prompt, whole_boxes) for name, prompt in prompts.items()}


def _mean_shapes(file: Path) -> box_baselines.MeanShapes:
    data = read_annotations(file)
    shapes = box_baselines.MeanShapesOf()
    has_whole = any(i.amodal is not None for i in data.instances)
    for instance in data.instances:
        mask = instance.amodal if has_whole else instance.modal
        if mask is not None and not instance.is_crowd:
            shapes.add(boxed.decode(mask), data.category_names[instance.category_id])
    mean = shapes.mean()
    if mean is None:
        raise DataError(f"{file}: expected masks to take the mean shape of each class from, got none")
    return mean


def _one_by_one(
    segment: box_baselines.Segment, image: np.ndarray, boxes: Sequence[Box], class_names: Sequence[str]
) -> list[np.ndarray]:
    return [segment(image, box, name) for box, name in zip(boxes, class_names, strict=True)]


def _asked(
    prompt: BoxPrompt, whole_boxes: bool, image: np.ndarray, boxes: Sequence[Box], class_names: Sequence[str]
) -> list[np.ndarray]:
    from ..detector.box_prompt import knows

    known = [k for k, name in enumerate(class_names) if knows(prompt, name)]
    answers = prompt.segment(image, [boxes[k] for k in known], [class_names[k] for k in known], whole=whole_boxes)
    masks = [np.zeros(image.shape[:2], dtype=bool) for _ in boxes]
    for k, answer in zip(known, answers, strict=True):
        masks[k] = answer.amodal
    return masks


def _given(
    image: np.ndarray, objects: Sequence[_Object], proposer: Detector | None, moves: Mapping[str, float], seed: int
) -> dict[str, list[Box]]:
    """Return the boxes that methods are given, by what was done to the true ones."""
    given = {EXACT: [o.box_xywh for o in objects]}
    for name, share in moves.items():
        given[name] = [moved_sides(o.box_xywh, share, (seed, o.instance.id)) for o in objects]
    if proposer is not None:
        from ..detector.box_prompt import proposals

        found = proposals(proposer, image)
        given[PROPOSALS] = [best_match(o.box_xywh, found) for o in objects]
    return given


def moved_sides(box_xywh: Box, share: float, seed: tuple[int, int]) -> Box:
    """Move each side of a box by up to a share of the box's width or height, in or out.

    Args:
        box_xywh: in pixels.
        share: 0 to 0.4, so that something is left.
        seed: of the object; negative ids count as they are below 2**63.
    """
    x, y, w, h = box_xywh
    rng = np.random.default_rng([number % 2**63 for number in seed])
    left, top, right, bottom = rng.uniform(-share, share, 4)
    return x + left * w, y + top * h, max(w * (1 + right - left), 1.0), max(h * (1 + bottom - top), 1.0)


def best_match(box_xywh: Box, found_xywh: np.ndarray) -> Box:
    """Return the found box of highest IoU with a given one, (N, 4); the given one where nothing was found."""
    if not len(found_xywh):
        return box_xywh
    one = np.asarray(box_xywh, dtype=float)
    low = np.maximum(found_xywh[:, :2], one[:2])
    high = np.minimum(found_xywh[:, :2] + found_xywh[:, 2:], one[:2] + one[2:])
    shared = (high - low).clip(0).prod(axis=1)
    iou = shared / np.maximum(found_xywh[:, 2:].prod(axis=1) + one[2:].prod() - shared, 1e-9)
    x, y, w, h = found_xywh[int(iou.argmax())].tolist()
    return x, y, max(w, 1.0), max(h, 1.0)


def _count(mask: np.ndarray, instance: Instance) -> completion.Counts:
    assert instance.amodal is not None and instance.modal is not None, "objects were chosen by that"
    return completion.count_instance(mask, rle.decode(instance.amodal), rle.decode(instance.modal))


def _scores(
    counts: Mapping[str, Mapping[str, Sequence[completion.Counts]]],
    objects: Sequence[_Object],
    level_set: LevelSet,
    whole_boxes: bool,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the scores of all objects, and of those that the papers score where there are such."""
    contexts = [-1.0 if o.context_rate is None else o.context_rate for o in objects]
    selected = [
        level_set.selects(o.class_name, rle.box_xywh(o.instance.amodal)[3]) if o.instance.amodal else False
        for o in objects
    ]
    subsets = {"all": [True] * len(objects)} | ({level_set.selection: selected} if any(selected) else {})
    of_what = "whole" if whole_boxes else "visible"
    return {
        f"{MASKS_FROM_BOXES} ({level_set.name}), {of_what} boxes {given}: {subset}": {
            row: compute_levels(
                [c for c, wanted in zip(of_row, chosen, strict=True) if wanted],
                level_set,
                [c for c, wanted in zip(contexts, chosen, strict=True) if wanted],
            )
            for row, of_row in rows.items()
        }
        for given, rows in counts.items()
        for subset, chosen in subsets.items()
    }
