"""Amodal instance segmentation for people who have only modal masks.

From Python: `load_completer` and `complete_image` for the masks of one photo, `load_detector` and `detect_image` for a
photo, `read_annotations` for files, and the stages `synthesise`, `train_completer`, `label_photos` and
`train_detector`; see `docs/api.md`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

if TYPE_CHECKING:
    from .api import (
        CompletedImage,
        DetectedImage,
        complete_image,
        complete_images,
        detect_image,
        load_completer,
        load_detector,
    )
    from .data.read import read_annotations
    from .errors import AmodalplError
    from .pipeline.from_python import label_photos, synthesise, train_completer, train_detector

__all__ = [
    "AmodalplError",
    "CompletedImage",
    "DetectedImage",
    "complete_image",
    "complete_images",
    "detect_image",
    "label_photos",
    "load_completer",
    "load_detector",
    "read_annotations",
    "synthesise",
    "train_completer",
    "train_detector",
]
_STAGES = {"label_photos", "synthesise", "train_completer", "train_detector"}
_HOMES = {"AmodalplError": "errors", "read_annotations": "data.read", **dict.fromkeys(_STAGES, "pipeline.from_python")}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then, so that `amodalpl --help` need not wait for torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES.get(name, 'api')}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
