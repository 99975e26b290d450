"""Amodal instance segmentation for people who have only modal masks.

From Python: `load_completer` and `complete_image` for the masks of one photo, `load_detector` and `detect_image` for a
photo, `read_annotations` for files; see `docs/api.md`.
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

__all__ = [
    "AmodalplError",
    "CompletedImage",
    "DetectedImage",
    "complete_image",
    "complete_images",
    "detect_image",
    "load_completer",
    "load_detector",
    "read_annotations",
]
_NOT_IN_API = {"AmodalplError": "errors", "read_annotations": "data.read"}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then, so that `amodalpl --help` need not wait for torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_NOT_IN_API.get(name, 'api')}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
