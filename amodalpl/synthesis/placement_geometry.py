"""A cut-out put into the frame of another object's photo: its mask, and its look, in the patch of any crop there.

Matrices are (3, 3) float64 and measure from corners, not from pixel centres, so that they can be multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..masks.boxes import Square, tight_box
from ..masks.geometry import to_patch
from ..settings import SynthesisSettings
from .bank import Bank, CutOut, image_square
from .pair import paste

SKETCH_PX = 64  # side of the sketch on which placements are tried


@dataclass(frozen=True)
class Placed:
    """A cut-out and where it is put.

    Attributes:
        index: of the cut-out in the bank.
        cutout: the same.
        frame_from_image: (3, 3), from the cut-out's photo to the frame.
        is_front: whether it hides the object that the sample is about.
    """

    index: int
    cutout: CutOut
    frame_from_image: np.ndarray
    is_front: bool

    def mask_in(self, patch_from_frame: np.ndarray, patch_px: int) -> np.ndarray:
        """Return the mask in a patch, (P, P) bool."""
        unit, (x, y, _, _) = 1.0 / self.cutout.scale, self.cutout.box_xywh
        image_from_raster = np.array([[unit, 0.0, x], [0.0, unit, y], [0.0, 0.0, 1.0]])
        return warp(self.cutout.mask, patch_from_frame @ self.frame_from_image @ image_from_raster, patch_px)


def in_own_photo(bank: Bank, index: int) -> Placed:
    """Return a cut-out where it was cut out: the object of a sample, whose photo is the frame."""
    return Placed(index, bank[index], np.eye(3), is_front=False)


def whole_in(target: Placed, patch_from_frame: np.ndarray, patch_px: int) -> np.ndarray:
    """Return the mask of a sample's object in a patch: `mask_in`, but what is thinner than a pixel stays a line.

    Nearest-pixel resampling can miss a thin object altogether.
    """
    mask = target.mask_in(patch_from_frame, patch_px)
    if not mask.any():
        (x, y, _, _), rows_columns = target.cutout.box_xywh, np.argwhere(target.cutout.mask)
        points = np.array([x, y]) + (rows_columns[:, ::-1] + 0.5) / target.cutout.scale  # (K, 2) in the photo
        at = np.floor(points @ patch_from_frame[:2, :2].T + patch_from_frame[:2, 2]).astype(int)
        at = at[((at >= 0) & (at < patch_px)).all(axis=1)]
        mask[at[:, 1], at[:, 0]] = True
    return mask


def seen_box(visible: np.ndarray, sketch: Square) -> tuple[float, float, float, float]:
    """Return the box of what a sketch shows: x and y from the sketch's corner, width, height, in the frame."""
    unit = sketch.side / visible.shape[0]
    x, y, w, h = tight_box(visible)
    return x * unit, y * unit, w * unit, h * unit


def put(index: int, cutout: CutOut, turn: np.ndarray, centre_xy: np.ndarray, is_front: bool) -> Placed:
    """Put a cut-out with the middle of its box somewhere.

    Args:
        index: of the cut-out in the bank.
        cutout: the same.
        turn: (2, 2), scaling, rotation and mirroring.
        centre_xy: (2,) where the middle goes, in the frame.
        is_front: see `Placed`.
    """
    x, y, w, h = cutout.box_xywh
    (a, b), (c, d) = turn.tolist()
    dx, dy = (centre_xy - turn @ np.array([x + w / 2, y + h / 2])).tolist()
    return Placed(index, cutout, np.array([[a, b, dx], [c, d, dy], [0.0, 0.0, 1.0]]), is_front)


def patch_from(square: Square, patch_px: int, flip: bool = False) -> np.ndarray:
    """Return the (3, 3) matrix from a frame to the patch of a crop, mirrored on demand."""
    scale = patch_px / square.side
    dx, dy = -square.x * scale, -square.y * scale
    if flip:
        return np.array([[-scale, 0.0, patch_px - dx], [0.0, scale, dy], [0.0, 0.0, 1.0]])
    return np.array([[scale, 0.0, dx], [0.0, scale, dy], [0.0, 0.0, 1.0]])


def warp(raster: np.ndarray, patch_from_raster: np.ndarray, patch_px: int, *, linear: bool = False) -> np.ndarray:
    """Resample a raster by a (3, 3) matrix between corners (`to_patch` counts from pixel centres)."""
    (a, b, dx), (c, d, dy), _ = patch_from_raster.tolist()
    centred = np.array([[a, b, dx + ((a + b) * 0.5 - 0.5)], [c, d, dy + ((c + d) * 0.5 - 0.5)]])
    return to_patch(raster, centred, patch_px, linear=linear)


def photo_with(
    bank: Bank,
    target: Placed,
    neighbours: Sequence[Placed],
    whole: np.ndarray,
    patch_from_frame: np.ndarray,
    settings: SynthesisSettings,
) -> np.ndarray:
    """Return the object's photo with its neighbours pasted in, those behind first and never over the object.

    Args:
        bank: with images.
        target: the object.
        neighbours: of those in front, each covers the ones before it.
        whole: (P, P) bool, the object's mask.
        patch_from_frame: (3, 3), of the crop.
        settings: `patch_px`, `enlarge_box`, `feather_px` are used.

    Returns:
        (P, P, 3) uint8 RGB.
    """
    photo = _look(bank, target, patch_from_frame, settings)
    for neighbour in sorted(neighbours, key=lambda n: n.is_front):
        mask = neighbour.mask_in(patch_from_frame, settings.patch_px)
        shown = mask if neighbour.is_front else mask & ~whole
        photo = paste(photo, _look(bank, neighbour, patch_from_frame, settings), shown, settings.feather_px)
    return photo


def _look(bank: Bank, placed: Placed, patch_from_frame: np.ndarray, settings: SynthesisSettings) -> np.ndarray:
    stored = np.ascontiguousarray(bank.image(placed.index))
    around = image_square(placed.cutout, settings.enlarge_box)
    unit = around.side / stored.shape[0]
    image_from_stored = np.array([[unit, 0.0, around.x], [0.0, unit, around.y], [0.0, 0.0, 1.0]])
    return warp(stored, patch_from_frame @ placed.frame_from_image @ image_from_stored, settings.patch_px, linear=True)
