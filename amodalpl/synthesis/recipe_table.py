"""The recipes by name: of training samples, and what else `amodalpl synth --recipe` makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class RecipeChoice:
    """A row of what `--recipe` can be."""

    what: str

    def describe(self) -> dict[str, str]:
        """Return what `amodalpl synth --list` prints of it."""
        return {"what": self.what}


CHOICES = {
    "method": RecipeChoice("cut-outs, for samples as the completer's method wants them"),
    "pair": RecipeChoice("cut-outs, for one object and one occluder (PCNet-M, ASBU)"),
    "layers": RecipeChoice("cut-outs, for an object among several neighbours (ours)"),
    "ais": RecipeChoice("cut-outs, for the samples of Li and Malik"),
    "occluded-objects": RecipeChoice("photos of objects that unannotated things hide, to score what is given boxes"),
}
DEFAULT_RECIPE = "layers"  # of the default method


def recipe_of(settings: SynthesisSettings, made_for: str) -> Recipe:
    """Return the recipe that the settings ask for; `made_for` where they leave it to the method."""
    return RECIPES[made_for if settings.recipe == "method" else settings.recipe]
