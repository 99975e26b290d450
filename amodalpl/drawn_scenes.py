"""Drawn scenes with exact truth: what the demo runs on and tests are checked against.

Discs, boxes, bottles and stars of four hues lie in overlapping groups on a mottled ground; who hides whom, and every
hidden pixel, is known. About half of the objects are partly hidden.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .io.files import write_json, write_whole
from .masks import rle

CATEGORIES = (
    {"id": 1, "name": "disc"},
    {"id": 2, "name": "box"},
    {"id": 3, "name": "bottle"},
    {"id": 4, "name": "star"},
)
_HUES = {1: 5, 2: 60, 3: 110, 4: 28}  # OpenCV's 0-179: red, green, blue, yellow
_HIDDEN = (0.05, 0.6)  # least and most hidden share of an object that is occluded
_CHAIN = 0.75  # chance that an object is put onto another one
_TRIES = 60


@dataclass(frozen=True)
class Scene:
    """One drawn photo of N objects, in no particular order.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        amodal: (N, H, W) bool, whole objects, as far as they are in the frame.
        modal: (N, H, W) bool, their visible parts; disjoint, none empty.
        category_ids: (N,) int64, as in `CATEGORIES`.
        front_to_back: (N,) int64, indices of the objects, the frontmost first.
    """

    image: np.ndarray
    amodal: np.ndarray
    modal: np.ndarray
    category_ids: np.ndarray
    front_to_back: np.ndarray


@dataclass(frozen=True)
class SceneFiles:
    """A written set of scenes.

    Attributes:
        annotations: plain COCO, `segmentation` is the modal mask: what a user would have.
        images: the folder of photos.
        truth: D2SA-like: `segmentation` is the amodal mask, `visible_mask` the modal one; the same annotation ids.
    """

    annotations: Path
    images: Path
    truth: Path


def draw_scene(
    rng: np.random.Generator, size_hw: tuple[int, int] = (120, 160), objects: tuple[int, int] = (3, 6)
) -> Scene:
    """Draw one scene.

    Args:
        rng: decides everything.
        size_hw: of the photo in pixels; at least 32 x 32 for shapes one can tell.
        objects: least and most number of objects; where no place is left for another one, there are fewer.
    """
    image = _ground(rng, size_hw)
    shapes: list[np.ndarray] = []  # whole masks, back to front
    visible: list[np.ndarray] = []
    kinds: list[int] = []
    for _ in range(int(rng.integers(objects[0], objects[1] + 1))):
        kind = int(rng.integers(1, len(CATEGORIES) + 1))
        placed = _place(rng, kind, size_hw, shapes, visible)
        if placed is None:
            continue
        mask, unit_xy = placed
        visible = [old & ~mask for old in visible] + [mask]
        shapes.append(mask)
        kinds.append(kind)
        _paint(rng, image, mask, unit_xy, kind)
    image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    order = rng.permutation(len(shapes))  # places in the file tell nothing about depth
    front_to_back = np.argsort(order)[::-1].astype(np.int64)
    return Scene(
        image=image,
        amodal=np.array([shapes[i] for i in order]),
        modal=np.array([visible[i] for i in order]),
        category_ids=np.array([kinds[i] for i in order], dtype=np.int64),
        front_to_back=np.ascontiguousarray(front_to_back),
    )


def write_scenes(folder: Path, count: int, seed: int, size_hw: tuple[int, int] = (120, 160)) -> SceneFiles:
    """Write scenes as photos (PNG), modal annotations, and truth.

    Scene i depends on the seed and i only. The same arguments give the same bytes. Each file is written whole; the
    annotation files come last.

    Args:
        folder: is made; gets `images/`, `annotations.json` and `truth.json`.
        count: number of scenes.
        seed: of the set.
        size_hw: of the photos.

    Raises:
        OutputError: a file cannot be written.
    """
    files = SceneFiles(folder / "annotations.json", folder / "images", folder / "truth.json")
    files.images.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    modal: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    for index in range(count):
        scene = draw_scene(np.random.default_rng([seed, index]), size_hw)
        name = f"scene_{index + 1:04d}.png"
        png = cv2.imencode(".png", scene.image[:, :, ::-1])[1].tobytes()
        write_whole(files.images / name, partial(Path.write_bytes, data=png))
        images.append({"id": index + 1, "file_name": name, "height": size_hw[0], "width": size_hw[1]})
        for whole, seen, category_id in zip(scene.amodal, scene.modal, scene.category_ids, strict=True):
            head = {"id": len(modal) + 1, "image_id": index + 1, "category_id": int(category_id), "iscrowd": 0}
            modal.append({**head, **_mask_fields(seen)})
            truth.append(
                {
                    **head,
                    **_mask_fields(whole),
                    "visible_mask": rle.to_json(rle.encode(seen)),
                    "occlude_rate": round(1 - float(seen.sum()) / float(whole.sum()), 6),
                }
            )
    frame = {"images": images, "categories": [dict(category) for category in CATEGORIES]}
    write_json(files.truth, {**frame, "annotations": truth})
    write_json(files.annotations, {**frame, "annotations": modal})
    return files


def _mask_fields(mask: np.ndarray) -> dict[str, Any]:
    run_lengths = rle.encode(mask)
    return {
        "segmentation": rle.to_json(run_lengths),
        "bbox": list(rle.box_xywh(run_lengths)),
        "area": rle.area_px(run_lengths),
    }


def _place(
    rng: np.random.Generator,
    kind: int,
    size_hw: tuple[int, int],
    shapes: list[np.ndarray],
    visible: list[np.ndarray],
) -> tuple[np.ndarray, np.ndarray] | None:
    """Find a place in front of all others where nobody gets hidden too little to see or too much.

    Returns:
        (H, W) bool and the (H, W, 2) float coordinates of its pixels in the frame of the shape; None if no place is
        found.
    """
    height, width = size_hw
    short = min(height, width)
    onto = bool(shapes) and rng.random() < _CHAIN
    for _ in range(_TRIES):
        radius = short * rng.uniform(0.14, 0.27)
        if onto:
            old = shapes[int(rng.integers(len(shapes)))]
            ys, xs = np.nonzero(old)
            at = int(rng.integers(len(xs)))
            turn, reach = rng.uniform(0, 2 * math.pi), radius * rng.uniform(0.2, 1.0)
            centre = (xs[at] + reach * math.cos(turn), ys[at] + reach * math.sin(turn))
        else:
            centre = (rng.uniform(0, width), rng.uniform(0, height))
        margin = 0.5 * radius  # some objects are cut by the frame
        if not (margin < centre[0] < width - margin and margin < centre[1] < height - margin):
            continue
        mask, unit_xy = _shape(rng, kind, centre, radius, size_hw)
        hidden = [1 - float((v & ~mask).sum()) / float(s.sum()) for v, s in zip(visible, shapes, strict=True)]
        newly = [bool((v & mask).any()) for v in visible]
        if any(h > _HIDDEN[1] or (new and h < _HIDDEN[0]) for h, new in zip(hidden, newly, strict=True)):
            continue
        if mask.any() and any(newly) == onto:
            return mask, unit_xy
    return None


def _shape(
    rng: np.random.Generator, kind: int, centre: tuple[float, float], radius: float, size_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one silhouette of random proportions and turn."""
    aspect = rng.uniform(0.65, 1.0)
    lean = rng.uniform(-0.6, 0.6) if kind == 3 else rng.uniform(0, 2 * math.pi)  # bottles stand
    cos, sin = math.cos(lean), math.sin(lean)
    ys, xs = np.mgrid[0 : size_hw[0], 0 : size_hw[1]]
    dx, dy = (xs - centre[0]) / radius, (ys - centre[1]) / radius
    u, v = (cos * dx + sin * dy) / aspect, cos * dy - sin * dx  # the shape fills [-1, 1] x [-1, 1]
    if kind == 1:
        inside = u**2 + v**2 <= 1
    elif kind == 2:
        inside = u**6 + v**6 <= 1
    elif kind == 3:
        half_width = np.where(v > -0.15, 0.62, np.where(v < -0.55, 0.22, 0.22 + (v + 0.55)))  # neck, shoulder, body
        inside = (np.abs(u) <= half_width) & (np.abs(v) <= 1)
    else:
        wave = np.cos(5 * np.arctan2(v, u) / 2) ** 2  # five tips
        inside = np.hypot(u, v) <= 0.52 + 0.48 * wave
    return inside, np.stack([u, v], axis=-1)


def _ground(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """Return an (H, W, 3) float ground of soft grey-brown spots over a slope of light."""
    height, width = size_hw
    coarse = rng.normal(0, 1, (height // 16 + 2, width // 16 + 2, 3)).astype(np.float32)
    fine = rng.normal(0, 1, (height // 4 + 2, width // 4 + 2)).astype(np.float32)
    spots = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * 12
    grain = cv2.resize(fine, (width, height), interpolation=cv2.INTER_LINEAR)[..., None] * 7
    slope = np.linspace(-20, 20, height)[:, None, None] * rng.uniform(-1, 1)
    return np.clip(rng.uniform(90, 170) + np.array([6, 0, -6]) + spots + grain + slope, 0, 255)


def _paint(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, unit_xy: np.ndarray, kind: int) -> None:
    """Colour an object in place: a hue of its kind, light from one side, a pattern of its kind, a dark rim."""
    hue = (_HUES[kind] + rng.integers(-10, 11)) % 180
    hsv = np.array([[[hue, rng.integers(130, 231), rng.integers(150, 236)]]], dtype=np.uint8)
    colour = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(float)
    u, v = unit_xy[..., 0], unit_xy[..., 1]
    light = 1 - 0.22 * u - 0.1 * v
    if kind == 1:
        light = light * (1.08 - 0.25 * (u**2 + v**2))
    elif kind == 2:
        light = light * np.where(np.sin(7 * v) > 0, 1.0, 0.78)
    elif kind == 3:
        light = light * np.where((v > 0.15) & (v < 0.65), 1.25, 0.95)
    else:
        light = light * (0.8 + 0.35 * np.hypot(u, v))
    painted = np.clip(colour * light[..., None], 0, 255)
    rim = mask & ~cv2.erode(mask.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
    painted[rim] *= 0.55
    image[mask] = painted[mask]
