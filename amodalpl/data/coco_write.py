"""What writers of COCO's frame share: photos, classes, and objects that have both masks.

Polygons and RLE are written as they were drawn; boxes, areas and hidden shares are computed from the masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..io.files import write_json
from ..masks import boxed, rle
from ..masks.rle import Rle
from .format_losses import UnsupportedFields
from .records import AnnotationSet, ImageRecord, Instance, LeftOut, Mask


def write_frame(data: AnnotationSet, out: Path, annotations: list[dict[str, Any]]) -> None:
    """Write a file in COCO's frame; of the annotations, `annotation` is the common part."""
    write_json(
        out,
        {
            **data.raw,
            "images": [photo_entry(photo) for photo in data.images],
            "categories": classes(data),
            "annotations": annotations,
        },
    )


def classes(data: AnnotationSet) -> list[dict[str, Any]]:
    """Return the categories as COCO has them."""
    return [{"id": entry["id"], "name": entry["name"], **entry} for entry in data.categories]


def segmentation(mask: Mask) -> Any:
    """Return a mask as COCO spells it: lists of coordinates, or compressed RLE."""
    return [list(ring) for ring in mask.polygons] if mask.rle is None else rle.to_json(mask.rle)


def photo_entry(photo: ImageRecord) -> dict[str, Any]:
    """Return a photo as COCO has it."""
    height, width = photo.size_hw
    return {"id": photo.id, "file_name": photo.file_name, "height": height, "width": width, **photo.extra}


@dataclass(frozen=True)
class MaskPair:
    """The two masks of one object, as drawn and in pixels; of a crowd region both are the region."""

    instance: Instance
    modal: Mask
    amodal: Mask
    modal_px: Rle
    amodal_px: Rle

    @cached_property
    def hidden_px(self) -> int:
        """Pixels of the whole mask that are not visible."""
        return rle.area_px(self.amodal_px) - rle.intersection_px(self.modal_px, self.amodal_px)

    @property
    def occlude_rate(self) -> float:
        """Hidden share of the whole mask, 0 to 1, as COCOA and D2SA have it."""
        return self.hidden_px / rle.area_px(self.amodal_px)

    @property
    def hidden(self) -> Rle:
        """Whole minus visible."""
        return boxed.decode(self.amodal_px).without(boxed.decode(self.modal_px)).encode()


def pairs(data: AnnotationSet, losses: UnsupportedFields) -> Iterator[MaskPair]:
    """Yield what has both masks; what has not is counted in `losses`.

    Raises:
        DataError: no object has a whole mask, so that there is nothing such a format is for.
    """
    if not any(instance.amodal_mask for instance in data.instances):
        raise DataError(
            f"nothing to write: expected objects with whole (amodal) masks, found none among {len(data.instances)}; "
            "label them with `amodalpl pseudolabel` first, or write --to coco"
        )
    sizes = {photo.id: photo.size_hw for photo in data.images}
    for instance in data.instances:
        amodal = instance.modal_mask if instance.is_crowd else instance.amodal_mask
        if instance.modal_mask is None or amodal is None:
            losses[f"objects without a {'visible' if instance.modal_mask is None else 'whole'} mask"] += 1
            continue
        size_hw = sizes[instance.image_id]
        try:
            modal_px = instance.modal_mask.pixels(size_hw)
            amodal_px = modal_px if amodal == instance.modal_mask else amodal.pixels(size_hw)
        except LeftOut:
            losses["objects whose mask covers no pixel of the photo"] += 1
            continue
        yield MaskPair(instance, instance.modal_mask, amodal, modal_px, amodal_px)


def annotation(instance: Instance, segmentation: Any, mask: Rle) -> dict[str, Any]:
    """Return the keys that all formats of COCO's frame share.

    Args:
        instance: the object.
        segmentation: as COCO spells masks.
        mask: the same in pixels, for `bbox` and `area`.
    """
    return {
        **{key: value for key, value in instance.extra.items() if key not in ("bbox", "area")},
        "id": instance.id,
        "image_id": instance.image_id,
        "category_id": instance.category_id,
        "segmentation": segmentation,
        "bbox": list(rle.box_xywh(mask)),
        "area": rle.area_px(mask),
        "iscrowd": int(instance.is_crowd),
        **({} if instance.score is None else {"score": instance.score}),
        **({} if instance.group is None else {"group": instance.group}),
        **({"isStuff": 1} if instance.is_stuff else {}),
    }


def write_pairs(
    data: AnnotationSet, out: Path, entry: Callable[[MaskPair], dict[str, Any]], losses: UnsupportedFields
) -> UnsupportedFields:
    """Write all objects that have both masks, each as `entry` spells it.

    Returns:
        `losses` with what was left out added.
    """
    write_frame(data, out, [entry(pair) for pair in pairs(data, losses)])
    return +losses
