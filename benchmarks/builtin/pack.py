"""A trained completer as the package carries it: half the bytes, no classes, no paths; its provenance beside it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from amodalpl.builtin import FOLDER, is_builtin
from amodalpl.completion.checkpoint import CARD, WEIGHTS, load_completer
from amodalpl.errors import DataError
from amodalpl.io.checkpoints import load_plain
from amodalpl.io.files import hash_file, read_json, write_json, write_whole
from amodalpl.pipeline.complete import METRICS
from amodalpl.runtime.stage_run import finished_run

from .training_data import BANK, COCO

PROVENANCE = "provenance.json"
_NOT_SHIPPED = ("history", "hidden_by_photo")  # curves of the training, and numbers per photo


def pack(completer: Path, out: Path = FOLDER) -> dict[str, Any]:
    """Write weights in half precision, card, scores and provenance of a trained completer.

    Normalisations keep full precision: they are few, and variances may be below what fp16 holds. Shapes of classes are
    left out, since nobody else's classes have the same numbers.

    Args:
        completer: output folder of `amodalpl complete`; its provenance are the trainings behind its weights, also
            those that it started from. One without steps only chose thresholds and calibration anew, and is none.
        out: the folder in the package.

    Returns:
        What was written, for people.

    Raises:
        OutputError: the training has not finished.
        DataError: the completer looks at photos, which would have to come along.
        CheckpointError: it is damaged.
    """
    record, *before = _trainings_of(completer)
    if load_completer(completer, torch.device("cpu")).completer.uses_image:
        raise DataError(f"{completer}: expected a completer that looks at masks only, got one that needs photos")
    weights = {name: _halved(tensor) for name, tensor in load_plain(completer / WEIGHTS).items()}
    write_whole(out / WEIGHTS, lambda part: torch.save(weights, part))
    card = read_json(completer / CARD, "the card of a completer")
    write_json(out / CARD, {**card, "weights_sha256": hash_file(out / WEIGHTS), "shapes_sha256": None})
    metrics = read_json(completer / METRICS, "the scores of a completer")
    write_json(out / METRICS, {name: value for name, value in metrics.items() if name not in _NOT_SHIPPED})
    write_json(
        out / PROVENANCE,
        {
            **_about(record),
            "weights before packing": card["weights_sha256"],
            **({"started from": [_about(earlier) for earlier in before]} if before else {}),
            "masks": [asdict(source) for source in (COCO, *BANK)],
        },
    )
    load_completer(out, torch.device("cpu"))  # what was written can be read
    return {"MiB": round((out / WEIGHTS).stat().st_size / 2**20, 1), "threshold": card["threshold"]}


def _trainings_of(completer: Path) -> list[dict[str, Any]]:
    """Return the records of the trainings behind weights, the last one first."""
    record = finished_run(completer, "complete")
    init = record["arguments"]["init"]
    before = _trainings_of(Path(init)) if init and not is_builtin(init) else []
    return [record, *before] if record["counts"]["steps"] else before


def _about(record: dict[str, Any]) -> dict[str, Any]:
    names = ("amodalpl", "git", "seed", "settings", "inputs", "took", "machine")
    counts = {name: record["counts"][name] for name in ("steps", "samples")}
    return {**{name: record[name] for name in names}, **counts}


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor
