"""Amodal instance segmentation for people who have only modal masks.

From Python: `load_completer` and `complete_image` for one photo, `read_annotations` for files; see `docs/api.md`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

if TYPE_CHECKING:
    from .api import CompletedImage, complete_image, complete_images, load_completer
    from .data.read import read_annotations
    from .errors import AmodalplError

__all__ = ["AmodalplError", "CompletedImage", "complete_image", "complete_images", "load_completer", "read_annotations"]

_HOMES = {
    "AmodalplError": "errors",
    "CompletedImage": "api",
    "complete_image": "api",
    "complete_images": "api",
    "load_completer": "api",
    "read_annotations": "data.read",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then, so that `amodalpl --help` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
