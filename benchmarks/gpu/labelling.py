"""How fast photos are labelled by the package's completer, and whether a GPU's labels are those of the processor."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from amodalpl.builtin import BUILTIN, completer_folder
from amodalpl.data.label_folder import LABELS
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.settings_values import resolve

from .context import Context

WANTED_PER_S = 2000.0


def measure(context: Context) -> None:
    """Label all photos in each precision; then a few of them on the processor too, and compare."""
    annotations, images = context.photos()
    completer = completer_folder(BUILTIN)
    precisions = ("fp16", "fp32") if context.on_gpu else ("fp32", "bf16")
    for precision in precisions:
        with context.attempt(f"labelled in {precision}"):
            _, seconds, count = _label(context, annotations, images, completer, precision, context.device.type)
            hoped = WANTED_PER_S if precision == "fp16" else None
            context.say(f"labelled in {precision}", count / seconds, "instances/s", at_least=hoped)
    few = _first_photos(annotations, context.work / "few.json", context.sizes.compared_photos)
    expected, seconds, count = _label(context, few, images, completer, "fp32", "cpu")
    context.say("labelled by the processor in fp32", count / seconds, "instances/s")
    for precision in dict.fromkeys((*precisions, "bf16")):
        with context.attempt(f"{precision} beside the processor"):
            found, *_ = _label(context, few, images, completer, precision, context.device.type)
            _compare(context, precision, found, expected)


def _label(
    context: Context, annotations: Path, images: Path, completer: Path, precision: str, device: str
) -> tuple[dict[int, Any], float, int]:
    """Return the label masks by annotation id, the seconds that the whole command took, and how many labels it made."""
    out = context.work / "labels"
    shutil.rmtree(out, ignore_errors=True)
    settings = resolve({"labels": {"batch_size": 64 if context.on_gpu else 8, "precision": precision}})
    began = time.monotonic()
    summary = make_labels(annotations, images, completer, out, settings, device=device)
    seconds = time.monotonic() - began
    labels = json.loads((out / LABELS).read_text(encoding="utf-8"))["annotations"]
    return {label["id"]: label["segmentation"] for label in labels}, seconds, summary.counts["labels"]


def _first_photos(annotations: Path, target: Path, count: int) -> Path:
    content = json.loads(annotations.read_text(encoding="utf-8"))
    content["images"] = content["images"][:count]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] in kept]
    target.write_text(json.dumps(content), encoding="utf-8")
    return target


def _compare(context: Context, precision: str, found: dict[int, Any], expected: dict[int, Any]) -> None:
    if found.keys() != expected.keys():
        raise ValueError(f"expected {len(expected)} labels as the processor made, got {len(found)} others")
    overlaps = [float(coco_mask.iou([found[key]], [expected[key]], [0])[0, 0]) for key in expected]
    other = [overlap for overlap in overlaps if overlap < 1]
    name = f"{precision} beside the processor"
    context.say(f"{name}: labels that differ", len(other) / len(overlaps), "of all")
    context.say(f"{name}: mean IoU", sum(overlaps) / len(overlaps), at_least=0.999)
    context.say(f"{name}: least IoU", min(overlaps))
