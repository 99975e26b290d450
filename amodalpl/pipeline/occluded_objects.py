"""`amodalpl synth --recipe occluded-objects`: the papers' test of methods that are given boxes, from one's own photos.

Whole objects of held-out photos, each hidden at ten levels by things that stand in no file. The other photos, to learn
from, are listed as they were.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..data import coco, d2sa
from ..data.records import AnnotationSet, ImageRecord, Instance
from ..errors import DataError
from ..io.files import write_json
from ..io.images import RecentPhotos, image_path, write_image
from ..io.json_stream import finite
from ..masks import ownership, rle
from ..masks.boxed import BoxedMask
from ..metrics.levels import CONTEXT_RATE, OCCLUDED_VEHICLES, Level
from ..runtime.progress import Progress
from ..settings import PipelineSettings
from ..synthesis.bank import FIRST_OBJECT, cut_out, surroundings
from ..synthesis.holdout import Source
from ..synthesis.occluded_objects import OccludedScene, draw_occluded
from .cutting_out import held_out_photos, owners_of, why_not_usable

RECIPE = "occluded-objects"
TRUTH, BOXES, TRAIN, IMAGES, PREVIEW = "truth.json", "boxes.json", "train.json", "images", "preview.png"
OUTPUTS = [TRUTH, BOXES, TRAIN, IMAGES, PREVIEW]
_TILE_PX, _ROWS = 112, 8


@dataclass(frozen=True)
class _Target:
    """A whole object of a held-out photo, and what may be pasted over it."""

    source: Source
    index: int
    instance: Instance


def build_occluded(
    data: AnnotationSet, images: Path, out: Path, settings: PipelineSettings, progress: Progress
) -> dict[str, Any]:
    """Write the scenes, their truth, their boxes, and the photos that are left to learn from.

    Args:
        data: with visible masks; whole ones, where there are any, tell what is whole.
        images: folder of the photos.
        out: output folder.
        settings: `seed` and `synthesis` are used.
        progress: shown while it works.

    Returns:
        Counts.

    Raises:
        DataError: no object of a held-out photo is known to be whole, or nothing of another photo could hide it.
    """
    held_out = held_out_photos(data, settings)
    photos = RecentPhotos()
    left_out: Counter[str] = Counter()
    targets: list[_Target] = []
    sources: list[Source] = []
    with progress.task("looking for whole objects", len(held_out)) as advance:
        for record in (r for r in data.images if r.id in held_out):
            read = partial(photos.read, image_path(images, record.file_name), record.size_hw)
            source, found = _look(record, data, read, settings, left_out)
            sources.append(source)
            targets += found
            advance(1)
    chosen = _choose(targets, settings)
    if not chosen or sum(bool(len(s.masks)) for s in sources) < 2:
        raise DataError(
            f"{data.path}: expected objects of {len(held_out)} held-out photos that are whole, and others to put over "
            f"them, got {len(targets)} (left out: {dict(left_out)}); raise synthesis.holdout_fraction, or lower "
            "synthesis.occluded.least_side_px"
        )
    shutil.rmtree(out / IMAGES, ignore_errors=True)
    (out / IMAGES).mkdir()
    truth, boxes, missed = _Frame(data), _Frame(data), Counter[str]()
    pictures: list[list[np.ndarray]] = []
    with progress.task("hiding objects", len(chosen) * len(OCCLUDED_VEHICLES.levels)) as advance:
        for number, target in enumerate(chosen):
            row = []
            for at, (level, scene) in enumerate(_scenes(target, sources, number, settings)):
                advance(1)
                if scene is None:
                    missed[level.name] += 1
                    continue
                name = f"{number + 1:05d}_{at}.jpg"
                write_image(out / IMAGES / name, scene.image)
                _add(truth, boxes, scene, target, level, name)
                if len(pictures) < _ROWS:
                    row.append(scene.image)
            if row:
                pictures.append(row)
    truth.write(out / TRUTH)
    boxes.write(out / BOXES)
    training = _others(data, held_out)
    (d2sa if any(i.amodal_mask for i in training.instances) else coco).write(training, out / TRAIN)
    _write_preview(pictures, out / PREVIEW)
    levels = Counter(entry["level"] for entry in truth.images)
    return {
        "photos": len(data.images),
        "held-out photos": len(held_out),
        "whole objects in them": len(targets),
        "objects shown": len({entry["object"] for entry in truth.images}),
        "scenes": len(truth.images),
        "scenes by level": {level.name: levels[level.name] for level in OCCLUDED_VEHICLES.levels},
        "no placement found": dict(sorted(missed.items())),
        "left out": dict(sorted(left_out.items())),
        "to learn from": len(training.images),
    }


def _look(
    record: ImageRecord, data: AnnotationSet, read: Any, settings: PipelineSettings, left_out: Counter[str]
) -> tuple[Source, list[_Target]]:
    """Return a photo with all that can be cut out of it, and those of them that are whole."""
    wanted = settings.synthesis
    instances = [i for i in data.by_image[record.id] if not i.is_crowd and i.modal is not None]
    crowds = [i.modal for i in data.by_image[record.id] if i.is_crowd and i.modal is not None]
    owned = ownership.resolve([i.modal for i in instances if i.modal is not None], record.size_hw)
    owners = owners_of(owned.masks, crowds)
    kept = [k for k, i in enumerate(instances) if why_not_usable(i, owned.masks[k], wanted) is None]
    masks = owned.masks.subset(kept)
    reasons = [_why_not_whole(instances[k], owned.masks[k], owners, FIRST_OBJECT + k, settings) for k in kept]
    left_out.update(reason for reason in reasons if reason)
    whole = [not reason for reason in reasons]
    source = Source(read, masks, [instances[k].category_id for k in kept], whole, record.id)
    targets = [_Target(source, index, instances[k]) for index, k in enumerate(kept) if whole[index]]
    return source, targets


def _why_not_whole(
    instance: Instance, mask: BoxedMask, owners: np.ndarray, number: int, settings: PipelineSettings
) -> str:
    wanted = settings.synthesis
    around = surroundings(owners, number, cut_out(mask, wanted.cutout_px), wanted.enlarge_box)
    if min(mask.box_xywh[2:]) < wanted.occluded.least_side_px:
        return "smaller than synthesis.occluded.least_side_px"
    if around.truncated:
        return "cut off by the photo"
    if instance.amodal is not None:
        return "" if rle.area_px(instance.amodal) == mask.area_px else "hidden by something"
    return "" if around.alone else "something is near that may hide it"


def _choose(targets: Sequence[_Target], settings: PipelineSettings) -> list[_Target]:
    """Choose by the seed, in the order of the photos."""
    rng = np.random.default_rng((settings.seed, 5))
    picked = sorted(rng.permutation(len(targets))[: settings.synthesis.occluded.objects].tolist())
    return [targets[k] for k in picked]


def _scenes(
    target: _Target, sources: Sequence[Source], number: int, settings: PipelineSettings
) -> Iterator[tuple[Level, OccludedScene | None]]:
    """Draw a scene of each level, of things of other classes and photos; of its own class where there is no other."""
    others = [(s, k) for s in sources if s is not target.source for k in range(len(s.masks))]
    unlike = [(s, k) for s, k in others if s.categories[k] != target.instance.category_id]
    for at, level in enumerate(OCCLUDED_VEHICLES.levels):
        rng = np.random.default_rng((settings.seed, 6, number, at))
        shares = (level.low, level.high), level.context or (0.0, 0.0)
        yield level, draw_occluded(target.source, target.index, unlike or others, *shares, rng, settings.synthesis)


class _Frame:
    """A COCO file in the making: photos of one object each."""

    def __init__(self, data: AnnotationSet) -> None:
        self.categories = finite(data.categories)
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, image: dict[str, Any], annotation: dict[str, Any]) -> None:
        """Add a photo and its object, numbered alike."""
        number = len(self.images) + 1
        self.images.append({"id": number, **image})
        self.annotations.append({"id": number, "image_id": number, "iscrowd": 0, **annotation})

    def write(self, path: Path) -> None:
        """Write the file."""
        write_json(path, {"images": self.images, "annotations": self.annotations, "categories": self.categories})


def _add(truth: _Frame, boxes: _Frame, scene: OccludedScene, target: _Target, level: Level, name: str) -> None:
    """Add a scene to the truth, with both masks, and to the boxes, which have none."""
    height, width = scene.image.shape[:2]
    photo = {
        "file_name": name,
        "height": height,
        "width": width,
        "photo_id": target.source.image_id,
        "object": target.instance.id,
        "level": level.name,
    }
    whole, visible = scene.whole.encode(), scene.visible.encode()
    of_class = {"category_id": target.instance.category_id}
    shares = {"occlude_rate": round(scene.occlude_rate, 6), CONTEXT_RATE: round(scene.context_rate, 6)}
    masks = {"segmentation": rle.to_json(whole), "visible_mask": rle.to_json(visible)}
    of_whole = {"bbox": list(rle.box_xywh(whole)), "area": rle.area_px(whole)}
    truth.add(photo, {**of_class, **masks, **of_whole, "visible_bbox": list(rle.box_xywh(visible)), **shares})
    boxes.add(photo, {**of_class, "bbox": list(rle.box_xywh(visible)), "amodal_bbox": list(rle.box_xywh(whole))})


def _others(data: AnnotationSet, held_out: set[int]) -> AnnotationSet:
    return replace(
        data,
        images=[i for i in data.images if i.id not in held_out],
        instances=[i for i in data.instances if i.image_id not in held_out],
        dropped=[],
        front_of=[],
    )


def _write_preview(pictures: Sequence[Sequence[np.ndarray]], path: Path) -> None:
    """Write a sheet: a row for each object, its levels from left to right."""
    columns = max((len(row) for row in pictures), default=1)
    sheet = np.full((max(len(pictures), 1) * _TILE_PX, columns * _TILE_PX, 3), 32, dtype=np.uint8)
    for y, row in enumerate(pictures):
        for x, picture in enumerate(row):
            scale = (_TILE_PX - 4) / max(picture.shape[:2])
            size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            sheet[y * _TILE_PX : y * _TILE_PX + size[1], x * _TILE_PX : x * _TILE_PX + size[0]] = small
    write_image(path, sheet)
