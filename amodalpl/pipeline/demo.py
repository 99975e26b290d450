"""`amodalpl demo`: the whole pipeline on embedded drawn scenes, whose truth is exact."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..detector import require_mmdetection
from ..drawn_scenes import SceneFiles, write_scenes
from ..errors import MissingPackageError
from ..runtime.parent_folder import require_own_folder
from ..runtime.progress import SILENT, Progress
from ..runtime.summary import Summary
from ..settings_values import merge, read_config
from .run_all import run_pipeline

TRAINING_SCENES, VALIDATION_SCENES, SCENES, VALIDATION = 80, 24, "scenes", "validation_scenes"


def demo(out: Path, values: Mapping[str, Any], device: str = "auto", progress: Progress = SILENT) -> Summary:
    """Draw scenes and run every stage on them; the pipeline sees visible masks only.

    Args:
        out: gets `scenes/`, `validation_scenes/` and one folder per stage.
        values: settings that were asked for, on top of the installed `demo.yaml`.
        device: "auto", "cpu" or "cuda".
        progress: shown while it works.

    Returns:
        The scores of all stages: labels against the drawn truth, the detector, where MMDetection is installed, against
        the truth of other scenes.

    Raises:
        OutputError: `out` is a folder of something else.
    """
    require_own_folder(out, "demo", [SCENES])
    settings = merge(read_config(Path("demo")), values)
    seed = int(settings["seed"])
    train = _scenes(out / SCENES, TRAINING_SCENES, seed)
    other = _scenes(out / VALIDATION, VALIDATION_SCENES, seed + 1_000_003)
    data: dict[str, Any] = {
        "annotations": str(train.annotations),
        "images": str(train.images),
        "truth": str(train.truth),
        "val": str(other.truth),
        "val_images": str(other.images),
        "init": "none",
    }
    try:
        require_mmdetection("train-detector")
    except MissingPackageError as error:
        progress.warn(f"the demo ends with its labels: {error}")
        data["detector"] = False
    return run_pipeline({**settings, "data": data}, out, device, progress, own=[SCENES])


def _scenes(folder: Path, count: int, seed: int) -> SceneFiles:
    """Draw scenes unless they are there; those of another seed are refused by the first stage that reads them."""
    there = SceneFiles(folder / "annotations.json", folder / "images", folder / "truth.json")
    return there if there.annotations.exists() else write_scenes(folder, count, seed)
