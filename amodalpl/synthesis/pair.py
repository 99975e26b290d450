"""One training sample: an object partly hidden, or not, by another; after PCNet-M and ASBU."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..masks.boxes import tight_box
from ..masks.geometry import occlusion_boundary, to_patch
from ..settings import SynthesisSettings
from .bank import Bank, CutOut, image_square
from .placement import place_occluder, shifted
from .views import View, draw_view, picked

OCCLUDERS_TRIED = 10  # other cut-outs drawn when one cannot be placed; on real photos the first almost always fits


@dataclass(frozen=True)
class Sample:
    """What a completer learns from, all in the frame of the patch.

    Attributes:
        modal: (P, P) bool, what is given to the network as visible (the reference's `inmodal`).
        occluder: (P, P) bool, the other object as far as it is visible (the reference's `eraser`).
        target: (P, P) bool, the answer: the object's own mask before anything was put over it.
        image: (P, P, 3) uint8 RGB with the other object pasted in; None without images.
        is_hidden: True for case 1 (the object is behind), False for case 2 (it is in front).
        boundary_px: see `occlusion_boundary`.
        unknown: (P, P) bool, where the answer is not known and the loss counts nothing; None where all is known.
    """

    modal: np.ndarray
    occluder: np.ndarray
    target: np.ndarray
    image: np.ndarray | None
    is_hidden: bool
    boundary_px: int
    unknown: np.ndarray | None = None

    @property
    def boundary(self) -> np.ndarray:
        """(P, P) bool, ASBU's occlusion boundary between the two; drawn when asked for, which not all methods do."""
        return occlusion_boundary(self.modal, self.occluder, self.boundary_px)


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


def paste(background: np.ndarray, foreground: np.ndarray, mask: np.ndarray, feather_px: float) -> np.ndarray:
    """Paste where the mask is true, with an edge that fades inwards, so that nothing outside the mask changes.

    Args:
        background: (P, P, 3) uint8.
        foreground: (P, P, 3) uint8.
        mask: (P, P) bool.
        feather_px: standard deviation of the edge; 0 for a hard one.
    """
    mixed = background.copy()
    if not mask.any():
        return mixed
    (x, y, w, h), reach = tight_box(mask), int(np.ceil(4 * feather_px)) + 1  # OpenCV blurs no farther than four of them
    window = np.s_[max(y - reach, 0) : y + h + reach, max(x - reach, 0) : x + w + reach]
    alpha = mask[window].astype(np.float32)
    if feather_px > 0:
        alpha *= np.maximum(cv2.GaussianBlur(alpha, (0, 0), feather_px) * 2 - 1, 0)  # 0 at the edge, 1 inside
    behind, front = background[window].astype(np.float32), foreground[window].astype(np.float32)
    mixed[window] = np.rint(behind + (front - behind) * alpha[..., None])
    return mixed


def _jittered(cutout: CutOut, rng: np.random.Generator, settings: SynthesisSettings) -> tuple[np.ndarray, View]:
    view = draw_view(cutout.box_xywh, rng, settings)
    rows, columns = picked(
        cutout.matrix(view.square, settings.patch_px), np.array(cutout.mask.shape), settings.patch_px
    )
    framed = np.zeros((cutout.mask.shape[0] + 1, cutout.mask.shape[1] + 1), dtype=bool)  # -1 takes the false frame
    framed[:-1, :-1] = cutout.mask
    return framed.take(columns[::-1] if view.flip else columns, axis=1).take(rows, axis=0), view


def _look(bank: Bank, index: int, view: View, settings: SynthesisSettings) -> np.ndarray:
    stored = bank.image(index)
    around = image_square(bank[index], settings.enlarge_box)
    matrix = view.square.patch_from_raster(settings.patch_px, (around.x, around.y), stored.shape[0] / around.side)
    patch = to_patch(np.ascontiguousarray(stored), matrix, settings.patch_px, linear=True)
    return cv2.flip(patch, 1) if view.flip else patch
