"""One training sample: an object partly hidden, or not, by another; after PCNet-M and ASBU."""

from __future__ import annotations

import cv2
import numpy as np

from ..settings import SynthesisSettings
from .bank import Bank, CutOut, image_square
from .placement import place_occluder, shifted
from .placement_geometry import View, draw_view, paste, sample_patch
from .sample import Sample

OCCLUDERS_TRIED = 10  # other cut-outs drawn when one cannot be placed; on real photos the first almost always fits


def compose(target: np.ndarray, other: np.ndarray, is_hidden: bool) -> tuple[np.ndarray, np.ndarray]:
    """Put two masks together, in one of the two cases of Zhan et al. 2020, eq. (1).

    Case 1: the other object B is in front of A: given A minus B and B, the answer is A.
    Case 2: A is in front: given A and B minus A, the answer is A again, so that the network learns when not to grow.
    ASBU's "set 1" and "set 2" are the same two cases (set 2 names the front object "occluder").

    Args:
        target: (P, P) bool, A.
        other: (P, P) bool, B.
        is_hidden: case 1.

    Returns:
        modal, occluder: two (P, P) bool.
    """
    return (target & ~other, other) if is_hidden else (target, other & ~target)


def draw_sample(bank: Bank, index: int, rng: np.random.Generator, settings: SynthesisSettings) -> Sample:
    """Draw the sample whose object is a given cut-out.

    Differences from the reference: pixel centres instead of truncated crops; an occluder that cannot be placed is
    replaced by another one; the category is not multiplied into the mask.

    Args:
        bank: cut-outs.
        index: of the object, A.
        rng: decides everything else, so equal generators give equal samples.
        settings: sizes and chances.
    """
    target, view = _jittered(bank[index], rng, settings)
    is_hidden = bool(rng.random() < settings.front_probability)
    for _ in range(OCCLUDERS_TRIED):
        other_index = int(rng.integers(len(bank)))
        other, other_view = _jittered(bank[other_index], rng, settings)
        offset = place_occluder(
            rng, target, other, settings.overlap_fraction, settings.cut_fraction, settings.placement_tries
        )
        if offset is not None:
            other = shifted(other, *offset)
            break
    else:
        other, offset, is_hidden = np.zeros_like(target), (0, 0), False
    modal, occluder = compose(target, other, is_hidden)
    image = None
    if settings.with_image:
        background = _look(bank, index, view, settings)
        foreground = shifted(_look(bank, other_index, other_view, settings), *offset)
        image = paste(background, foreground, occluder, settings.feather_px)
    return Sample(modal, occluder, target, image, is_hidden, settings.boundary_px)


def _jittered(cutout: CutOut, rng: np.random.Generator, settings: SynthesisSettings) -> tuple[np.ndarray, View]:
    view = draw_view(cutout.box_xywh, rng, settings)
    patch = sample_patch(cutout.mask, cutout.matrix(view.square, settings.patch_px), settings.patch_px)
    return np.ascontiguousarray(patch[:, ::-1]) if view.flip else patch, view


def _look(bank: Bank, index: int, view: View, settings: SynthesisSettings) -> np.ndarray:
    stored = bank.image(index)
    around = image_square(bank[index], settings.enlarge_box)
    matrix = view.square.patch_from_raster(settings.patch_px, (around.x, around.y), stored.shape[0] / around.side)
    patch = sample_patch(np.ascontiguousarray(stored), matrix, settings.patch_px, linear=True)
    return cv2.flip(patch, 1) if view.flip else patch
