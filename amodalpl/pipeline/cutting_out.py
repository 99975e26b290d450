"""What both kinds of `amodalpl synth` ask of instances: which can be cut out, who owns a pixel, what is held out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.records import AnnotationSet, Instance
from ..errors import DataError
from ..masks import boxed
from ..masks.boxed import BoxedMask, BoxedMasks
from ..masks.boxes import crop_square
from ..masks.rle import Rle
from ..settings import PipelineSettings, SynthesisSettings
from ..synthesis.bank import FIRST_OBJECT, NOBODY


def why_not_usable(instance: Instance, owned: BoxedMask, settings: SynthesisSettings) -> str | None:
    """Return why an instance cannot be cut out; None when it can."""
    if instance.is_crowd:
        return "crowd region"
    if not owned.any():
        return "every pixel belongs to smaller instances"
    if crop_square(owned.box_xywh, settings.enlarge_box).side < settings.min_side_px:
        return "smaller than synthesis.min_side_px"
    return None


def owners_of(masks: BoxedMasks, crowds: Sequence[Rle]) -> np.ndarray:
    """Return who owns each pixel, (H, W) uint16 as `surroundings` takes it; crowds own what nobody else does."""
    owners = np.full(masks.size_hw, NOBODY, dtype=np.uint16)
    for crowd in crowds:
        mask = boxed.decode(crowd)
        owners[mask.window][mask.crop] = FIRST_OBJECT + len(masks)
    for number, mask in enumerate(masks):
        owners[mask.window][mask.crop] = FIRST_OBJECT + number
    return owners


def held_out_photos(data: AnnotationSet, settings: PipelineSettings) -> set[int]:
    """Choose the photos that training never sees, by the seed.

    Raises:
        DataError: fewer than two photos have instances.
    """
    candidates = [i.id for i in data.images if any(not a.is_crowd for a in data.by_image[i.id])]
    if len(candidates) < 2:
        raise DataError(
            f"{data.path}: expected usable instances in at least 2 photos, got {len(candidates)}; "
            "run `amodalpl check` to see what is left out"
        )
    count = min(max(1, round(len(candidates) * settings.synthesis.holdout_fraction)), len(candidates) - 1)
    rng = np.random.default_rng((settings.seed, 2))
    return {candidates[k] for k in rng.permutation(len(candidates))[:count]}
