"""The richer training sample: an object among one to three neighbours, some in front of it and some behind.

Against PCNet-M's pair of cut-outs: several neighbours, which may hide one another; sizes as in their photos or drawn
relative to the object's; the crop follows the visible part, as it does in use; neighbours that hide nothing are shown
beside those that do, so that the network learns whose contour it is; contours are redrawn and gaps closed as in use.
Long trainings on few cut-outs tilt and stretch each sample, so that no shape comes twice.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..masks.boxes import Square, crop_square
from ..masks.gaps import close_gap
from ..settings import LayerSettings, SynthesisSettings
from .bank import Bank, CutOut
from .contours import redraw
from .placement import draw_number
from .placement_geometry import SKETCH_PX, Placed, in_own_photo, patch_from, photo_with, put, seen_box, whole_in
from .sample import Sample

MIRROR = np.diag([-1.0, 1.0])


def draw_layers(bank: Bank, index: int, rng: np.random.Generator, settings: SynthesisSettings) -> Sample:
    """Draw the sample whose object is a given cut-out.

    Args:
        bank: cut-outs.
        index: of the object.
        rng: decides everything else, so equal generators give equal samples.
        settings: `layers`, `patch_px`, `enlarge_box`, `flip_probability`, `boundary_px`, `with_image`, `feather_px`
            are used.

    Returns:
        A sample whose `modal` is never empty, never overlaps `occluder`, and is within `target` unless redrawn. Where
        neighbours may lack masks, what is outside both is `unknown` for a cut-out that may have been hidden in its
        own photo: only whole ones show how objects go on behind things without a mask.
    """
    layers = settings.layers
    target = in_own_photo(bank, index)
    sketch = crop_square(target.cutout.box_xywh, 1.0, 1.05)
    whole = whole_in(target, patch_from(sketch, SKETCH_PX), SKETCH_PX)
    visible = whole.copy()
    neighbours: list[Placed] = []
    for _ in range(1 + draw_number(layers.neighbours, rng)):
        found = _place(bank, target.cutout, whole, visible, patch_from(sketch, SKETCH_PX), rng, layers)
        if found is not None:
            placed, over = found
            neighbours.append(placed)
            if placed.is_front:
                visible &= ~over
    sample = _render(bank, target, neighbours, _crop(visible, sketch, rng, settings), rng, settings)
    if not layers.unmasked:
        return sample
    outside = ~(sample.modal | sample.occluder)
    return replace(sample, unknown=outside & (not bank.is_whole(index)))


def _place(
    bank: Bank,
    target: CutOut,
    whole: np.ndarray,
    visible: np.ndarray,
    sketch_from_frame: np.ndarray,
    rng: np.random.Generator,
    layers: LayerSettings,
) -> tuple[Placed, np.ndarray] | None:
    """Put a random cut-out over or under the object, with its mask in the sketch; None when none fits in the tries."""
    is_front = bool(rng.random() < layers.front_probability)
    whole_px, (x, y, w, h) = np.count_nonzero(whole), target.box_xywh
    for _ in range(layers.tries):
        other_index = int(rng.integers(len(bank)))
        other = bank[other_index]
        _, _, other_w, other_h = other.box_xywh
        size = 1.0
        if rng.random() >= layers.natural_sizes:
            size = float(np.exp(rng.uniform(*np.log(layers.size)))) * np.sqrt(w * h / (other_w * other_h))
        angle = np.deg2rad(rng.uniform(-layers.rotation_deg, layers.rotation_deg))
        turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        if rng.random() < 0.5:
            turn = turn @ MIRROR
        centre = np.array([x + w * rng.uniform(-0.2, 1.2), y + h * rng.uniform(-0.2, 1.2)])
        placed = put(other_index, other, turn, centre, is_front)
        over = placed.mask_in(sketch_from_frame, SKETCH_PX)
        if np.count_nonzero(over & whole) / whole_px < layers.hidden[0]:
            continue
        if not is_front or np.count_nonzero(visible & ~over) >= (1 - layers.hidden[1]) * whole_px:
            return placed, over
    return None


def _crop(visible: np.ndarray, sketch: Square, rng: np.random.Generator, settings: SynthesisSettings) -> Square:
    """Return the jittered crop around what is visible of the object, in pixels of its photo."""
    x, y, w, h = seen_box(visible, sketch)
    side = max(np.sqrt(settings.enlarge_box * w * h), 1.1 * w, 1.1 * h)
    away = rng.uniform(-1, 1, 2) * settings.layers.shift * side
    centre = np.array([sketch.x + x + w / 2, sketch.y + y + h / 2]) + away
    side *= np.exp(rng.uniform(*np.log(settings.layers.zoom_out)))
    return Square(float(centre[0] - side / 2), float(centre[1] - side / 2), float(side))


def _render(
    bank: Bank,
    target: Placed,
    neighbours: list[Placed],
    square: Square,
    rng: np.random.Generator,
    settings: SynthesisSettings,
) -> Sample:
    patch_px, layers = settings.patch_px, settings.layers
    patch_from_frame = patch_from(square, patch_px, bool(rng.random() < settings.flip_probability))
    patch_from_frame = _tilted(patch_px, rng, layers) @ patch_from_frame
    shown_ones = _shown(neighbours, rng, layers)
    if bank.is_whole(target.index):
        shown_ones -= _without_mask(neighbours, rng, layers)
    whole = whole_in(target, patch_from_frame, patch_px)
    modal = whole.copy()
    shown = np.zeros_like(whole)
    for number, neighbour in enumerate(neighbours):
        if neighbour.is_front or number in shown_ones:
            mask = neighbour.mask_in(patch_from_frame, patch_px)
            if neighbour.is_front:
                modal &= ~mask
            if number in shown_ones:
                shown |= mask
    if not modal.any():  # the crop missed what is left of it
        return _render(bank, target, [], target.cutout.square(settings.enlarge_box), rng, settings)
    image = photo_with(bank, target, neighbours, whole, patch_from_frame, settings) if settings.with_image else None
    occluder = shown & ~modal
    if rng.random() < layers.contour_noise_probability:
        modal, occluder = redraw(modal, rng, layers.contour_px), redraw(occluder, rng, layers.contour_px)
        occluder = occluder & ~modal
        modal, occluder = close_gap(modal, occluder, ~(modal | occluder), 2 * layers.contour_px)
    is_hidden = bool((whole & ~modal & occluder).any())
    return Sample(modal, occluder, whole, image, is_hidden, settings.boundary_px)


def _tilted(patch_px: int, rng: np.random.Generator, layers: LayerSettings) -> np.ndarray:
    """Draw the (3, 3) matrix that turns and stretches a patch about its middle; its determinant is 1."""
    moved = np.eye(3)
    if layers.stretch > 1:
        wider = np.sqrt(layers.stretch ** rng.uniform(-1, 1))
        moved[:2, :2] = np.diag([wider, 1 / wider])
    if layers.tilt_deg:
        angle = np.deg2rad(rng.uniform(-layers.tilt_deg, layers.tilt_deg))
        moved[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]] @ moved[:2, :2]
    middle = np.full(2, patch_px / 2)
    moved[:2, 2] = middle - moved[:2, :2] @ middle
    return moved


def _shown(neighbours: list[Placed], rng: np.random.Generator, layers: LayerSettings) -> set[int]:
    """Choose which neighbours the network is shown: those in front, as when the order is known, one alone, or all."""
    everyone = list(range(len(neighbours)))
    front = [k for k in everyone if neighbours[k].is_front]
    draw = rng.random()
    if draw < layers.front_only_probability and front:
        return set(front)
    if draw > 1 - layers.single_neighbour_probability and everyone:
        return {everyone[int(rng.integers(len(everyone)))]}
    return set(everyone)


def _without_mask(neighbours: list[Placed], rng: np.random.Generator, layers: LayerSettings) -> set[int]:
    """Choose which neighbours in front are hidden from the network, as things that nobody annotated."""
    if not layers.unmasked:
        return set()
    return {k for k, neighbour in enumerate(neighbours) if neighbour.is_front and rng.random() < layers.unmasked}
