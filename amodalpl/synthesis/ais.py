"""The training sample of Li and Malik, "Amodal Instance Segmentation" (ECCV 2016), with its answer of three values.

An object is looked at through a random patch, none to two other objects are pasted over it, and the answer is its own
mask, but *unknown* wherever it may go on unseen: behind other objects of the photo, beyond the photo, beyond the patch.

Differences. The paper feeds the photo and the heat map of an earlier network that saw the jittered box; here the
visible mask is given, and the jittered box decides the crop, enlarged as in use, not stretched to a square.
The pasted objects are given as occluders, which the paper's network must find. What is beyond the photo is unknown too.
The paper gives the mean of the pasted sizes, 0.75 of the patch, here drawn from 0.5 to 1. An object that fills less
than a tenth of its own box is shown as it is, where the paper leaves it out. Their field-of-view trick, to predict more
than is seen, belongs to their network.
"""

from __future__ import annotations

import numpy as np

from ..masks.boxes import Square, crop_square
from ..settings import AisSettings, SynthesisSettings
from .bank import UNKNOWN_PX, Bank, CutOut, image_square
from .placement import draw_number
from .placement_geometry import (
    SKETCH_PX,
    Placed,
    in_own_photo,
    patch_from,
    photo_with,
    pixels_within,
    put,
    seen_box,
    warp,
    whole_in,
)
from .sample import Sample

Box = tuple[float, float, float, float]  # x, y, width, height in pixels of the object's photo


def draw_ais(bank: Bank, index: int, rng: np.random.Generator, settings: SynthesisSettings) -> Sample:
    """Draw the sample whose object is a given cut-out.

    Args:
        bank: cut-outs.
        index: of the object.
        rng: decides everything else, so equal generators give equal samples.
        settings: `ais`, `patch_px`, `enlarge_box`, `flip_probability`, `boundary_px`, `with_image`, `feather_px` are
            used.

    Returns:
        A sample with `unknown`; `modal` is never empty, is within `target`, and never overlaps `occluder`.
    """
    ais = settings.ais
    target = in_own_photo(bank, index)
    sketch = crop_square(target.cutout.box_xywh, 1.0, 1.05)
    sketch_from_frame = patch_from(sketch, SKETCH_PX)
    whole = whole_in(target, sketch_from_frame, SKETCH_PX)
    least_px = ais.visible * np.count_nonzero(whole)
    unit_area = (sketch.side / SKETCH_PX) ** 2

    def enough(visible: np.ndarray, patch: Box) -> bool:
        seen_px = np.count_nonzero(visible)
        return seen_px >= max(least_px, 1) and seen_px * unit_area >= ais.filled * patch[2] * patch[3]

    patch: Box = target.cutout.box_xywh  # when no drawn one will do
    for _ in range(ais.tries):
        drawn = _patch(target.cutout, rng, ais)
        if enough(whole & pixels_within(drawn, sketch_from_frame, SKETCH_PX), drawn):
            patch = drawn
            break
    visible = whole & pixels_within(patch, sketch_from_frame, SKETCH_PX)
    visible = visible if visible.any() else whole
    pasted: list[Placed] = []
    for _ in range(draw_number(ais.pasted, rng)):
        for _ in range(ais.tries):
            placed = put_over(bank, target.cutout, patch, rng, ais)
            left = visible & ~placed.mask_in(sketch_from_frame, SKETCH_PX)
            if np.count_nonzero(left) < np.count_nonzero(visible) and enough(left, patch):
                pasted.append(placed)
                visible = left
                break
    return _render(bank, target, pasted, patch, _crop(visible, sketch, rng, settings), rng, settings)


def draw_interval(
    start: float, length: float, scale: tuple[float, float], overlap: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Draw an interval that covers enough of another one.

    Args:
        start: of the other one.
        length: the same.
        scale: least and most length, relative to the other one's; the least is at least `overlap`.
        overlap: least share of the other one that is covered.
        rng: source of randomness.

    Returns:
        start, length.
    """
    drawn = length * rng.uniform(*scale)
    return start + rng.uniform(overlap * length - drawn, (1 - overlap) * length), drawn


def _patch(target: CutOut, rng: np.random.Generator, ais: AisSettings) -> Box:
    x, y, w, h = target.box_xywh
    left, width = draw_interval(x, w, ais.patch, ais.patch_overlap, rng)
    top, height = draw_interval(y, h, ais.patch, ais.patch_overlap, rng)
    return left, top, width, height


def put_over(bank: Bank, target: CutOut, patch: Box, rng: np.random.Generator, ais: AisSettings) -> Placed:
    """Put a random cut-out somewhere where its box meets the object's.

    Args:
        bank: of the cut-outs.
        target: the object.
        patch: box that is shown of it, in pixels of its photo.
        rng: for all choices.
        ais: how large it is beside the patch.
    """
    index = int(rng.integers(len(bank)))
    other = bank[index]
    (x, y, w, h), (_, _, other_w, other_h) = target.box_xywh, other.box_xywh
    shorter, side = (other_w, patch[2]) if other_w < other_h else (other_h, patch[3])
    size = rng.uniform(*ais.size) * side / shorter
    reach_x, reach_y = size * other_w / 2, size * other_h / 2
    centre = np.array([rng.uniform(x - reach_x, x + w + reach_x), rng.uniform(y - reach_y, y + h + reach_y)])
    return put(index, other, np.diag([size, size]), centre, is_front=True)


def _crop(visible: np.ndarray, sketch: Square, rng: np.random.Generator, settings: SynthesisSettings) -> Square:
    """Return the crop around the jittered box of the visible part, in pixels of the photo."""
    ais = settings.ais
    x, y, w, h = seen_box(visible, sketch)
    change = (1 - ais.jitter, 1 + ais.jitter)
    left, w = draw_interval(sketch.x + x, w, change, ais.jitter_overlap, rng)
    top, h = draw_interval(sketch.y + y, h, change, ais.jitter_overlap, rng)
    side = max(float(np.sqrt(settings.enlarge_box * w * h)), 1.1 * w, 1.1 * h)
    return Square(left + w / 2 - side / 2, top + h / 2 - side / 2, side)


def _render(
    bank: Bank,
    target: Placed,
    pasted: list[Placed],
    patch: Box,
    square: Square,
    rng: np.random.Generator,
    settings: SynthesisSettings,
) -> Sample:
    patch_px = settings.patch_px
    patch_from_frame = patch_from(square, patch_px, bool(rng.random() < settings.flip_probability))
    whole = whole_in(target, patch_from_frame, patch_px)
    inside = pixels_within(patch, patch_from_frame, patch_px)
    occluder = np.zeros_like(whole)
    for item in pasted:
        occluder |= item.mask_in(patch_from_frame, patch_px) & inside
    modal = whole & inside & ~occluder
    if not modal.any():  # too thin for its patch, or for what is left beside the pasted objects
        own = target.cutout.square(settings.enlarge_box)
        return _render(bank, target, [], (own.x, own.y, own.side, own.side), own, rng, settings)
    image = photo_with(bank, target, pasted, whole, patch_from_frame, settings) if settings.with_image else None
    is_hidden = bool((whole & occluder).any())
    unknown = ~inside | (_unknown_in(bank, target, patch_from_frame, settings) & ~whole)
    return Sample(modal, occluder, whole, image, is_hidden, settings.boundary_px, unknown)


def _unknown_in(bank: Bank, target: Placed, patch_from_frame: np.ndarray, settings: SynthesisSettings) -> np.ndarray:
    around = image_square(target.cutout, settings.enlarge_box)
    unit = around.side / UNKNOWN_PX
    image_from_raster = np.array([[unit, 0.0, around.x], [0.0, unit, around.y], [0.0, 0.0, 1.0]])
    return warp(bank.unknown(target.index), patch_from_frame @ image_from_raster, settings.patch_px)
