"""COCO's twelve AP and AR numbers by pycocotools, on amodal masks or on their boxes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..errors import DataError
from ..provenance import read_json

IouType = Literal["segm", "bbox"]
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def protocol(iou_type: IouType, *, held_back: bool = False) -> str:
    """Return the name under which scores are shown.

    Args:
        iou_type: masks or boxes.
        held_back: the truth is a part of the label file that training did not see, not independent annotation.

    >>> protocol("segm")
    'COCO AP amodal (segm)'
    """
    return f"COCO AP amodal ({iou_type}{', held-back labels' if held_back else ''})"


def coco_scores(
    truth: Mapping[str, Any] | Path, detections: Sequence[Mapping[str, Any]], iou_type: IouType
) -> dict[str, float | None]:
    """Score detections.

    Args:
        truth: COCO annotations, as a dict or a file; crowds are ignored as in COCO.
        detections: COCO results: `image_id`, `category_id`, `score`, and `segmentation` (RLE) or `bbox`.
        iou_type: "segm" compares masks, "bbox" boxes.

    Returns:
        The numbers of `COCOeval.summarize` under `NAMES`: AP is the mean over IoU 0.50:0.95, 50 and 75 one threshold,
        s, m, l areas below 32^2, up to 96^2 and above, AR1, 10, 100 detections per image. None where the truth has no
        object of that kind.

    Raises:
        DataError: the truth is not COCO, or a detection is of an unknown image or lacks what is compared.
    """
    source = str(truth) if isinstance(truth, Path) else "truth"
    content = read_json(truth, "COCO annotations") if isinstance(truth, Path) else truth
    if not isinstance(content, Mapping) or not all(
        isinstance(content.get(key), list) for key in ("images", "annotations", "categories")
    ):
        raise DataError(f"{source}: expected COCO annotations with images, annotations and categories")
    field = "segmentation" if iou_type == "segm" else "bbox"
    known = {image["id"] for image in content["images"]}
    for index, detection in enumerate(detections):
        if detection.get("image_id") not in known:
            raise DataError(
                f"detections[{index}].image_id: expected one of {source}, got {detection.get('image_id')!r}"
            )
        if field not in detection or "score" not in detection or "category_id" not in detection:
            raise DataError(f"detections[{index}]: expected {field}, score and category_id, got {sorted(detection)}")
    # only what is compared: beside a box, loadRes would take a mask's area from the box and shift APs, APm and APl
    kept = [{key: d[key] for key in ("image_id", "category_id", "score", field)} for d in detections]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints tables
        expected = _index({**content, "annotations": [dict(a) for a in content["annotations"]]})
        found = expected.loadRes(kept) if kept else _index({**content, "annotations": []})
        evaluation = COCOeval(expected, found, iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {
        name: None if value < 0 else round(float(value), 6) for name, value in zip(NAMES, evaluation.stats, strict=True)
    }


def _index(content: Mapping[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = dict(content)
    coco.createIndex()
    return coco
