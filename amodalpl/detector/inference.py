"""Run a trained detector: on the photos of a data set, for scores, or on any photos."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate

from ..errors import CheckpointError, DataError
from ..io.files import write_whole
from ..masks import rle
from ..masks.rle import Rle
from ..runtime.progress import Progress
from .data.dataset import LabelDataset
from .encoded_masks import encode_kept, masks_encoded
from .quiet import one_line, third_party_quiet
from .trained import Detector


@torch.inference_mode()
def detect(
    model: Any,
    dataset: Mapping[str, Any],
    category_ids: Sequence[int],
    *,
    workers: int,
    device: torch.device,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Run a network on photos.

    Args:
        model: trained.
        dataset: config of the photos, with a test pipeline.
        category_ids: of the labels 0, 1, ...
        workers: loader processes.
        device: to run on.
        progress: where photos are reported.

    Returns:
        COCO results, by photo and falling score: `bbox` as x, y, width, height, `segmentation` as compressed RLE of
        the whole object, and `visible_mask` likewise where the model predicts it.
    """
    photos = LabelDataset(**{key: value for key, value in dataset.items() if key != "type"})
    loader: Any = torch.utils.data.DataLoader(
        photos, batch_size=1, num_workers=workers, collate_fn=pseudo_collate, pin_memory=device.type == "cuda"
    )
    model.to(device).eval()
    results: list[dict[str, Any]] = []
    with progress.task("detecting", len(photos)) as advance, third_party_quiet(), one_line(), masks_encoded():
        for batch in loader:
            for sample in model.test_step(batch):
                found = sample.pred_instances
                told = [*zip(found.bboxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)]
                masks = {"segmentation": found.masks, "visible_mask": found.get("visible_masks")}
                every = list(range(len(told)))
                as_rles = {k: encode_kept(v, every, found.bboxes.cpu()) for k, v in masks.items() if v is not None}
                for index, ((x1, y1, x2, y2), label, score) in enumerate(told):
                    encoded = {key: of_objects[index] for key, of_objects in as_rles.items()}
                    whole = encoded["segmentation"]
                    detection = Detection(
                        category_ids[label], score, box_of((x1, y1, x2, y2), whole), whole, encoded.get("visible_mask")
                    )
                    results.append(detection.to_coco(sample.img_id))
                advance(1)
    return results


def box_of(box_xyxy: tuple[float, ...], mask: Rle) -> tuple[float, ...]:
    """Return a box, or that of the mask where a model says none, as SOLO, whose boxes are all zeros."""
    if any(box_xyxy) or not rle.area_px(mask):
        return box_xyxy
    x, y, width, height = rle.box_xywh(mask)
    return (float(x), float(y), float(x + width), float(y + height))


def write_results(path: Path, detections: Iterable[Mapping[str, Any]]) -> None:
    """Write COCO results, one detection per line and one in memory at a time."""

    def write(part: Path) -> None:
        separator = ""
        with part.open("w", encoding="utf-8", newline="\n") as file:
            file.write("[\n")
            for detection in detections:
                file.write(separator + json.dumps(detection, separators=(",", ":")))
                separator = ",\n"
            file.write("\n]\n")

    write_whole(path, write)


@dataclass(frozen=True)
class Detection:
    """One object that was found on a photo.

    Attributes:
        category_id: of its class.
        score: 0 to 1.
        box_xyxy: left, top, right, bottom in pixels of the photo.
        mask: in the frame of the photo, not empty; of the whole object where the model was trained on whole ones.
        visible_mask: of its visible part, which may be empty; None where the model does not predict it.
    """

    category_id: int
    score: float
    box_xyxy: tuple[float, ...]
    mask: Rle
    visible_mask: Rle | None = None

    def to_coco(self, image_id: int) -> dict[str, Any]:
        """Return it as COCO results have it, its visible mask beside `segmentation` where there is one."""
        x1, y1, x2, y2 = self.box_xyxy
        return {
            "image_id": image_id,
            "category_id": self.category_id,
            "bbox": [round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(self.score, 5),
            "segmentation": rle.to_json(self.mask),
            **({} if self.visible_mask is None else {"visible_mask": rle.to_json(self.visible_mask)}),
        }


@torch.inference_mode()
def detect_photos(
    detector: Detector, images: Sequence[np.ndarray], *, least_score: float, batch_size: int, half: bool = False
) -> list[list[Detection]]:
    """Run a detector on photos that were read.

    Photos that have one size after resizing are seen together; no photo is padded for another, so that what is found on
    it does not depend on the others.

    Args:
        detector: of `trained.open_detector`.
        images: (H, W, 3) uint8 RGB each.
        least_score: detections below it are left out.
        batch_size: photos seen together, at most.
        half: compute in float16, on a GPU.

    Returns:
        Of each photo what was found, by falling score.

    Raises:
        DataError: the model predicts no masks, or a photo is too narrow to be seen.
        CheckpointError: it predicts what is no number.
    """
    found: list[list[Detection]] = [[] for _ in images]
    groups: defaultdict[tuple[int, ...], list[tuple[int, Any]]] = defaultdict(list)
    with third_party_quiet(), masks_encoded():
        for index, image in enumerate(images):
            prepared = prepare_photo(detector, image)
            groups[tuple(prepared["inputs"].shape)].append((index, prepared))
        for group in groups.values():
            for start in range(0, len(group), batch_size):
                batch = group[start : start + batch_size]
                with (
                    torch.autocast("cuda", torch.float16) if half else nullcontext(),
                    masks_from(detector, least_score),
                ):
                    samples = detector.model.test_step(pseudo_collate([prepared for _, prepared in batch]))
                for (index, _), sample in zip(batch, samples, strict=True):
                    found[index] = _detections(detector, sample.pred_instances, least_score)
    return found


@contextmanager
def masks_from(detector: Detector, least_score: float) -> Iterator[None]:
    """Let a two-stage model leave out what will be left out anyway before it makes masks, not after.

    What has a lower score never takes a place of what has a higher one. Not where a head changes scores upwards.
    """
    head = getattr(detector.model, "roi_head", None)
    config: Any = getattr(head, "test_cfg", None)
    before = config.get("score_thr") if config is not None else None
    if before is None or before >= least_score or getattr(head, "rescoring", "off") != "off":
        yield
        return
    config.score_thr = least_score
    try:
        yield
    finally:
        config.score_thr = before


def prepare_photo(detector: Detector, image: np.ndarray) -> Any:
    """Apply the transforms to a photo; MMDetection takes BGR."""
    size_hw = image.shape[:2]
    detector.require_seen([("photo", size_hw)])
    results: Any = {
        "img": cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
        "img_shape": size_hw,
        "ori_shape": size_hw,
        "height": size_hw[0],
        "width": size_hw[1],
        "img_id": 0,
        "img_path": "",
    }
    for transform in detector.transforms:
        results = transform(results)
    return results


def _detections(detector: Detector, found: Any, least_score: float) -> list[Detection]:
    if "masks" not in found:
        raise DataError(f"model {detector.name}: expected one that predicts masks of objects, it predicts none")
    scores, boxes = found.scores.float().cpu(), found.bboxes.float().cpu()
    if not bool(torch.isfinite(scores).all() and torch.isfinite(boxes).all()):
        raise CheckpointError(f"model {detector.name}: expected scores and boxes, got NaN or infinity")
    falling, order = scores.sort(descending=True, stable=True)
    kept = order[falling >= least_score].tolist()
    masks = encode_kept(found.masks, kept, boxes)
    seen = encode_kept(found.visible_masks, kept, boxes) if "visible_masks" in found else [None] * len(kept)
    told = zip(found.labels[kept].tolist(), scores[kept].tolist(), boxes[kept].tolist(), strict=True)
    return [
        Detection(detector.categories[label]["id"], min(max(score, 0.0), 1.0), box_of(tuple(box), mask), mask, visible)
        for (label, score, box), mask, visible, area in zip(told, masks, seen, rle.areas_px(masks), strict=True)
        if area
    ]
