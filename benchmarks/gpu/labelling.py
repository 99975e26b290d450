"""How fast photos are labelled by the package's completer, and whether a GPU's labels are those of the processor."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from amodalpl.builtin import BUILTIN, completer_folder
from amodalpl.data.label_folder import LABELS
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.runtime.progress import Progress
from amodalpl.settings_values import resolve

from .context import Context

WANTED_PER_S = 2000.0
_TOLD_S = 0.5  # tasks of the command that take less are left out


def measure(context: Context) -> None:
    """Label all photos in each precision; a few of them on the processor, to compare; then fit the completer to them.

    Each is the whole command with the number of processes that it takes by itself.
    """
    annotations, images = context.photos()
    found: dict[str, _Labelled] = {}
    for precision in ("fp16", "fp32") if context.on_gpu else ("fp32", "bf16"):
        with context.attempt(f"labelled in {precision}"):
            settings = {"precision": precision, "batch_size": 64 if context.on_gpu else 8}
            found[precision] = _label(context, annotations, images, settings, context.device.type)
            hoped = WANTED_PER_S if precision == "fp16" else None
            found[precision].tell(context, f"labelled in {precision}", hoped)
    few = _first_photos(annotations, context.work / "few.json", context.sizes.compared_photos)
    with context.attempt("labelled by the processor"):
        gaps = next((labelled.gaps for labelled in found.values()), {})
        expected = _label(context, few, images, {"precision": "fp32", **gaps}, "cpu")
        expected.tell(context, "labelled by the processor in fp32")
        for precision, labelled in found.items():
            _compare(context, precision, labelled.masks, expected.masks)
    with context.attempt("fitted to the photos first"):
        fitted = _label(context, annotations, images, {}, context.device.type, BUILTIN)
        fitted.tell(context, "fitted to the photos first")


@dataclass(frozen=True)
class _Labelled:
    """What a run of the command gave.

    Attributes:
        masks: of labels by annotation id.
        seconds: of the whole command.
        tasks: seconds of each of its tasks.
        gaps: settings of gaps that it measured, which are those of all photos.
    """

    masks: dict[int, Any]
    seconds: float
    tasks: dict[str, float]
    gaps: dict[str, int]

    def tell(self, context: Context, what: str, hoped: float | None = None) -> None:
        context.say(what, len(self.masks) / self.seconds, "instances/s", at_least=hoped)
        for task, seconds in self.tasks.items():
            if seconds > _TOLD_S:
                context.say(f"{what}: {task}", seconds, "s")


class _Tasks(Progress):
    """Takes the seconds of each task."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        """Watch a task."""
        began = time.monotonic()
        yield lambda units: None
        self.seconds[label] = time.monotonic() - began


def _label(
    context: Context,
    annotations: Path,
    images: Path,
    labels: dict[str, Any],
    device: str,
    completer: Path | str | None = None,
) -> _Labelled:
    """Label by the package's completer as it is, or by `completer`."""
    out, tasks = context.work / "labels", _Tasks()
    shutil.rmtree(out, ignore_errors=True)
    settings = resolve({"labels": labels})
    began = time.monotonic()
    counts = make_labels(
        annotations, images, completer or completer_folder(BUILTIN), out, settings, device=device, progress=tasks
    ).counts
    seconds = time.monotonic() - began
    made = json.loads((out / LABELS).read_text(encoding="utf-8"))["annotations"]
    masks = {label["id"]: label["segmentation"] for label in made}
    return _Labelled(
        masks, seconds, tasks.seconds, {"gap_px": counts["gap px"], "contour_inset_px": counts["tight px"]}
    )


def _first_photos(annotations: Path, target: Path, count: int) -> Path:
    content = json.loads(annotations.read_text(encoding="utf-8"))
    content["images"] = content["images"][:count]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] in kept]
    target.write_text(json.dumps(content), encoding="utf-8")
    return target


def _compare(context: Context, precision: str, found: dict[int, Any], expected: dict[int, Any]) -> None:
    if not expected.keys() <= found.keys():
        raise ValueError(f"expected the {len(expected)} labels that the processor made, got some of them only")
    overlaps = [float(coco_mask.iou([found[key]], [expected[key]], [0])[0, 0]) for key in expected]
    other = [overlap for overlap in overlaps if overlap < 1]
    name = f"{precision} beside the processor"
    context.say(f"{name}: labels that differ", len(other) / len(overlaps), f"of {len(overlaps)}")
    context.say(f"{name}: mean IoU", sum(overlaps) / len(overlaps), at_least=0.999)
    context.say(f"{name}: least IoU", min(overlaps))
