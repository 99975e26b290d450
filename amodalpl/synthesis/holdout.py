"""The frozen hold-out: photos that training never sees, with pasted occluders and therefore known truth.

It is an ordinary annotation file with visible and amodal masks, so the same code labels and scores it as any other
data. Of each photo only objects that do not touch one another are kept; real cut-outs of other held-out photos are
pasted over most of them. What an object loses is its hidden part; a kept object without an occluder must stay as it is.
On request some of what is pasted gets no annotation, as most things in most photos.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ..masks import rle
from ..masks.boxed import BoxedMask, BoxedMasks, Window
from ..masks.geometry import dilate
from ..masks.resampling import warp_window
from ..settings import SynthesisSettings
from .placement import draw_offset
from .placement_geometry import draw_view, feather_reach_px, paste

HOLDOUT, HOLDOUT_IMAGES = "holdout.json", "holdout_images"  # in the folder of `amodalpl synth`
SURE = "sure_to_be_whole"  # key of its images: ids of the objects that nothing but what is pasted hides
APART_PX = 4  # free pixels, at least, between kept objects: none touches another, whatever is pasted over them
PASTE_TRIES = 60


@dataclass(frozen=True)
class Source:
    """A held-out photo with its disjoint masks.

    Attributes:
        read: returns it, (H, W, 3) uint8 RGB; all photos together may not fit into memory.
        masks: N masks.
        categories: N category ids.
        whole: for each, whether it is sure to be a whole object: nothing is near, and no border of the photo cuts it.
        image_id: of the photo.
    """

    read: Callable[[], np.ndarray]
    masks: BoxedMasks
    categories: Sequence[int]
    whole: Sequence[bool]
    image_id: int


@dataclass
class Layered:
    """An object of a scene: its whole mask, and what later pastes have left of it."""

    whole: BoxedMask
    seen: BoxedMask
    category_id: int
    is_sure: bool  # that nothing but what is pasted hides any of it

    @property
    def amodal(self) -> np.ndarray:
        """(H, W) bool, `whole`."""
        return np.asarray(self.whole)

    @property
    def modal(self) -> np.ndarray:
        """(H, W) bool, `seen`."""
        return np.asarray(self.seen)


@dataclass(frozen=True)
class HoldoutScene:
    """A photo after pasting; `objects` are in the order of depth, the front last."""

    image: np.ndarray
    objects: list[Layered]


def draw_scene(
    sources: Sequence[Source], index: int, rng: np.random.Generator, settings: SynthesisSettings
) -> HoldoutScene | None:
    """Draw a scene on photo `index` with occluders cut out of the others.

    Returns:
        The scene; None when the photo has no usable object.
    """
    source = sources[index]
    objects = [
        Layered(source.masks[i], source.masks[i], source.categories[i], source.whole[i])
        for i in _apart(source.masks, rng)
    ]
    if not objects:
        return None
    others = [s for s in sources if s is not source and len(s.masks)] or [source]
    image = source.read().copy()
    for target in list(objects):
        if rng.random() >= settings.holdout_occluded:
            continue
        occluder = _paste_over(target, objects, image, others, rng, settings)
        if occluder is not None and not (settings.holdout_unmasked and rng.random() < settings.holdout_unmasked):
            objects.append(occluder)
    return HoldoutScene(image, objects)


def _apart(masks: BoxedMasks, rng: np.random.Generator) -> list[int]:
    kept: list[int] = []
    taken = np.zeros(masks.size_hw, dtype=bool)
    for index in rng.permutation(len(masks)):
        mask: BoxedMask = masks[index]
        if not (taken[mask.window] & mask.crop).any():
            kept.append(int(index))
            around = _around(mask, APART_PX + 1)
            taken[around] |= dilate(mask[around], APART_PX + 1)
    return sorted(kept)


def _paste_over(
    target: Layered,
    objects: Sequence[Layered],
    image: np.ndarray,
    others: Sequence[Source],
    rng: np.random.Generator,
    settings: SynthesisSettings,
) -> Layered | None:
    """Put an occluder over an object, and into the image; None when no place for one was found."""
    whole_px = target.whole.area_px
    _, _, w, h = target.whole.box_xywh
    for _ in range(PASTE_TRIES):
        donor = others[int(rng.integers(len(others)))]
        pick = int(rng.integers(len(donor.masks)))
        cutout = donor.masks[pick]
        matrix, mask = PLACEMENTS[settings.holdout_placement](target.whole, cutout, rng, settings)
        hidden = target.whole.shared_px(mask) / whole_px
        if not mask.any() or not settings.holdout_hidden[0] <= hidden <= settings.holdout_hidden[1]:
            continue
        met = [o for o in objects if o.seen.shared_px(mask)]
        left = min((o.seen.without(mask).area_px / o.whole.area_px for o in met), default=1.0)
        if left == 0 or left < 1 - settings.holdout_hidden[1]:
            continue
        for other in met:
            other.seen = other.seen.without(mask)
        feather_px = settings.feather_px * max(w, h) / settings.patch_px
        window = _around(mask, feather_reach_px(feather_px))
        pixels = warp_window(donor.read(), matrix, window, border=cv2.BORDER_REPLICATE)
        image[window] = paste(image[window], pixels, mask[window], feather_px)
        return Layered(mask, mask, donor.categories[pick], donor.whole[pick])
    return None


def _around(mask: BoxedMask, margin_px: int) -> Window:
    x, y, w, h = mask.box_xywh
    height, width = mask.size_hw
    return np.s_[
        max(y - margin_px, 0) : min(y + h + margin_px, height), max(x - margin_px, 0) : min(x + w + margin_px, width)
    ]


def place_wide(
    target: BoxedMask, cutout: BoxedMask, rng: np.random.Generator, settings: SynthesisSettings
) -> tuple[np.ndarray, BoxedMask]:
    """Put an occluder anywhere over an object or beside it, its size relative to the object's by area.

    Args:
        target: the object.
        cutout: the occluder in its own photo.
        rng: source of randomness.
        settings: `holdout_size` is used.

    Returns:
        (2, 3) matrix from the occluder's photo to the object's, and its mask there; empty where it would
        be larger than the photo by far.
    """
    (x, y, w, h), (_, _, bw, bh) = target.box_xywh, cutout.box_xywh
    scale = float(rng.uniform(*settings.holdout_size)) * np.sqrt(target.area_px / cutout.area_px)
    if max(bw, bh) * scale > 2 * max(target.size_hw):
        return np.zeros((2, 3)), BoxedMask.nothing(target.size_hw)
    centre = rng.uniform((x - 0.3 * w, y - 0.3 * h), (x + 1.3 * w, y + 1.3 * h))
    return mask_at(cutout, moved_to(cutout, scale, centre, rng), target)


def place_as_pairs(
    target: BoxedMask, cutout: BoxedMask, rng: np.random.Generator, settings: SynthesisSettings
) -> tuple[np.ndarray, BoxedMask]:
    """Put an occluder where the training samples of PCNet-M and ASBU have it: in a shifted crop of its own.

    Args and returns are those of `place_wide`; `draw_view` and `draw_offset` say what settings are used.
    """
    behind, front = (draw_view(mask.box_xywh, rng, settings) for mask in (target, cutout))
    scale = behind.square.side / front.square.side
    shift = np.array(draw_offset(rng, settings.overlap_fraction)) * behind.square.side
    x, y, w, h = cutout.box_xywh
    middle = scale * np.array([x + w / 2 - front.square.x, y + h / 2 - front.square.y])  # of its box, in the crop
    matrix = moved_to(cutout, scale, np.array([behind.square.x, behind.square.y]) + shift + middle, rng)
    return mask_at(cutout, matrix, target)


def moved_to(cutout: BoxedMask, scale: float, centre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the (2, 3) matrix that scales an object, mirrors it at random, and puts its middle somewhere."""
    x, y, w, h = cutout.box_xywh
    flip = -1.0 if rng.random() < 0.5 else 1.0
    return np.array(
        [
            [flip * scale, 0.0, centre[0] - flip * scale * (x + w / 2)],
            [0.0, scale, centre[1] - scale * (y + h / 2)],
        ]
    )


def mask_at(cutout: BoxedMask, matrix: np.ndarray, target: BoxedMask) -> tuple[np.ndarray, BoxedMask]:
    """Return the matrix and the mask there, resampled smoothly: no steps along its contour tell that it was pasted."""
    x, y, w, h = cutout.box_xywh
    ends = matrix @ np.array([[x - 2, x + w + 2], [y - 2, y + h + 2], [1, 1]])  # of the box, with what is interpolated
    (left, top), (right, bottom) = np.floor(ends.min(axis=1)), np.ceil(ends.max(axis=1)) + 1
    height, width = target.size_hw
    window = np.s_[
        max(int(top), 0) : max(min(int(bottom), height), 0), max(int(left), 0) : max(min(int(right), width), 0)
    ]
    grey = warp_window(cutout.crop * np.uint8(255), matrix, window, corner_xy=(x, y))
    return matrix, BoxedMask.cut(grey > 127, (window[1].start, window[0].start), target.size_hw)


PLACEMENTS = {"wide": place_wide, "pairs": place_as_pairs}


def scene_entries(
    scene: HoldoutScene, image_id: int, file_name: str, first_id: int, image_extra: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the COCO entries of a scene: `segmentation` amodal, `visible_mask` modal, as D2SA names them."""
    height, width = scene.image.shape[:2]
    sure = [first_id + number for number, item in enumerate(scene.objects) if item.is_sure]
    image = {"id": image_id, "file_name": file_name, "height": height, "width": width, SURE: sure, **image_extra}
    annotations = []
    for number, item in enumerate(scene.objects):
        amodal, modal = item.whole.encode(), item.seen.encode()
        annotations.append(
            {
                "id": first_id + number,
                "image_id": image_id,
                "category_id": item.category_id,
                "iscrowd": 0,
                "segmentation": rle.to_json(amodal),
                "bbox": list(rle.box_xywh(amodal)),
                "area": rle.area_px(amodal),
                "visible_mask": rle.to_json(modal),
                "occlude_rate": round(1 - rle.area_px(modal) / rle.area_px(amodal), 6),
            }
        )
    return image, annotations
