"""Prediction beside MMDetection's own tool: the same network, the same photos."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from amodalpl.detector import inference
from amodalpl.detector.trained import Detector

from .machine import wait


def seconds_in_turns(
    ours: Detector, theirs: Any, photos: Sequence[np.ndarray], rounds: int, device: torch.device
) -> tuple[float, float]:
    """Return the least seconds per photo of detection on photos in memory, ours with masks encoded, and theirs.

    Ours and theirs take turns, so that other work on the machine meets both, and on a CPU it is processor time that
    counts: a quotient of wall times tells of the other work. MMDetection's tool does not encode masks.

    Args:
        ours: of `trained.open_detector`.
        theirs: of MMDetection's `init_detector`.
        photos: (H, W, 3) uint8 RGB each.
        rounds: turns of each; the fastest counts.
        device: of both.
    """
    from mmdet.apis import inference_detector

    clock = time.perf_counter if device.type == "cuda" else time.process_time
    least = [math.inf, math.inf]
    for _ in range(rounds):
        start = clock()
        for photo in photos:
            inference.detect_photos(ours, [photo], least_score=0.0, batch_size=1)
        wait(device)
        between = clock()
        for photo in photos:
            inference_detector(theirs, photo[:, :, ::-1])
        wait(device)
        least = [min(least[0], between - start), min(least[1], clock() - between)]
    return least[0] / len(photos), least[1] / len(photos)
