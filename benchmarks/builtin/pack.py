"""A trained completer as the package carries it: half the bytes, no classes, no paths; its provenance beside it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from amodalpl.builtin import BUILTIN, FOLDER, completer_folder, is_builtin
from amodalpl.completion.checkpoint import CARD, WEIGHTS, load_completer
from amodalpl.errors import DataError
from amodalpl.io.checkpoints import load_plain
from amodalpl.io.files import hash_file, read_json, write_json, write_whole
from amodalpl.pipeline.complete import METRICS
from amodalpl.runtime.stage_run import finished_run

from .training_data import BANK, COCO

PROVENANCE = "provenance.json"
_TOLD = ("amodalpl", "git", "seed", "settings", "inputs", "took", "machine", "steps", "samples")  # of a training
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
    training, *before = _trainings_of(completer)
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
            **training,
            "weights before packing": card["weights_sha256"],
            **({"started from": before} if before else {}),
            "masks": [asdict(source) for source in (COCO, *BANK)],
        },
    )
    load_completer(out, torch.device("cpu"))  # what was written can be read
    return {"MiB": round((out / WEIGHTS).stat().st_size / 2**20, 1), "threshold": card["threshold"]}


def _trainings_of(completer: Path) -> list[dict[str, Any]]:
    """Return what is to be told of the trainings behind weights, the last one first."""
    record = finished_run(completer, "complete")
    init = record["arguments"]["init"]
    if init and is_builtin(init):
        before = _trainings_of_shipped(record["inputs"]["init"])
    else:
        before = _trainings_of(Path(init)) if init else []
    return [_about(record), *before] if record["counts"]["steps"] else before


def _trainings_of_shipped(weights_sha256: str) -> list[dict[str, Any]]:
    """Return the same of the completer in the package.

    Raises:
        DataError: it is not the one that has these weights.
    """
    folder = completer_folder(BUILTIN)
    if hash_file(folder / WEIGHTS) != weights_sha256:
        raise DataError(f"{folder / WEIGHTS}: expected the weights that the training started from, got others")
    shipped = read_json(folder / PROVENANCE, "the provenance of the package's completer")
    before = shipped.pop("started from", [])
    return [{name: value for name, value in shipped.items() if name in _TOLD}, *before]


def _about(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record.get(name, record["counts"].get(name)) for name in _TOLD}


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor
