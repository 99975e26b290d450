"""Annotations of any supported format -> the plain COCO files that MMDetection trains on and is scored against.

MMDetection's `CocoDataset` leaves out, without a word, what it cannot use. Nothing of that kind is handed to it: boxes
and areas are computed from the masks, and what is left out here is counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ...data.label_folder import STATS
from ...data.records import AnnotationSet, ImageRecord, Instance, reason_kind
from ...errors import DataError
from ...io.files import read_json
from ...masks import rle
from ...masks.rle import Rle
from ...metrics.detection import LEFT_OUT
from .label_notes import LabelNotes

AGNOSTIC_NAME = "object"
CLASS_UNKNOWN = "category unknown"  # why an object is left out: the labels have no class of its name
ENOUGH_OBJECTS = 20  # of a class, for a short training to tell it from others
SHARE_OF_SUCH = 0.9  # of all objects; below, a label file has a long tail of classes


@dataclass(frozen=True)
class Truth:
    """A COCO dict ready to be written, and what did not get into it.

    Attributes:
        coco: `images`, `categories`, and `annotations` whose `segmentation` is one compressed RLE.
        left_out: reason to number of entries.
    """

    coco: dict[str, Any]
    left_out: dict[str, int]

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels 0, 1, ... inside the network."""
        return tuple(category["name"] for category in self.coco["categories"])

    @property
    def counts(self) -> dict[str, Any]:
        """Images, instances, and what was left out."""
        return {
            "images": len(self.coco["images"]),
            "instances": len(self.coco["annotations"]),
            "left_out": dict(sorted(self.left_out.items())),
        }


def categories(annotations: AnnotationSet, class_agnostic: bool) -> list[dict[str, Any]]:
    """Return COCO categories with unique names, the user's ids, and their order; one `object` when class-agnostic.

    Raises:
        DataError: there are no categories.
    """
    if class_agnostic:
        return [{"id": 1, "name": AGNOSTIC_NAME}]
    if not annotations.category_names:
        raise DataError(
            f"{annotations.path}: categories: expected at least one, got none; "
            "add them or set detector.class_agnostic=true"
        )
    repeated = {name for name, times in Counter(annotations.category_names.values()).items() if times > 1}
    return [
        {"id": identity, "name": f"{name} ({identity})" if name in repeated else name}
        for identity, name in annotations.category_names.items()
    ]


def choose_agnostic(annotations: AnnotationSet) -> tuple[bool, str]:
    """Return whether classes have too few objects to be learnt, and a line that says so.

    Classes are kept where 90 % of the objects are of classes with 20 objects or more; fewer teach a detector where
    objects are, not what they are called.
    """
    objects = Counter(i.category_id for i in annotations.instances if not i.is_crowd)
    large = [count for count in objects.values() if count >= ENOUGH_OBJECTS]
    share = sum(large) / max(sum(objects.values()), 1)
    agnostic = share < SHARE_OF_SUCH
    all_classes = len(annotations.category_names)
    what, other = ("one class, object", "false") if agnostic else (f"{all_classes} classes", "true")
    return agnostic, (
        f"the detector learns {what}: {len(large)} of {all_classes} classes have {ENOUGH_OBJECTS} objects or more, "
        f"{share:.0%} of all objects; --set detector.class_agnostic={other} chooses otherwise"
    )


def to_coco(
    annotations: AnnotationSet,
    wanted: list[dict[str, Any]],
    *,
    images: Collection[int] | None = None,
    amodal_only: bool = False,
    keep_empty: bool = False,
    background: Collection[int] = (),
    with_visible: bool = False,
    needs_visible: bool = False,
    notes: LabelNotes | None = None,
) -> Truth:
    """Convert records to COCO, with a category found by its name.

    Args:
        annotations: any format.
        wanted: categories as `categories` returns them; one named "object" takes every instance.
        images: ids of the photos to keep; None keeps all.
        amodal_only: an object without amodal mask is neither to be found nor wrong to be found (for scoring); else
            its modal mask stands in.
        keep_empty: keep photos without instances (for scoring: a detection there is false).
        background: ids of photos to keep though they have no instances, as `background_photos` returns them.
        with_visible: add `visible_mask` where the whole mask is in `segmentation` (for scoring by occlusion).
        needs_visible: leave objects out whose whole mask has no visible one beside it.
        notes: add what is noted of each label, `uncertainty` and `doubt`.

    Raises:
        DataError: no amodal masks though they are needed.
    """
    if amodal_only and not any(i.amodal for i in annotations.instances):
        raise DataError(
            f"{annotations.path}: expected amodal masks to score against, got {annotations.format} annotations without "
            "any; give COCOA, KINS or D2SA annotations, take a model that predicts visible masks too "
            "(detector.model=orcnn or vrsp), which can be scored, or leave --val out to hold back part of the labels"
        )
    agnostic = [c["name"] for c in wanted] == [AGNOSTIC_NAME]
    id_of = {c["name"]: c["id"] for c in wanted}
    own_names = {c["id"]: c["name"] for c in categories(annotations, False)} if not agnostic else {}
    chosen = [image for image in annotations.images if images is None or image.id in images]
    left_out: Counter[str] = Counter()
    left_out.update(
        reason_kind(entry.reason)
        for entry in annotations.dropped
        if images is None or entry.image_id in (None, *images)
    )
    kept: dict[int, list[dict[str, Any]]] = {image.id: [] for image in chosen}
    for image in chosen:
        for instance in annotations.by_image[image.id]:
            mask = instance.amodal or instance.modal
            category = wanted[0]["id"] if agnostic else id_of.get(own_names.get(instance.category_id, ""))
            if category is None:
                left_out[CLASS_UNKNOWN] += 1
            elif mask is None:
                left_out["no mask"] += 1
            elif rle.area_px(mask) == 0:
                left_out["empty mask"] += 1
            elif needs_visible and instance.modal is None and not instance.is_crowd:
                left_out["no visible mask"] += 1
            else:
                entry = _entry(instance, category, mask)
                entry |= _visible(instance, with_visible) | _noted(instance.id, notes)
                if amodal_only and instance.amodal is None and not instance.is_crowd:
                    left_out["no whole mask"] += 1
                    entry |= {LEFT_OUT: True, "visible_mask": entry["segmentation"]}
                kept[image.id].append(entry)
    used = [i for i in chosen if keep_empty or i.id in background or any(not a["iscrowd"] for a in kept[i.id])]
    if len(used) < len(chosen):
        left_out["image without instances"] += len(chosen) - len(used)
    return Truth(
        {
            "images": [_image_entry(image) for image in used],
            "categories": wanted,
            "annotations": [entry for image in used for entry in kept[image.id]],
        },
        dict(left_out),
    )


def _entry(instance: Instance, category_id: int, mask: Rle) -> dict[str, Any]:
    return {
        "id": instance.id,
        "image_id": instance.image_id,
        "category_id": category_id,
        "segmentation": rle.to_json(mask),
        "bbox": list(rle.box_xywh(mask)),
        "area": rle.area_px(mask),
        "iscrowd": int(instance.is_crowd),
    }


def _visible(instance: Instance, wanted: bool) -> dict[str, Any]:
    if not wanted or instance.amodal is None or instance.modal is None:
        return {}
    return {"visible_mask": rle.to_json(instance.modal)}


def _noted(identity: int, notes: LabelNotes | None) -> dict[str, Any]:
    told = {"uncertainty": notes.uncertainty, "doubt": notes.doubt} if notes else {}
    return {name: of_labels[identity] for name, of_labels in told.items() if identity in of_labels}


def _image_entry(image: ImageRecord) -> dict[str, Any]:
    height, width = image.size_hw
    return {"id": image.id, "file_name": image.file_name, "height": height, "width": width}


def background_photos(annotations: AnnotationSet) -> set[int]:
    """Return the ids of photos in which nothing was annotated.

    Where every annotation of a photo was left out, by the reader or when labels were made (`stats.json` beside them),
    there are objects in it.

    Raises:
        DataError: `stats.json` cannot be read.
    """
    left_out = {entry.image_id for entry in annotations.dropped}
    stats = annotations.path.with_name(STATS)
    if stats.is_file() and annotations.format == "d2sa":
        listed = read_json(stats, "statistics of labels")
        rows = listed.get("left_out") if isinstance(listed, dict) else None
        left_out |= {row.get("image_id") for row in rows or () if isinstance(row, dict)}
    return {i.id for i in annotations.images if not annotations.by_image[i.id] and i.id not in left_out}


def split_images(
    annotations: AnnotationSet, validation_fraction: float, seed: int, background: Collection[int] = ()
) -> tuple[set[int], set[int]]:
    """Divide the photos that have instances into training and validation, by a hash of seed and file name.

    Args:
        annotations: the labels.
        validation_fraction: share of the photos; at least one goes to each side.
        seed: another seed gives another division; adding photos moves few of the others.
        background: photos without instances, which are divided in the same way.

    Raises:
        DataError: fewer than two photos have instances.
    """
    filled = [i for i in annotations.images if any(not a.is_crowd for a in annotations.by_image[i.id])]
    if len(filled) < 2:
        raise DataError(
            f"{annotations.path}: expected at least 2 photos with instances to train on one and score on another, "
            f"got {len(filled)}"
        )
    count = min(max(round(validation_fraction * len(filled)), 1), len(filled) - 1)
    empty = [i for i in annotations.images if i.id in background]
    scored = {
        *_first_by_hash(filled, count, seed),
        *_first_by_hash(empty, round(validation_fraction * len(empty)), seed),
    }
    return {i.id for i in (*filled, *empty)} - scored, scored


def _first_by_hash(images: list[ImageRecord], count: int, seed: int) -> list[int]:
    ranked = sorted(images, key=lambda i: hashlib.sha256(f"{seed}\0{i.file_name}".encode()).digest())
    return [image.id for image in ranked[:count]]
