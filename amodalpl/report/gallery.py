"""What the page of labels shows: photos as small JPEG, masks as outlines, decisions and order, photo by photo."""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..data.label_folder import LabelFolder, ShownLabel, read_doubts, read_orders
from ..errors import DataError, OutputError
from ..io.files import write_bytes
from ..io.images import encode_image, image_path, read_fitting_image, read_image
from ..masks import boxed, rle
from ..masks.rle import Rle
from ..runtime.progress import SILENT, Progress
from . import draw
from .outline import svg_paths

PICTURES = "report"  # folder beside the page, for photos that it cannot hold
PAGE_BYTES = 20_000_000  # of photos in the page as text; labels, outlines and maps of uncertainty come on top
_SIDES_PX = (1280, 1024, 800, 640, 512)  # of photos in the page, the largest that fits; beside it always the first
_SHARP_PX = 1024  # photos this large are sharp enough; smaller ones must keep half of their side
_QUALITY = 75
_PROBES = 6
_THUMB_PX = 240
GREW_UNMASKED = "unmasked_occluder"  # flag of labels that go on where nothing has a mask
_PICTURE = re.compile(r"\d{5}\.jpg")


@dataclass(frozen=True)
class Gallery:
    """What is shown.

    Attributes:
        data: plain JSON values for the page's script: photos, classes, labels, decisions.
        pictures: per photo its JPEG as base64; empty where it could not be read or lies beside the page.
        thumbs: (h, w, 3) uint8 RGB overlays of the labels that were asked for, by id.
        photos_missing: how many photos could not be read, or are of another size than their masks.
    """

    data: dict[str, Any]
    pictures: list[str]
    thumbs: dict[int, np.ndarray]
    photos_missing: int


def make_gallery(
    folder: LabelFolder,
    images: Path,
    shown: set[int],
    thumbs: Collection[int] = (),
    progress: Progress = SILENT,
) -> Gallery:
    """Draw the gallery, one photo in memory at a time.

    Where all photos together are too large for one page, they are written to `report/` beside it.

    Args:
        folder: the labels.
        images: folder of the photos.
        shown: image ids of the photos to show.
        thumbs: ids of labels on them to draw overlays of, too.
        progress: shown while it works.

    Raises:
        DataError: an entry of `doubt.jsonl` or `order.json` is damaged.
        OutputError: a picture cannot be written.
    """
    by_photo: dict[int, list[ShownLabel]] = defaultdict(list)
    for label in folder.labels:
        if label.image_id in shown:
            by_photo[label.image_id].append(label)
    names = folder.file_names
    in_order = [i for i in names if i in shown]
    orders = read_orders(folder.path, shown)
    maps = read_doubts(folder.path, (e.id for i in in_order for e in by_photo[i]))
    classes = list(dict.fromkeys(e.annotation["category_id"] for i in in_order for e in by_photo[i]))
    side_px = _fitting_side(images, [names[i] for i in in_order])
    beside = None if side_px else _pictures_folder(folder.path)
    here = {e.id for i in in_order for e in by_photo[i]}
    result = Gallery(_page_data(folder, here, classes), [], {}, 0)
    missing = 0
    with progress.task("drawing the report", len(in_order)) as advance:
        for number, image_id in enumerate(in_order):
            labels, file_name = by_photo[image_id], names[image_id]
            size_hw = (int(labels[0].amodal["size"][0]), int(labels[0].amodal["size"][1]))
            photo = read_fitting_image(images, file_name, size_hw)
            missing += photo is None
            entry = {"id": image_id, "name": file_name, "size": size_hw, **_order(orders.get(image_id, {}))}
            result.pictures.append("")
            if photo is not None:
                jpeg = encode_image(_reduced(photo, side_px or _SIDES_PX[0]), ".jpg", _QUALITY)
                if beside is None:
                    result.pictures[-1] = base64.b64encode(jpeg).decode("ascii")
                else:
                    name = f"{number:05d}.jpg"
                    write_bytes(beside / name, jpeg)
                    entry["src"] = f"{PICTURES}/{name}"
            result.data["photos"].append(entry)
            shared = {e.id: shared_part(e, labels) for e in labels}
            result.data["labels"] += [
                _entry(e, number, classes, maps.get(e.id), shared[e.id], masked_part(e, labels)) for e in labels
            ]
            result.thumbs.update(_thumbs([e for e in labels if e.id in thumbs], shared, photo, size_hw))
            advance(1)
    return Gallery(result.data, result.pictures, result.thumbs, missing)


def _page_data(folder: LabelFolder, here: set[int], classes: Sequence[int]) -> dict[str, Any]:
    decisions = folder.review.decisions
    return {
        "sha256": folder.sha256,
        "all": len(folder.overview.labels),
        "classes": [folder.class_names.get(c, str(c)) for c in classes],
        "photos": [],
        "labels": [],
        "decisions": {str(d.id): d.decision for d in decisions if d.id in here},
        "elsewhere": [{**d.to_json(), "id": str(d.id)} for d in decisions if d.id not in here],
    }


def shared_part(label: ShownLabel, on_photo: Sequence[ShownLabel]) -> Rle | None:
    """Return the hidden pixels that were drawn, belong to other masks, and were not completed.

    A label to which nothing was added has no others; else label files have the mask that was drawn. Those of earlier
    versions have none: a label was completed behind what is in front of it, so what other masks own is theirs, and
    drawn pixels behind an occluder count as completed.

    Args:
        label: one of the photo's.
        on_photo: all labels of the photo.

    Returns:
        Of the frame of the photo; None where there are no such pixels.
    """
    hidden_px = label.area_px - rle.intersection_px(label.amodal, label.modal)
    if hidden_px <= label.added_px:
        return None
    if not label.added_px:
        return label.amodal
    if label.drawn is not None:
        return label.drawn
    in_front = set(label.occluders)
    owners = [other.modal for other in on_photo if other.id != label.id and other.id not in in_front]
    (shared_px,) = rle.intersections_px([label.amodal], owners)
    touching = [owner for owner, px in zip(owners, shared_px, strict=True) if px]
    return rle.union(touching[0], *touching[1:]) if touching else None


def masked_part(label: ShownLabel, on_photo: Sequence[ShownLabel]) -> Rle | None:
    """Return the pixels of all other masks, for a label that goes on where no mask is; None for others.

    Args:
        label: one of the photo's.
        on_photo: all labels of the photo.
    """
    if GREW_UNMASKED not in label.flags:
        return None
    nothing = rle.encode(np.zeros(label.modal["size"], dtype=bool))
    return rle.union(nothing, *(other.modal for other in on_photo if other.id != label.id))


def _entry(
    label: ShownLabel,
    photo: int,
    classes: Sequence[int],
    uncertain: Mapping[str, Any] | None,
    shared: Rle | None,
    masked: Rle | None,
) -> dict[str, Any]:
    """Return one label for the page's script; lengths are pixels of the photo, outlines half pixels."""
    shared_px = label.area_px - rle.area_px(label.modal) - label.added_px
    return {
        "id": str(label.id),
        "photo": photo,
        "class": classes.index(label.annotation["category_id"]),
        "box": rle.box_xywh(rle.union(label.modal, label.amodal)),
        "uncertainty": round(label.uncertainty, 4),
        "ordinary": label.plausibility,
        "growth": round(label.growth, 4),
        "rate": round(label.occlusion_rate, 4),
        "owned": round(max(0, shared_px) / max(1, label.area_px), 4),
        "flags": label.flags,
        "behind": [*map(str, label.occluders)],
        "fingerprint": label.fingerprint,
        **svg_paths(label.modal, label.amodal, shared, masked),
        **({"map": uncertain} if uncertain else {}),
    }


def _order(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pairs": [[str(p["front"]), str(p["back"])] for p in entry.get("pairs", ())],
        "mutual": [[*map(str, pair)] for pair in entry.get("mutual", ())],
        "cycles": [[*map(str, group)] for group in entry.get("cycles", ())],
    }


def _reduced(photo: np.ndarray, side_px: int) -> np.ndarray:
    scale = side_px / max(photo.shape[:2])
    if scale >= 1:
        return photo
    size_wh = max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale))
    return cv2.resize(photo, size_wh, interpolation=cv2.INTER_AREA)


def _fitting_side(images: Path, file_names: Sequence[str]) -> int | None:
    """Return the largest side at which all photos fit into the page, judged by a few of them.

    None where none does, or where they would be too small to judge masks by.
    """
    probes, longest = [], 0
    for file_name in file_names[:: max(1, len(file_names) // _PROBES)]:
        try:
            photo = read_image(image_path(images, file_name))
        except DataError:
            continue  # counted when it is drawn
        longest = max(longest, *photo.shape[:2])
        probes.append(_reduced(photo, _SIDES_PX[0]))
    for side_px in _SIDES_PX:
        if side_px < min(_SHARP_PX, longest / 2):
            return None
        sizes = [len(encode_image(_reduced(photo, side_px), ".jpg", _QUALITY)) for photo in probes]
        size = sum(sizes) / max(1, len(probes))
        if size * len(file_names) * 4 / 3 <= PAGE_BYTES:
            return side_px
    return None


def _pictures_folder(folder: Path) -> Path:
    """Make the folder beside the page; pictures of an earlier report go."""
    beside = folder / PICTURES
    try:
        beside.mkdir(exist_ok=True)
        for old in beside.iterdir():
            if _PICTURE.fullmatch(old.name):
                old.unlink()
    except OSError as error:
        raise OutputError(f"{beside}: expected a folder for pictures ({error.strerror})") from None
    return beside


def _thumbs(
    labels: Sequence[ShownLabel],
    shared: Mapping[int, Rle | None],
    photo: np.ndarray | None,
    size_hw: tuple[int, int],
) -> dict[int, np.ndarray]:
    ground = np.full((*size_hw, 3), 96, dtype=np.uint8) if photo is None else photo
    thumbs = {}
    for label in labels:
        others = shared[label.id]
        masks = [boxed.decode(mask) for mask in (label.modal, label.amodal, *([others] if others else []))]
        thumbs[label.id] = draw.close_up(ground, masks[0], masks[1], _THUMB_PX, shared=masks[2] if others else None)
    return thumbs
