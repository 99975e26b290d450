"""How much each row works on: enough to mean something on a GPU, or as little as runs through."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from amodalpl.settings_values import read_config


@dataclass(frozen=True)
class Sizes:
    """Sizes of all rows.

    Attributes:
        photos: drawn, where none are given.
        photo_hw: of the drawn ones.
        holdout_fraction: share of the photos that trainings never see, of all rows but the real training.
        width: of the completer's network.
        patch_px: side of a training patch.
        batch: patches per step.
        workers: loader processes of trainings.
        ways: to train completers that are measured; the first ones are the most wanted.
        timed_steps: of a completer whose speed is measured.
        compared_photos: that a CPU labels too.
        compiler: backend of `torch.compile`.
        config: settings file of detectors.
        detector_steps: of a detector whose speed is measured.
        held_back: share of the photos that detectors are scored on.
        predicted_photos: on which the speed of prediction is measured.
        detector_batches: photos per step that are tried for memory.
        batches: patches per step that are tried for memory.
        demo: settings of the demo beside its own.
        checkpoint_every: steps, of the real training.
        validate_every: steps, of the real training.
    """

    photos: int
    photo_hw: tuple[int, int]
    holdout_fraction: float
    width: int
    patch_px: int
    batch: int
    workers: int
    ways: int
    timed_steps: int
    compared_photos: int
    compiler: str
    config: str
    detector_steps: int
    held_back: float
    predicted_photos: int
    detector_batches: tuple[int, ...]
    batches: tuple[int, ...]
    demo: dict[str, Any]
    checkpoint_every: int
    validate_every: int


WHOLE = Sizes(
    photos=337,  # as many as the real photos that labelling is measured on
    photo_hw=(480, 640),
    holdout_fraction=0.06,
    width=32,
    patch_px=256,
    batch=32,
    workers=12,
    ways=6,
    timed_steps=200,
    compared_photos=24,
    compiler="inductor",
    config="cocoa_paper",
    detector_steps=100,
    held_back=0.03,
    predicted_photos=24,
    detector_batches=(2, 4, 8, 16, 32, 64),
    batches=(32, 64, 128, 256, 512, 1024, 2048),
    demo={},
    checkpoint_every=500,
    validate_every=4000,
)
SHORT = replace(WHOLE, ways=2, timed_steps=100, detector_steps=30, predicted_photos=8)
TINY = Sizes(
    photos=6,
    photo_hw=(96, 128),
    holdout_fraction=0.3,
    width=4,
    patch_px=32,
    batch=2,
    workers=1,
    ways=6,
    timed_steps=2,
    compared_photos=2,
    compiler="eager",  # compiles nothing, but finds what cannot be compiled
    config="tiny",
    detector_steps=2,
    held_back=0.5,
    predicted_photos=2,
    detector_batches=(2,),
    batches=(2, 4),
    demo=read_config(Path("tiny")),
    checkpoint_every=2,
    validate_every=4,
)
