"""The codebook of a training's labels: learnt once, kept in the output folder, put into the network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError
from ..io.checkpoints import load_plain
from ..io.files import write_whole
from ..masks import rle
from ..runtime.progress import Progress
from ..settings import VrspSettings
from ..shape_prior.codebook import Codebook, crop_shape, learn_codebook

SHAPES = "shapes.pth"


def write_codebook(
    path: Path, labels: Mapping[str, Any], settings: VrspSettings, *, seed: int, progress: Progress
) -> None:
    """Learn the codebook of a label file's whole masks, unless an earlier start of the same run has written it.

    Args:
        path: of the file.
        labels: COCO with whole masks as RLE; crowds are left out.
        settings: how many codes and steps.
        seed: of the run.
        progress: shows the steps.
    """
    if path.is_file():
        return
    label_of = {category["id"]: label for label, category in enumerate(labels["categories"])}
    objects = [entry for entry in labels["annotations"] if not entry["iscrowd"]]
    book = learn_codebook(
        [crop_shape(rle.decode(entry["segmentation"])) for entry in objects],
        [label_of[entry["category_id"]] for entry in objects],
        len(label_of),
        settings.codes,
        steps=settings.shape_steps,
        seed=seed,
        progress=progress,
    )
    write_whole(path, lambda part: torch.save(book.state_dict(), part))


def load_codebook(path: Path, book: Codebook) -> None:
    """Put what `write_codebook` wrote into a network's codebook.

    Raises:
        CheckpointError: it is missing, damaged, or of another network.
    """
    try:
        book.load_state_dict(load_plain(path))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: expected the codebook of this detector, got another ({str(error).splitlines()[0]}); delete it "
            "and start again"
        ) from None
