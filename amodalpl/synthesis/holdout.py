"""The frozen hold-out: photos that training never sees, with pasted occluders and therefore known truth.

It is an ordinary annotation file with visible and amodal masks, so the same code labels and scores it as any other
data. Of each photo only objects that do not touch one another are kept; real cut-outs of other held-out photos are
pasted over most of them. What an object loses is its hidden part; a kept object without an occluder must stay as it is.
On request some of what is pasted gets no annotation, as most things in most photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ..masks import rle
from ..masks.boxes import tight_box
from ..masks.geometry import dilate
from ..settings import SynthesisSettings
from .placement import draw_offset
from .placement_geometry import draw_view, paste

APART_PX = 4  # free pixels, at least, between kept objects: none touches another, whatever is pasted over them
PASTE_TRIES = 60


@dataclass(frozen=True)
class Source:
    """A held-out photo with its disjoint masks.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        masks: (N, H, W) bool.
        categories: N category ids.
        image_id: of the photo.
    """

    image: np.ndarray
    masks: np.ndarray
    categories: Sequence[int]
    image_id: int


@dataclass
class Layered:
    """An object of a scene: its whole mask, and what later pastes have left of it."""

    amodal: np.ndarray
    modal: np.ndarray
    category_id: int


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
        Layered(source.masks[i], source.masks[i].copy(), source.categories[i]) for i in _apart(source.masks, rng)
    ]
    if not objects:
        return None
    others = [s for s in sources if s is not source and len(s.masks)] or [source]
    image = source.image.copy()
    for target in list(objects):
        if rng.random() >= settings.holdout_occluded:
            continue
        pasted = _paste_over(target, objects, image, others, rng, settings)
        if pasted is not None:
            occluder, image = pasted
            if not settings.holdout_unmasked or rng.random() >= settings.holdout_unmasked:
                objects.append(occluder)
    return HoldoutScene(image, objects)


def _apart(masks: np.ndarray, rng: np.random.Generator) -> list[int]:
    kept: list[int] = []
    taken = np.zeros(masks.shape[1:], dtype=bool)
    for index in rng.permutation(len(masks)):
        if not (taken & masks[index]).any():
            kept.append(int(index))
            taken |= dilate(masks[index], APART_PX + 1)
    return sorted(kept)


def _paste_over(
    target: Layered,
    objects: Sequence[Layered],
    image: np.ndarray,
    others: Sequence[Source],
    rng: np.random.Generator,
    settings: SynthesisSettings,
) -> tuple[Layered, np.ndarray] | None:
    height, width = target.amodal.shape
    whole_px = int(target.amodal.sum())
    _, _, w, h = tight_box(target.amodal)
    for _ in range(PASTE_TRIES):
        donor = others[int(rng.integers(len(others)))]
        pick = int(rng.integers(len(donor.masks)))
        cutout = donor.masks[pick]
        matrix, mask = PLACEMENTS[settings.holdout_placement](target.amodal, cutout, rng, settings)
        hidden = int((target.amodal & mask).sum()) / whole_px
        if not mask.any() or not settings.holdout_hidden[0] <= hidden <= settings.holdout_hidden[1]:
            continue
        left = [int((o.modal & ~mask).sum()) / int(o.amodal.sum()) for o in objects]
        if min(left) == 0 or min(left) < 1 - settings.holdout_hidden[1]:
            continue
        pixels = cv2.warpAffine(
            donor.image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for other in objects:
            other.modal &= ~mask
        feather_px = settings.feather_px * max(w, h) / settings.patch_px
        return Layered(mask, mask.copy(), donor.categories[pick]), paste(image, pixels, mask, feather_px)
    return None


def place_wide(
    target: np.ndarray, cutout: np.ndarray, rng: np.random.Generator, settings: SynthesisSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Put an occluder anywhere over an object or beside it, its size relative to the object's by area.

    Args:
        target: (H, W) bool, the object.
        cutout: (h, w) bool, the occluder in its own photo.
        rng: source of randomness.
        settings: `holdout_size` is used.

    Returns:
        (2, 3) matrix from the occluder's photo to the object's, and its mask there, (H, W) bool; empty where it would
        be larger than the photo by far.
    """
    (x, y, w, h), (_, _, bw, bh) = tight_box(target), tight_box(cutout)
    scale = float(rng.uniform(*settings.holdout_size)) * np.sqrt(int(target.sum()) / int(cutout.sum()))
    if max(bw, bh) * scale > 2 * max(target.shape):
        return np.zeros((2, 3)), np.zeros_like(target)
    centre = rng.uniform((x - 0.3 * w, y - 0.3 * h), (x + 1.3 * w, y + 1.3 * h))
    return _put(cutout, _moved(cutout, scale, centre, rng), target)


def place_as_pairs(
    target: np.ndarray, cutout: np.ndarray, rng: np.random.Generator, settings: SynthesisSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Put an occluder where the training samples of PCNet-M and ASBU have it: in a shifted crop of its own.

    Args and returns are those of `place_wide`; `draw_view` and `draw_offset` say what settings are used.
    """
    behind, front = (draw_view(tight_box(mask), rng, settings) for mask in (target, cutout))
    scale = behind.square.side / front.square.side
    shift = np.array(draw_offset(rng, settings.overlap_fraction)) * behind.square.side
    x, y, w, h = tight_box(cutout)
    middle = scale * np.array([x + w / 2 - front.square.x, y + h / 2 - front.square.y])  # of its box, in the crop
    matrix = _moved(cutout, scale, np.array([behind.square.x, behind.square.y]) + shift + middle, rng)
    return _put(cutout, matrix, target)


def _moved(cutout: np.ndarray, scale: float, centre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x, y, w, h = tight_box(cutout)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    return np.array(
        [
            [flip * scale, 0.0, centre[0] - flip * scale * (x + w / 2)],
            [0.0, scale, centre[1] - scale * (y + h / 2)],
        ]
    )


def _put(cutout: np.ndarray, matrix: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix and the mask there, resampled smoothly: no steps along its contour tell that it was pasted."""
    grey = cv2.warpAffine(cutout * np.uint8(255), matrix, target.shape[::-1], flags=cv2.INTER_LINEAR)
    return matrix, grey > 127


PLACEMENTS = {"wide": place_wide, "pairs": place_as_pairs}


def scene_entries(
    scene: HoldoutScene, image_id: int, file_name: str, first_id: int, image_extra: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the COCO entries of a scene: `segmentation` amodal, `visible_mask` modal, as D2SA names them."""
    height, width = scene.image.shape[:2]
    image = {"id": image_id, "file_name": file_name, "height": height, "width": width, **image_extra}
    annotations = []
    for number, item in enumerate(scene.objects):
        amodal, modal = rle.encode(item.amodal), rle.encode(item.modal)
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
