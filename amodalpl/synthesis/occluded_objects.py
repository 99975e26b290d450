"""Whole objects hidden step by step by things that nobody annotated: the test of the papers that learn from boxes.

After OccludedVehicles (Wang et al. 2020, as Sun et al. 2022 and Liu et al. 2024 use it): one object per photo, in ten
levels of how much of it and of its surroundings is covered. What covers them is pasted, and stands nowhere but in the
pixels: a method that asks for masks of occluders finds none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..masks.boxed import BoxedMask, Window
from ..masks.resampling import warp_window
from ..settings import SynthesisSettings
from .holdout import Source, mask_at, moved_to
from .placement_geometry import feather_reach_px, paste

Shares = tuple[float, float]


@dataclass(frozen=True)
class OccludedScene:
    """A photo with one object, hidden as far as was asked for.

    Attributes:
        image: (H, W, 3) uint8 RGB: the whole photo, since detectors scale photos, and objects with them.
        whole: mask of the object, in the frame of `image`.
        visible: what is seen of it; not empty.
        context_rate: share of the surroundings that is covered, 0 to 1.
    """

    image: np.ndarray
    whole: BoxedMask
    visible: BoxedMask
    context_rate: float

    @property
    def occlude_rate(self) -> float:
        """Hidden share of the object, 0 to 1."""
        return 1 - self.visible.area_px / self.whole.area_px


def surroundings_of(mask: BoxedMask, context: float) -> Window:
    """Return the window of an object and its surroundings: its box, widened on each side and cut to the photo.

    Args:
        mask: of the object in its photo.
        context: how far it is widened, in sides of the box.
    """
    (x, y, w, h), (height, width) = mask.box_xywh, mask.size_hw
    across, down = round(context * w), round(context * h)
    return np.s_[max(y - down, 0) : min(y + h + down, height), max(x - across, 0) : min(x + w + across, width)]


def draw_occluded(
    source: Source,
    index: int,
    donors: Sequence[tuple[Source, int]],
    hidden: Shares,
    covered: Shares,
    rng: np.random.Generator,
    settings: SynthesisSettings,
) -> OccludedScene | None:
    """Draw one scene.

    Occluders are pasted one after another until both shares are in their ranges; one that would carry a share beyond
    its range is not pasted. The surroundings are all pixels of the window that are not of the object.

    Args:
        source: photo of the object.
        index: of the object in it; nothing may hide it there.
        donors: photos and indices of what can be pasted.
        hidden: least and most hidden share of the object.
        covered: least and most covered share of its surroundings.
        rng: decides everything.
        settings: `occluded`, `feather_px` and `patch_px` are used.

    Returns:
        None when no placement fits in `occluded.tries`.
    """
    whole = source.masks[index]
    window = surroundings_of(whole, settings.occluded.context)
    (top, bottom), (left, right) = ((part.start, part.stop) for part in window)
    around_xywh = left, top, right - left, bottom - top
    image = source.read().copy()
    object_px = whole.area_px
    around_px = around_xywh[2] * around_xywh[3] - object_px
    pasted = np.zeros(whole.size_hw, dtype=bool)

    def shares(covering: np.ndarray) -> tuple[float, float]:
        on_object = np.count_nonzero(covering[whole.window] & whole.crop)
        return on_object / object_px, (np.count_nonzero(covering[window]) - on_object) / max(around_px, 1)

    now = 0.0, 0.0
    for _ in range(settings.occluded.tries):
        wants_object, wants_around = now[0] < hidden[0], now[1] < covered[0]
        if not (wants_object or wants_around):
            break
        donor, number = donors[int(rng.integers(len(donors)))]
        over = whole.box_xywh if wants_object else around_xywh
        matrix, mask = _place(donor.masks[number], over, whole, rng, settings.occluded.size)
        then = shares(pasted | np.asarray(mask))
        gained = (wants_object and then[0] > now[0]) or (wants_around and then[1] > now[1])
        if not gained or then[0] > hidden[1] or then[1] > covered[1]:
            continue
        _paste(image, donor, matrix, mask, whole, settings)
        pasted |= np.asarray(mask)
        now = then
    if not (hidden[0] <= now[0] <= hidden[1] and covered[0] <= now[1] <= covered[1]):
        return None
    visible = BoxedMask.cut(whole.crop & ~pasted[whole.window], whole.box_xywh[:2], whole.size_hw)
    return OccludedScene(image, whole, visible, now[1]) if visible.any() else None


def _place(
    cutout: BoxedMask,
    over_xywh: tuple[int, int, int, int],
    whole: BoxedMask,
    rng: np.random.Generator,
    size: tuple[float, float],
) -> tuple[np.ndarray, BoxedMask]:
    """Put the middle of a cut-out anywhere over a box; return the matrix, and the mask in the frame of the scene."""
    x, y, w, h = over_xywh
    scale = float(rng.uniform(*size)) * np.sqrt(whole.area_px / cutout.area_px)
    matrix = moved_to(cutout, scale, rng.uniform((x, y), (x + w, y + h)), rng)
    return mask_at(cutout, matrix, whole)


def _paste(
    image: np.ndarray,
    donor: Source,
    matrix: np.ndarray,
    mask: BoxedMask,
    whole: BoxedMask,
    settings: SynthesisSettings,
) -> None:
    """Put an occluder into the picture, its edge as soft as in the hold-out."""
    feather_px = settings.feather_px * max(whole.box_xywh[2:]) / settings.patch_px
    reach = feather_reach_px(feather_px)
    (x, y, w, h), (height, width) = mask.box_xywh, mask.size_hw
    window = np.s_[max(y - reach, 0) : min(y + h + reach, height), max(x - reach, 0) : min(x + w + reach, width)]
    pixels = warp_window(donor.read(), matrix, window, border=cv2.BORDER_REPLICATE)
    image[window] = paste(image[window], pixels, mask[window], feather_px)
