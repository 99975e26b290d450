"""The recipes of training samples by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..settings import SynthesisSettings
from .ais import draw_ais
from .bank import Bank
from .layers import draw_layers
from .pair import draw_sample
from .sample import Sample

Recipe = Callable[[Bank, int, np.random.Generator, SynthesisSettings], Sample]
RECIPES: dict[str, Recipe] = {
    "pair": draw_sample,
    "layers": draw_layers,
    "ais": draw_ais,
}
DEFAULT_RECIPE = "layers"  # of the default method


def recipe_of(settings: SynthesisSettings, made_for: str) -> Recipe:
    """Return the recipe that the settings ask for; `made_for` where they leave it to the method."""
    return RECIPES[made_for if settings.recipe == "method" else settings.recipe]
