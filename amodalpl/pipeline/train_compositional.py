"""`amodalpl train-compositional`: boxes and classes -> the Bayesian compositional model.

A stage of its own beside `train-detector`: nothing here is an MMDetection config or a step of a Runner. It is EM over
features of a frozen backbone, part by part, and what comes out segments boxes; it finds none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..data.read import read_annotations
from ..detector import weights
from ..detector.compositional.checkpoint import BACKBONE, CARD, WEIGHTS, BoxSegmenter, write_segmenter
from ..detector.compositional.features import build_extractor
from ..detector.compositional.training import BoxTrainer
from ..detector.compositional.whole_objects import choose_whole_objects
from ..errors import CheckpointError, DataError
from ..io.files import hash_file
from ..io.images import image_path, read_image
from ..runtime.distributed import pick_device
from ..runtime.next_command import argument, beside
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import StageRun, input_hashes
from ..runtime.summary import Summary
from ..runtime.usable_photos import usable_photos
from ..settings import CompositionalSettings, PipelineSettings
from .stage_table import STAGES

ROW = STAGES["train-compositional"]
PARTS = "parts"


def train_compositional(
    annotations: Path,
    images: Path,
    out: Path,
    settings: PipelineSettings,
    fmt: str = "auto",
    init: str | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Summary:
    """Learn the shapes of classes from boxes of unoccluded objects; a run that was interrupted keeps its parts.

    Args:
        annotations: any supported file with boxes or masks, of which only boxes and classes are used.
        images: folder of the photos.
        out: output folder: the model, its backbone, a card, `parts/`, `run.json`.
        settings: `seed` and `compositional` are used.
        fmt: format of the annotations, or "auto".
        init: weights of the backbone: a file, or "none" for random ones. None downloads those of ResNet-50.
        device: auto, cpu or cuda.
        progress: shown while it works.

    Returns:
        Counts of what was learnt from and what was left out, by reason.

    Raises:
        DataError: annotations or photos cannot be read, or no class has enough unoccluded objects.
        CheckpointError: the start weights are missing or of another network.
        MissingPackageError: MMDetection, which builds the backbone, is not installed.
        OutputError: the folder belongs to another run.
    """
    arguments = ROW.arguments(annotations=annotations, images=images, fmt=fmt, init=init)
    wanted = settings.compositional
    where = pick_device(device)
    start = _start(init, wanted)
    data = usable_photos(read_annotations(annotations, fmt, boxes=True), images, progress, settings.left_out_photos)
    objects, left_out = choose_whole_objects(data, wanted, settings.seed)
    if not objects:
        why = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise DataError(
            f"{data.path}: expected {wanted.least_objects} unoccluded objects of any class to learn from, found fewer "
            f"(left out: {why}); see compositional.least_objects and compositional.most_overlap"
        )
    inputs = {**input_hashes(data, images), "start weights": start}
    run = StageRun.open(out, ROW.name, ROW.settings_of(settings), inputs, settings.seed, arguments)
    if not run.done:
        with run.released_on_bad_input():
            extractor = build_extractor(wanted.backbone, _state(init), str(init), settings.seed).to(where)
        (out / PARTS).mkdir(exist_ok=True)

        def read(image_id: int) -> np.ndarray:
            record = data.image_by_id[image_id]
            return read_image(image_path(images, record.file_name), record.size_hw)

        model = BoxTrainer(objects, read, extractor, wanted, settings.seed, out / PARTS, progress).fit()
        names = {data.category_names[c]: c for c in model.categories}
        write_segmenter(out, BoxSegmenter(model, extractor, names))
        learnt = {
            name: {
                "objects": sum(o.category_id == c for o in objects),
                "poses": len(model.template(c).prior),
            }
            for name, c in names.items()
        }
        counts = {
            "objects": len(objects),
            "left out": dict(sorted(left_out.items())),
            "concepts": len(model.concepts),
            "classes": learnt,
        }
        run.finish(counts, [CARD, WEIGHTS, BACKBONE, PARTS])
    return Summary(
        ROW.name,
        out,
        run.counts,
        files={"card": out / CARD, "model": out / WEIGHTS, "backbone": out / BACKBONE},
        next=f"amodalpl pseudolabel {argument(annotations)} {argument(images)} --detector {argument(out)} "
        f"--out {beside(out, 'shapes', 'labels')}",
    )


def _start(init: str | None, settings: CompositionalSettings) -> str:
    """Return what identifies the start weights."""
    if init == "none":
        return "none"
    if init is not None:
        if not Path(init).is_file():
            raise CheckpointError(f"{init}: expected a checkpoint, found no such file; give --init FILE|none")
        return hash_file(Path(init))
    if settings.backbone != "resnet50":
        raise CheckpointError(
            f"compositional.backbone={settings.backbone} has no start weights to download: give a file with "
            "--init FILE, or take compositional.backbone=resnet50"
        )
    return weights.RESNET50_URL


def _state(init: str | None) -> dict[str, torch.Tensor] | None:
    if init == "none":
        return None
    return weights.download_resnet50() if init is None else weights.read_state(Path(init))
