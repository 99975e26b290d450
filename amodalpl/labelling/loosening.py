"""Masks drawn too tight, as the network sees them."""

from __future__ import annotations

from collections.abc import Sequence

from ..completion.predictor import Scene
from ..settings import LabelSettings


def loosened(scenes: Sequence[Scene], settings: LabelSettings) -> tuple[Sequence[Scene], LabelSettings, LabelSettings]:
    """Return the scenes as the network sees them, and the settings that go with them: for the order, and to complete.

    Loosening brings nothing back that was too narrow, and leaves clefts along ragged contacts, where the contour of an
    object then seems to turn away from its occluder. To complete, they are closed; the order is better without.
    """
    if not settings.loosened_px:
        return scenes, settings, settings
    ordering = settings.of_loosened()
    completing = ordering.model_copy(update={"gap_px": ordering.near_px + settings.loosened_px})
    return [scene.loosened(settings.loosened_px) for scene in scenes], ordering, completing
