"""A rehearsal before a training: two drawn photos go through a network, so that what it cannot do is known at once."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import OPTIMIZERS
from mmengine.structures import InstanceData

from ..errors import DataError, MissingPackageError
from .mmdetection import BitmapMasks, DetDataSample
from .quiet import third_party_quiet

_SIZE_HW = (96, 128)
_BOXES_XYXY = ((4, 4, 60, 60), (40, 24, 100, 84), (70, 8, 124, 52))


def rehearse(model: Any, source: str, classes: int) -> None:
    """Make sure that a network learns from masks and predicts masks, on a copy of it.

    Args:
        model: as built, on the CPU.
        source: named in messages.
        classes: number of foreground classes.

    Raises:
        DataError: a loss, a gradient or a prediction fails or is no number, or there are no masks.
        MissingPackageError: it needs an operation that is not served here.
    """
    name = type(model).__name__
    trial = copy.deepcopy(model)
    doing = "a prediction"
    try:
        with third_party_quiet(), torch.random.fork_rng(devices=[]):
            trial.eval()
            with torch.no_grad():
                [found] = trial.test_step(_batch(classes, photos=1))
            if "masks" not in found.pred_instances:
                raise DataError(
                    f"{source}: model {name}: expected one that predicts masks of objects, it predicts none; take a "
                    "config of instance segmentation"
                )
            trial.train()
            doing = "a loss"
            batch = trial.data_preprocessor(_batch(classes), True)
            loss, _ = trial.parse_losses(trial(**batch, mode="loss"))
            doing = "a gradient"
            loss.backward()
    except DataError:
        raise
    except MissingPackageError as error:
        raise MissingPackageError(f"{source}: model {name}: {error}") from None
    except Exception as error:  # whatever the parts of a network raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DataError(
            f"{source}: model {name}: expected {doing} on a drawn photo with masks, MMDetection failed "
            f"({type(error).__name__}: {reason}); it cannot be trained on labels of objects"
        ) from None
    value = float(loss.detach())
    if not math.isfinite(value):
        raise DataError(f"{source}: model {name}: expected a loss on a drawn photo, got {value}")


def rehearse_optimizer(model: Any, config: Mapping[str, Any], source: str) -> None:
    """Make sure that the optimiser of a config can be built for a network.

    Args:
        model: as built.
        config: `optim_wrapper`.
        source: named in the message.

    Raises:
        DataError: MMEngine does not know it, or cannot build it.
    """
    kind = config["optimizer"].get("type")
    try:
        if OPTIMIZERS.get(kind) is None:
            raise LookupError("no such type")
        with third_party_quiet():
            build_optim_wrapper(model, copy.deepcopy(dict(config)))
    except Exception as error:  # whatever an optimiser raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DataError(
            f"{source}: optim_wrapper: expected an optimizer that MMEngine can build, got {kind!r} ({reason}); "
            "--set detector.optimizer=adamw takes ours"
        ) from None


def _batch(classes: int, photos: int = 2) -> dict[str, Any]:
    """Return photos of noise with three boxes each, whose masks are ellipses, as MMDetection packs them."""
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(photos):
        sample = DetDataSample(
            metainfo={
                "img_shape": _SIZE_HW,
                "ori_shape": _SIZE_HW,
                "batch_input_shape": _SIZE_HW,
                "pad_shape": _SIZE_HW,
                "scale_factor": (1.0, 1.0),
                "img_id": 0,
                "img_path": "",
            }
        )
        count = len(_BOXES_XYXY)
        masks = np.stack([_ellipse(*box) for box in _BOXES_XYXY]).astype(np.uint8)
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(_BOXES_XYXY, dtype=torch.float32),
            labels=torch.arange(count) % classes,
            masks=BitmapMasks(masks, *_SIZE_HW),
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64), masks=BitmapMasks(masks[:0], *_SIZE_HW)
        )
        samples.append(sample)
    inputs = [torch.from_numpy(rng.integers(0, 256, (3, *_SIZE_HW), dtype=np.uint8)) for _ in samples]
    return {"inputs": inputs, "data_samples": samples}


def _ellipse(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    y, x = np.ogrid[: _SIZE_HW[0], : _SIZE_HW[1]]
    across, down = (2 * x + 1 - x1 - x2) / (x2 - x1), (2 * y + 1 - y1 - y2) / (y2 - y1)
    return across**2 + down**2 <= 1
