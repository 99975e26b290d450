"""A trained detector, opened: the folder of `amodalpl train-detector`, or any MMDetection config with its checkpoint.

The config in the folder is read as plain values: nothing in it is executed. A config of MMDetection is Python, which
opening it runs, as MMDetection's own tools do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from ..errors import CheckpointError, DataError, SettingsError
from ..io.files import hash_file, read_json
from ..runtime.stage_run import RUN_FILE, finished_run
from ..settings_values import resolve
from . import config as configs
from . import mmdet_registry as _mmdet_registry  # noqa: F401  # MMDetection knows our parts from here on
from . import weights
from .data.seen_size import require_seen
from .folder import CONFIG, METRICS, STAGE, VAL, WEIGHTS
from .mmdetection import TRANSFORMS
from .quiet import third_party_quiet
from .stock_config import class_count, read_config, read_written_config, without_downloads
from .training import build, pool_precisely

_READS = ("LoadImage", "LoadPhoto", "LoadAnnotations", "LoadPairedMasks", "LoadPanoptic")  # photos are read before
_COCO_CLASSES = 80


@dataclass(frozen=True)
class Detector:
    """A trained detector; `inference.detect_photos` runs it.

    Attributes:
        name: of the model, for labels.
        model: of MMDetection, in eval mode, on its device.
        transforms: of a photo that was read, up to what the model takes.
        categories: `id` and `name` of each class, in the model's order.
        device: that it runs on.
        identity: hashes of what it was opened from.
    """

    name: str
    model: Any
    transforms: Sequence[Any]
    categories: list[dict[str, Any]]
    device: torch.device
    identity: dict[str, str]

    @property
    def class_names(self) -> dict[int, str]:
        """Class names by category id."""
        return {entry["id"]: entry["name"] for entry in self.categories}

    def require_seen(self, photos: Iterable[tuple[Path | str, tuple[int, int]]]) -> None:
        """Refuse a photo that is too narrow to be seen.

        Args:
            photos: name, and height and width.

        Raises:
            DataError: not a pixel of a photo is left.
        """
        kept = [step.scale for step in self.transforms if getattr(step, "keep_ratio", False) and step.scale]
        for photo, size_hw in photos if kept else ():
            require_seen(photo, size_hw, kept[0])


def open_detector(path: Path, checkpoint: Path | None, device: torch.device) -> Detector:
    """Open a detector.

    Args:
        path: output folder of `amodalpl train-detector`, or a config file of MMDetection.
        checkpoint: of the config; must be None for a folder, which has its weights.
        device: to run on.

    Raises:
        CheckpointError: weights are missing, damaged, of another model, or no numbers.
        DataError: no such folder or config, or a config without a model, or without a pipeline for tests.
        OutputError: the folder is of another stage, or unfinished.
        SettingsError: a checkpoint beside a folder, a config without one, or settings that are not of this version.
    """
    if path.is_dir():
        if checkpoint is not None:
            raise SettingsError(f"--checkpoint: belongs to a config of MMDetection; {path} has its own weights")
        opened = _of_folder(path, device)
    elif path.is_file():
        if checkpoint is None:
            raise SettingsError(f"{path}: is a config of MMDetection; give its weights with --checkpoint FILE")
        opened = _of_config(path, checkpoint, device)
    else:
        raise DataError(
            f"{path}: expected the folder of `amodalpl {STAGE}`, or a config of MMDetection; found no such thing"
        )
    opened.model.to(device).eval()
    _watch_numbers(opened.model, path)
    pool_precisely(opened.model)
    return opened


def _of_folder(folder: Path, device: torch.device) -> Detector:
    record = finished_run(folder, STAGE)
    stored = read_json(folder / METRICS, "the scores of a detector")
    sha256 = hash_file(folder / WEIGHTS)
    if not isinstance(stored, dict) or sha256 != stored.get("weights"):
        raise CheckpointError(f"{folder / WEIGHTS}: is not the file that training wrote; train again to replace it")
    settings = resolve({"detector": (record.get("settings") or {}).get("detector")}, str(folder / RUN_FILE)).detector
    categories = [
        {"id": int(entry["id"]), "name": str(entry["name"])}
        for entry in read_json(folder / VAL, "the validation annotations")["categories"]
    ]
    model_config = without_downloads(read_written_config(folder / CONFIG)["model"])
    model = build(model_config, None, str(folder))
    names = load_weights(model, folder / WEIGHTS)
    told = [entry["name"] for entry in categories]
    if names is not None and list(names) != told:
        raise CheckpointError(
            f"{folder / WEIGHTS}: expected weights for the {len(told)} classes of {VAL}, got others "
            f"({', '.join(names[:3])}, ...); train again"
        )
    transforms = transforms_of(configs.test_pipeline(settings))
    name = model_config["type"] if settings.model == "mmdet-config" else settings.model
    return Detector(name, model, transforms, categories, device, {"detector": sha256})


def _of_config(path: Path, checkpoint: Path, device: torch.device) -> Detector:
    config = read_config(path)
    model_config = without_downloads(config["model"])
    model = build(model_config, None, str(path))
    names = load_weights(model, checkpoint)
    count = class_count(model_config)
    names = names or _names_of(config, count)
    if count is not None and len(names) != count:
        raise CheckpointError(
            f"{checkpoint}: expected weights for the {count} classes of {path.name}, got names of {len(names)}: "
            f"{', '.join(names[:5])}"
        )
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    identity = {"detector config": hash_file(path), "detector": hash_file(checkpoint)}
    transforms = transforms_of(_test_pipeline(config, path))
    return Detector(type(model).__name__, model, transforms, categories, device, identity)


def load_weights(model: nn.Module, path: Path) -> tuple[str, ...] | None:
    """Load all weights of a model; return the class names beside them.

    Raises:
        CheckpointError: one is missing, of another size, or no number.
    """
    state, names = weights.read_checkpoint(path)
    wanted = {n: v for n, v in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    wrong = [n for n, v in wanted.items() if n not in state or state[n].shape != v.shape]
    if wrong:
        have = f"of size {tuple(state[wrong[0]].shape)}" if wrong[0] in state else "missing"
        raise CheckpointError(
            f"{path}: expected the {len(wanted)} weights of this model, {len(wrong)} do not fit (first: {wrong[0]}, "
            f"{tuple(wanted[wrong[0]].shape)} wanted, {have}); it is of another model, or of other classes"
        )
    weights.require_finite(path, {name: state[name] for name in wanted})
    model.load_state_dict({n: v for n, v in state.items() if n in model.state_dict()}, strict=False)
    return names


def _watch_numbers(model: Any, source: Path) -> None:
    """Stop where features are no numbers: MMDetection would find nothing then, and say nothing."""

    def watch(module: nn.Module, given: Any, features: Any) -> None:
        told = features if isinstance(features, (tuple, list)) else [features]
        levels = [level for level in told if isinstance(level, torch.Tensor)]
        total = float(
            sum(level.sum(dtype=torch.float32) for level in levels)
        )  # far quicker than to look at each number
        if not math.isfinite(total) and not all(bool(torch.isfinite(level).all()) for level in levels):
            raise CheckpointError(
                f"{source}: the network's features of a photo are NaN or infinite; with predict.precision=fp16 they "
                "may be too large, take fp32"
            )

    model.backbone.register_forward_hook(watch)


def transforms_of(pipeline: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Build the steps of a pipeline that come after reading the photo."""
    with third_party_quiet():
        return [TRANSFORMS.build(step) for step in pipeline if not str(step["type"]).startswith(_READS)]


def _test_pipeline(config: Config, path: Path) -> Sequence[Mapping[str, Any]]:
    data: Any = (config.get("test_dataloader") or config.get("val_dataloader") or {}).get("dataset", {})
    while isinstance(data, Mapping) and "pipeline" not in data and "dataset" in data:
        data = data["dataset"]
    pipeline = data.get("pipeline") if isinstance(data, Mapping) else None
    if not pipeline:
        raise DataError(f"{path}: expected test_dataloader.dataset.pipeline, found none")
    return pipeline


def _names_of(config: Config, count: int | None) -> tuple[str, ...]:
    """Return class names where the checkpoint has none: the config's, COCO's where there are as many, or numbers."""
    data = (config.get("test_dataloader") or {}).get("dataset", {})
    names = (data.get("metainfo") or {}).get("classes") if isinstance(data, Mapping) else None
    if names and not isinstance(names, str):
        return tuple(map(str, names))
    if count == _COCO_CLASSES:
        from .mmdetection import CocoDataset

        return tuple(CocoDataset.METAINFO["classes"])
    return tuple(f"class {number}" for number in range(1, (count or 0) + 1))
