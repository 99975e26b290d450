"""What the cases work on, out of drawn scenes: a bank of cut-outs, a briefly trained completer, a large COCO file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from amodalpl import drawn_scenes
from amodalpl.models.completer import build_completer
from amodalpl.pipeline.complete import complete
from amodalpl.pipeline.synth import BANK, synth
from amodalpl.runtime.progress import SILENT
from amodalpl.settings import PipelineSettings
from amodalpl.settings_values import resolve

SEED = 1
SCENES_REPEATED = 40  # photos of the large file before they repeat
PHOTO_HW = (480, 640)  # a photo of COCO
_COARSENED_PX = 0.7  # of an outline, for about as many points as COCO's have
_ENLARGED = 4  # drawn at a quarter of that, which is enough for an outline


def draw_photos(folder: Path, count: int) -> drawn_scenes.SceneFiles:
    """Write drawn photos with modal masks."""
    return drawn_scenes.write_scenes(folder, count, SEED, (240, 320))


def build_bank(folder: Path, photos: drawn_scenes.SceneFiles, with_image: bool) -> tuple[Path, PipelineSettings]:
    """Run `synth` on drawn photos; returns the folder of the bank and the settings, which are the defaults."""
    settings = resolve({"seed": SEED, "synthesis": {"with_image": with_image, "holdout_scenes": 1}})
    synth(photos.annotations, photos.images, folder, settings)
    return folder / BANK, settings


def train_briefly(folder: Path, photos: drawn_scenes.SceneFiles, method: str, steps: int, patch_px: int = 64) -> Path:
    """Train a completer until its answers are no longer noise, on small patches, and return its folder.

    The network is of full size; what matters for speed is that masks grow about as they would in use.
    """
    prepared = folder / "synth"
    synth(photos.annotations, photos.images, prepared, resolve({"seed": SEED, "synthesis": {"holdout_scenes": 1}}))
    values = {
        "completer": {"method": method},
        "synthesis": {"patch_px": patch_px},
        "training": {
            "steps": steps,
            "batch_size": 8,
            "workers": 0,
            "optimizer": "adamw",
            "learning_rate": 0.002,
            "schedule": "one-cycle",
            "validate_every": steps,
            "checkpoint_every": steps,
        },
    }
    complete(prepared, folder / "completer", values, progress=SILENT)
    return folder / "completer"


def fresh_completer(settings: PipelineSettings, device: torch.device) -> Any:
    """Return an untrained completer of the settings."""
    torch.manual_seed(SEED)
    wanted = settings.completer
    return build_completer(wanted.method, wanted.width, wanted.image, wanted.init_gain).to(device)


def scene_of_eight() -> tuple[np.ndarray, np.ndarray]:
    """Draw a photo-sized scene with exactly 8 instances.

    Returns:
        masks: (8, H, W) bool, disjoint visible parts.
        image: (H, W, 3) uint8 RGB.
    """
    for number in range(1000):
        scene = drawn_scenes.draw_scene(np.random.default_rng([SEED, number]), _small_hw(), objects=(9, 11))
        seen = scene.modal[scene.modal.any(axis=(1, 2))]
        if len(seen) >= 8:
            return _enlarge(seen[:8], axes=(1, 2)), _enlarge(scene.image, axes=(0, 1))
    raise RuntimeError("drawn scenes no longer reach 8 instances")


def write_large_file(folder: Path, instances: int) -> tuple[Path, Path]:
    """Write a COCO file of polygons as large as asked for, and its photos.

    The outlines of a few drawn scenes are repeated, each time moved a little, so that neighbours overlap by a rim as
    they do in COCO, whose figures are aimed at: about 8 instances per photo and half a kilobyte per instance. Photos
    are hard links to a few files: a check reads each of them whole, by its own name.

    Returns:
        The annotation file and the folder of photos.
    """
    images = folder / "images"
    images.mkdir(parents=True)
    drawn = [_outlines(number) for number in range(SCENES_REPEATED)]
    sources = []
    for number in range(SCENES_REPEATED):
        scene = drawn_scenes.draw_scene(np.random.default_rng([SEED, number]), _small_hw(), objects=(9, 11))
        sources.append(folder / f"{number}.jpg")
        sources[-1].write_bytes(cv2.imencode(".jpg", _enlarge(scene.image, axes=(0, 1))[:, :, ::-1])[1].tobytes())
    rng = np.random.default_rng(SEED)
    entries: list[dict[str, Any]] = []
    written = 0
    file = folder / "instances.json"
    with file.open("w", encoding="utf-8") as handle:
        handle.write(f'{{"categories":{json.dumps(drawn_scenes.CATEGORIES)},"annotations":[')
        while written < instances:
            number = len(entries)
            name = f"{number + 1:07d}.jpg"
            os.link(sources[number % SCENES_REPEATED], images / name)
            entries.append({"id": number + 1, "file_name": name, "height": PHOTO_HW[0], "width": PHOTO_HW[1]})
            for outline in drawn[number % SCENES_REPEATED][: instances - written]:
                moved = np.clip(outline + rng.uniform(-2, 2, 2), 0, PHOTO_HW[::-1]).reshape(-1)
                polygon = ",".join(f"{value:.2f}" for value in moved.tolist())
                handle.write(
                    f'{"," if written else ""}{{"id":{written + 1},"image_id":{number + 1},"category_id":1,'
                    f'"iscrowd":0,"area":1.0,"bbox":[0,0,1,1],"segmentation":[[{polygon}]]}}'
                )
                written += 1
        handle.write(f'],"images":{json.dumps(entries)}}}')
    return file, images


def write_large_photos(
    folder: Path, photos: int, objects: int, size_hw: tuple[int, int], objects_of_others: int
) -> tuple[Path, Path]:
    """Write photos with outlines in rows, each over the rim of the next; they are hard links to one noisy photo.

    Args:
        folder: for the file and the photos.
        photos: how many, the first of which has `objects`.
        objects: of the first photo.
        size_hw: of each photo.
        objects_of_others: how many of these the other photos have.

    Returns:
        The annotation file and the folder of photos.
    """
    images = folder / "images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(SEED)
    height, width = size_hw
    noise = cv2.resize(rng.integers(40, 200, (40, 60, 3)).astype(np.uint8), (width, height))
    (folder / "photo.jpg").write_bytes(cv2.imencode(".jpg", noise)[1].tobytes())
    columns = round((objects * width / height) ** 0.5)
    step = np.array([width / columns, height / (-(-objects // columns))])
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    outlines = []
    for number in range(objects):
        radius = 0.45 * step.max() * (1 + 0.2 * np.sin(3 * angle + rng.uniform(0, 6)))
        middle = step * (np.array([number % columns, number // columns]) + 0.5)
        outline = middle + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        outlines.append(np.clip(outline, 0, (width, height)).round(2).reshape(-1).tolist())
    content: dict[str, Any] = {"categories": drawn_scenes.CATEGORIES, "images": [], "annotations": []}
    for number in range(1, photos + 1):
        os.link(folder / "photo.jpg", images / f"{number}.jpg")
        content["images"].append({"id": number, "file_name": f"{number}.jpg", "height": height, "width": width})
        for outline in outlines if number == 1 else outlines[:objects_of_others]:
            entry = {"image_id": number, "category_id": 1, "iscrowd": 0, "segmentation": [outline]}
            content["annotations"].append({"id": len(content["annotations"]) + 1, **entry})
    (folder / "instances.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "instances.json", images


def _outlines(number: int) -> list[np.ndarray]:
    """Return the (P, 2) float outline of each object of a scene, in photo pixels."""
    scene = drawn_scenes.draw_scene(np.random.default_rng([SEED, number]), _small_hw(), objects=(9, 11))
    outlines = []
    for mask in scene.modal:
        parts = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        if parts:
            longest = cv2.approxPolyDP(max(parts, key=len), _COARSENED_PX, closed=True)
            if len(longest) >= 3:
                outlines.append((longest.reshape(-1, 2) + 0.5) * _ENLARGED)
    return outlines


def _small_hw() -> tuple[int, int]:
    return PHOTO_HW[0] // _ENLARGED, PHOTO_HW[1] // _ENLARGED


def _enlarge(array: np.ndarray, axes: tuple[int, int]) -> np.ndarray:
    for axis in axes:
        array = np.repeat(array, _ENLARGED, axis=axis)
    return np.ascontiguousarray(array)
