"""Run a trained detector on photos."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import pseudo_collate

from ..io.files import write_whole
from ..masks import rle
from ..runtime.progress import Progress
from .data.dataset import LabelDataset
from .quiet import one_line, third_party_quiet


@torch.no_grad()
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
    with progress.task("detecting", len(photos)) as advance, third_party_quiet(), one_line():
        for batch in loader:
            for sample in model.test_step(batch):
                found = sample.pred_instances
                told = zip(found.bboxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
                masks = {"segmentation": found.masks, "visible_mask": found.get("visible_masks")}
                as_arrays = {key: value.cpu().numpy() for key, value in masks.items() if value is not None}
                for index, ((x1, y1, x2, y2), label, score) in enumerate(told):
                    results.append(
                        {
                            "image_id": sample.img_id,
                            "category_id": category_ids[label],
                            "bbox": [round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)],
                            "score": round(score, 5),
                            **{key: rle.to_json(rle.encode(values[index])) for key, values in as_arrays.items()},
                        }
                    )
                advance(1)
    return results


def write_results(path: Path, detections: Sequence[Mapping[str, Any]]) -> None:
    """Write COCO results, one detection per line."""
    lines = ",\n".join(json.dumps(d, separators=(",", ":")) for d in detections)
    write_whole(path, lambda part: part.write_text(f"[\n{lines}\n]\n", encoding="utf-8"))
