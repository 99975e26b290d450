"""LVIS v1 (Gupta et al. 2019): COCO's frame without crowds, with photos named by their address.

`neg_category_ids` and `not_exhaustive_category_ids` of a photo, and `frequency`, `synset`, `synonyms` and `def` of a
class stay as they are. A crowd region of another data set becomes what LVIS has for it: its class counts as not
exhaustively annotated in that photo.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from ..io.files import write_json
from . import coco
from .coco_parsing import Fields
from .coco_write import annotation, photo_entry
from .dataset_builder import DrawnOn
from .format_losses import UnsupportedFields, unsupported_fields
from .mask_tracing import rings
from .records import AnnotationSet, LeftOut
from .source import Source

_FIELDS = Fields("coco", "segmentation", None, derived=frozenset({"bbox", "area"}))
_INCOMPLETE = "not_exhaustive_category_ids"
_ABSENT = "neg_category_ids"
_FEW, _SOME = 10, 100  # photos of a rare and of a common class, at most


def detect(source: Source) -> bool:
    """Tell by what LVIS says of its photos: which classes are not exhaustively annotated."""
    photos = source.data.get("images") if isinstance(source.data, dict) else None
    return isinstance(photos, list) and any(isinstance(photo, dict) and _INCOMPLETE in photo for photo in photos)


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a file; see `coco.read`.

    Photos are named by their `coco_url`; `images` is what holds the folders of COCO, or the photos alone.
    """
    return coco.read(path, images, drawn_on, _FIELDS)


def write(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write a file; masks are polygons, those in pixels along the borders of the pixels."""
    losses = unsupported_fields(data, "whole masks (amodal)", "order in depth, pairs")
    sizes = {photo.id: photo.size_hw for photo in data.images}
    incomplete: dict[int, set[int]] = defaultdict(set)
    annotations = []
    for instance in data.instances:
        if instance.is_crowd:
            losses["crowd regions, their classes marked as not exhaustive"] += 1
            incomplete[instance.image_id].add(instance.category_id)
            continue
        if instance.modal_mask is None:
            losses["objects without a visible mask"] += 1
            continue
        try:
            mask = instance.modal_mask.pixels(sizes[instance.image_id])
        except LeftOut:
            losses["objects whose mask covers no pixel of the photo"] += 1
            continue
        entry = annotation(instance, [list(ring) for ring in rings(instance.modal_mask)], mask)
        del entry["iscrowd"]
        annotations.append(entry)
    photos = []
    for photo in data.images:
        entry = photo_entry(photo)
        stated = entry.get(_INCOMPLETE)
        entry[_INCOMPLETE] = sorted(
            {*(c for c in (stated if isinstance(stated, list) else ()) if type(c) is int), *incomplete[photo.id]}
        )
        photos.append({_ABSENT: [], **entry})
    write_json(
        out,
        {**data.raw, "images": photos, "categories": _classes(data, annotations), "annotations": annotations},
    )
    return +losses


def _classes(data: AnnotationSet, annotations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    objects: dict[int, int] = defaultdict(int)
    photos: dict[int, set[int]] = defaultdict(set)
    for entry in annotations:
        objects[entry["category_id"]] += 1
        photos[entry["category_id"]].add(entry["image_id"])
    classes = []
    for category in data.categories:
        image_count = len(photos[category["id"]])
        frequency = "r" if image_count <= _FEW else "c" if image_count <= _SOME else "f"
        classes.append(
            {
                "synonyms": [category["name"]],
                "frequency": frequency,
                **{key: value for key, value in category.items() if key not in ("id", "name")},
                "id": category["id"],
                "name": category["name"],
                "image_count": image_count,
                "instance_count": objects[category["id"]],
            }
        )
    return classes
