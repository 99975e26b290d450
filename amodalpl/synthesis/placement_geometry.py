"""Crops around cut-outs, and a cut-out put into the frame of another object's photo: its mask and look in any crop.

Matrices are (3, 3) float64 and measure from corners, not from pixel centres, so that they can be multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..masks.boxes import Square, crop_square, tight_box
from ..settings import SynthesisSettings
from .bank import Bank, CutOut, image_square

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


@dataclass(frozen=True)
class View:
    """A crop around a cut-out, in pixels of its photo, mirrored or not."""

    square: Square
    flip: bool


def draw_view(box_xywh: tuple[int, int, int, int], rng: np.random.Generator, settings: SynthesisSettings) -> View:
    """Draw a jittered crop.

    Args:
        box_xywh: of the cut-out.
        rng: source of randomness.
        settings: `enlarge_box`, `shift`, `scale`, `flip_probability` are used.
    """
    base = crop_square(box_xywh, settings.enlarge_box)
    shift_x, shift_y = rng.uniform(-settings.shift, settings.shift, size=2) * base.side
    side = base.side / rng.uniform(*settings.scale)
    centre_x, centre_y = base.x + base.side / 2 + shift_x, base.y + base.side / 2 + shift_y
    flip = bool(rng.random() < settings.flip_probability)
    return View(Square(centre_x - side / 2, centre_y - side / 2, side), flip)


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


def pixels_within(
    box_xywh: tuple[float, float, float, float], patch_from_frame: np.ndarray, patch_px: int
) -> np.ndarray:
    """Tell which pixels of a patch lie within a box of the photo, (P, P) bool."""
    centres = np.arange(patch_px) + 0.5
    xs = (centres - patch_from_frame[0, 2]) / patch_from_frame[0, 0]
    ys = (centres - patch_from_frame[1, 2]) / patch_from_frame[1, 1]
    x, y, w, h = box_xywh
    return np.outer((ys >= y) & (ys < y + h), (xs >= x) & (xs < x + w))


def warp(raster: np.ndarray, patch_from_raster: np.ndarray, patch_px: int, *, linear: bool = False) -> np.ndarray:
    """Resample a raster by a (3, 3) matrix between corners (`sample_patch` counts from pixel centres)."""
    (a, b, dx), (c, d, dy), _ = patch_from_raster.tolist()
    centred = np.array([[a, b, dx + ((a + b) * 0.5 - 0.5)], [c, d, dy + ((c + d) * 0.5 - 0.5)]])
    return sample_patch(raster, centred, patch_px, linear=linear)


def sample_patch(raster: np.ndarray, matrix: np.ndarray, patch_px: int, *, linear: bool = False) -> np.ndarray:
    """Return what `masks.resampling.to_patch` does, several times as fast, up to rounding by the version of OpenCV.

    Training samples are drawn at random, and one per step and core has to be ready; labels take the exact one.
    """
    data = raster.view(np.uint8) if raster.dtype == bool else raster
    patch = cv2.warpAffine(data, matrix, (patch_px, patch_px), flags=cv2.INTER_LINEAR if linear else cv2.INTER_NEAREST)
    return patch.view(bool) if raster.dtype == bool else patch


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


def feather_reach_px(feather_px: float) -> int:
    """Return how far from a mask its edge is blurred: OpenCV blurs no farther than four standard deviations."""
    return int(np.ceil(4 * feather_px)) + 1


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
    (x, y, w, h), reach = tight_box(mask), feather_reach_px(feather_px)
    window = np.s_[max(y - reach, 0) : y + h + reach, max(x - reach, 0) : x + w + reach]
    alpha = mask[window].astype(np.float32)
    if feather_px > 0:
        alpha *= np.maximum(cv2.GaussianBlur(alpha, (0, 0), feather_px) * 2 - 1, 0)  # 0 at the edge, 1 inside
    behind, front = background[window].astype(np.float32), foreground[window].astype(np.float32)
    mixed[window] = np.rint(behind + (front - behind) * alpha[..., None])
    return mixed


def _look(bank: Bank, placed: Placed, patch_from_frame: np.ndarray, settings: SynthesisSettings) -> np.ndarray:
    stored = np.ascontiguousarray(bank.image(placed.index))
    around = image_square(placed.cutout, settings.enlarge_box)
    unit = around.side / stored.shape[0]
    image_from_stored = np.array([[unit, 0.0, around.x], [0.0, unit, around.y], [0.0, 0.0, 1.0]])
    return warp(stored, patch_from_frame @ placed.frame_from_image @ image_from_stored, settings.patch_px, linear=True)
