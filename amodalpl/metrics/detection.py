"""COCO's twelve AP and AR numbers by pycocotools, on amodal masks, on visible ones, or on boxes.

Every AP in amodalpl goes through `evaluate`; variants change which truths are ignored, what the area means or which
truth a detection is compared with, never how precision is accumulated.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..errors import DataError
from ..io.files import read_json

IouType = Literal["segm", "bbox"]
IOU_TYPES: tuple[IouType, ...] = ("segm", "bbox")
ONLY_BOXES = "only_boxes"
"""Key of a truth whose masks are filled boxes, since nobody knows any: boxes alone are scored."""
ONLY_VISIBLE = "only_visible"
"""Key of a truth whose masks are of what is visible, since nobody knows whole ones: visible masks alone are scored."""
Masks = Literal["amodal", "visible"]
Scores = dict[str, float | int | None]
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
LEFT_OUT = "left_out"
"""Key of a truth that is neither to be found nor wrong to be found; COCO's `ignore` is overwritten by pycocotools."""


def protocol(
    iou_type: IouType, *, masks: Masks = "amodal", held_back: bool = False, class_agnostic: bool = False
) -> str:
    """Return the name under which scores are shown.

    Args:
        iou_type: masks or boxes.
        masks: which truth, the whole objects or what is visible of them.
        held_back: the truth is a part of the label file that training did not see, not independent annotation.
        class_agnostic: categories are not compared. Such numbers are higher and belong in no column with others.

    >>> protocol("segm")
    'COCO AP amodal (segm)'
    >>> protocol("segm", masks="visible", class_agnostic=True)
    'COCO AP visible (segm, class-agnostic)'
    """
    return f"COCO AP {masks} ({iou_type}{agnostic_suffix(class_agnostic)}{', held-back labels' if held_back else ''})"


def known_iou_type(truth: Mapping[str, Any]) -> IouType:
    """Return what of a truth detections are compared with first: masks, or boxes where it has nothing else.

    >>> known_iou_type({"annotations": []}), known_iou_type({"annotations": [], ONLY_BOXES: True})
    ('segm', 'bbox')
    """
    return "bbox" if truth.get(ONLY_BOXES) else "segm"


def first_protocol(truth: Mapping[str, Any], *, held_back: bool = False) -> str:
    """Return the name of the scores of what of a truth detections are compared with first.

    >>> first_protocol({"annotations": [], ONLY_VISIBLE: True})
    'COCO AP visible (segm)'
    """
    return protocol(
        known_iou_type(truth), masks="visible" if truth.get(ONLY_VISIBLE) else "amodal", held_back=held_back
    )


def agnostic_suffix(class_agnostic: bool) -> str:
    """Return what the name of a class-agnostic AP says, the same for all of them."""
    return ", class-agnostic" if class_agnostic else ""


class LeavingOutEval(COCOeval):
    """COCOeval that ignores truths marked `LEFT_OUT`: a detection on one is neither right nor wrong.

    Unlike a crowd, such a truth is compared by the ordinary IoU and takes up one detection, as a truth outside an area
    range does in COCO. A detection is never ignored for what it says itself.
    """

    def _prepare(self) -> None:
        super()._prepare()
        for group in self._gts.values():
            for entry in group:
                entry["ignore"] = bool(entry["ignore"] or entry.get(LEFT_OUT))


def coco_scores(
    truth: Mapping[str, Any] | Path,
    detections: Sequence[Mapping[str, Any]],
    iou_type: IouType,
    *,
    class_agnostic: bool = False,
) -> Scores:
    """Score detections.

    Args:
        truth: COCO annotations, as a dict or a file; crowds are ignored as in COCO, and so is what has a true
            `LEFT_OUT`.
        detections: COCO results: `image_id`, `category_id`, `score`, and `segmentation` (RLE) or `bbox`.
        iou_type: "segm" compares masks, "bbox" boxes.
        class_agnostic: compare detections and truths whatever their categories.

    Returns:
        The numbers of `COCOeval.summarize` under `NAMES`: AP is the mean over IoU 0.50:0.95, 50 and 75 one threshold,
        s, m, l areas below 32^2, up to 96^2 and above, AR1, 10, 100 detections per image. None where the truth has no
        object of that kind.

    Raises:
        DataError: the truth is not COCO, or a detection is of an unknown image or lacks what is compared.
    """
    evaluation = evaluate(LeavingOutEval, truth, detections, iou_type, class_agnostic=class_agnostic)
    return {name: as_score(value) for name, value in zip(NAMES, evaluation.stats, strict=True)}


def evaluate(
    kind: type[COCOeval],
    truth: Mapping[str, Any] | Path,
    detections: Sequence[Mapping[str, Any]],
    iou_type: IouType,
    *,
    class_agnostic: bool = False,
    carried: Sequence[str] = (),
    iou_thresholds: Sequence[float] | None = None,
) -> COCOeval:
    """Run pycocotools, or a variant of it.

    Args:
        kind: COCOeval or a class derived from it.
        truth: see `coco_scores`.
        detections: see `coco_scores`.
        iou_type: "segm" or "bbox".
        class_agnostic: see `coco_scores`.
        carried: further keys of detections that `kind` needs.
        iou_thresholds: None means COCO's ten, for which alone there are `stats`.

    Returns:
        The evaluation, with `eval` and `stats`.

    Raises:
        DataError: see `coco_scores`.
    """
    content = check_truth(truth)
    field = "segmentation" if iou_type == "segm" else "bbox"
    source = str(truth) if isinstance(truth, Path) else "truth"
    check_detections(detections, content, ("score", "category_id", field), source)
    # only what is compared: beside a box, loadRes would take a mask's area from the box and shift APs, APm and APl
    keys = ("image_id", "category_id", "score", field, *carried)
    kept = [{key: d[key] for key in keys if key in d} for d in detections]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints tables
        # pycocotools takes a match with annotation 0 for none
        numbered = [{**a, "id": n} for n, a in enumerate(content["annotations"], start=1)]
        expected = _index({**content, "annotations": numbered})
        found = expected.loadRes(kept) if kept else _index({**content, "annotations": []})
        evaluation = kind(expected, found, iou_type)
        evaluation.params.useCats = int(not class_agnostic)
        if iou_thresholds is not None:
            evaluation.params.iouThrs = np.array(iou_thresholds)
        evaluation.evaluate()
        evaluation.accumulate()
        if iou_thresholds is None:
            evaluation.summarize()
    return evaluation


def check_truth(truth: Mapping[str, Any] | Path) -> Mapping[str, Any]:
    """Read COCO annotations if need be.

    Raises:
        DataError: not COCO annotations.
    """
    content = read_json(truth, "COCO annotations") if isinstance(truth, Path) else truth
    if not isinstance(content, Mapping) or not all(
        isinstance(content.get(key), list) for key in ("images", "annotations", "categories")
    ):
        source = str(truth) if isinstance(truth, Path) else "truth"
        raise DataError(f"{source}: expected COCO annotations with images, annotations and categories")
    return content


def check_detections(
    detections: Sequence[Mapping[str, Any]], truth: Mapping[str, Any], needed: Sequence[str], source: str = "truth"
) -> None:
    """Refuse detections that cannot be scored.

    Raises:
        DataError: of an unknown image, without one of the `needed` keys, or with a mask that is not a compressed RLE
            of the image's size (pycocotools gives an AP of 0 for it, and no reason).
    """
    known = {image["id"]: [image.get("height"), image.get("width")] for image in truth["images"]}
    for index, detection in enumerate(detections):
        if detection.get("image_id") not in known:
            raise DataError(
                f"detections[{index}].image_id: expected one of {source}, got {detection.get('image_id')!r}"
            )
        if not all(key in detection for key in needed):
            wanted = f"{needed[-1]}, {' and '.join(needed[:-1])}"
            raise DataError(f"detections[{index}]: expected {wanted}, got {sorted(detection)}")
        for key in {"segmentation", "visible_mask"} & set(needed):
            _check_rle(f"detections[{index}].{key}", detection[key], known[detection["image_id"]])


def _check_rle(place: str, mask: Any, size_hw: list[int | None]) -> None:
    if not isinstance(mask, Mapping) or not isinstance(mask.get("counts"), str | bytes):
        raise DataError(f"{place}: expected a compressed RLE (`size` and `counts` as text), got {type(mask).__name__}")
    if None not in size_hw and list(mask.get("size", ())) != size_hw:
        raise DataError(
            f"{place}: expected a mask of {size_hw[0]}x{size_hw[1]} pixels (height x width, as the truth's image), "
            f"got {mask.get('size')}"
        )


def as_score(value: float) -> float | None:
    """Return a number of pycocotools, whose -1 means that there is nothing to score."""
    return None if value < 0 else round(float(value), 6)


def as_rle(segmentation: Any, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Return polygons or any RLE as a compressed one of pycocotools."""
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size_hw))
    return (
        segmentation
        if isinstance(segmentation["counts"], str | bytes)
        else coco_mask.frPyObjects(segmentation, *size_hw)
    )


def _index(content: Mapping[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = dict(content)
    coco.createIndex()
    return coco
