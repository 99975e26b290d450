"""The folder of `amodalpl train-detector`: names of its files, and what is read of a finished one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..io.files import read_json

STAGE = "train-detector"
WEIGHTS, CONFIG, METRICS, DETECTIONS = "weights.pth", "mmdet_config.py", "metrics.json", "detections.json"
TRAIN, VAL = "train.json", "val.json"
CURVES, SHEET = "curves.png", "detections.png"
_NEEDED = {"scores", "weights", "val_images", "held_back", "curve"}  # of the stored scores


def read_scores(folder: Path) -> dict[str, Any]:
    """Read `metrics.json`: scores, loss curve, and what was scored against.

    Raises:
        OutputError: it is not of a finished training.
    """
    stored = read_json(folder / METRICS, "the scores of a finished detector")
    if not isinstance(stored, dict) or not _NEEDED <= set(stored):
        raise OutputError(f"{folder / METRICS}: expected the scores of a finished `amodalpl {STAGE}`; train again")
    return stored


def named_files(folder: Path) -> dict[str, Path]:
    """Return the files of the folder by what they are, for the closing table."""
    return {
        "weights": folder / WEIGHTS,
        "mmdet config": folder / CONFIG,
        "metrics": folder / METRICS,
        "detections": folder / DETECTIONS,
        "loss curves": folder / CURVES,
        "pictures": folder / SHEET,
    }
