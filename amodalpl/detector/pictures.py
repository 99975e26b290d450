"""Pictures of a trained detector: its loss curves, and what it finds beside the truth."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..io.files import write_whole
from ..io.images import image_path, read_image
from ..masks import rle

_TILE_PX = 320  # width of one photo in the contact sheet
_GAP_PX = 6
_MARGIN = ((_GAP_PX, _GAP_PX), (_GAP_PX, _GAP_PX), (0, 0))
_WHITE = (255, 255, 255)


def write_curves(path: Path, curve: Sequence[Mapping[str, float]]) -> None:
    """Draw every loss against the steps, on a logarithmic scale.

    Args:
        path: of the PNG.
        curve: one entry per logging interval: `step` and losses by name.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    steps = [entry["step"] for entry in curve]
    for name in sorted({key for entry in curve for key in entry if key.startswith("loss")}):
        axes.plot(
            steps, [max(entry.get(name, np.nan), 1e-6) for entry in curve], label=name, lw=2 if name == "loss" else 1
        )
    axes.set(xlabel="step", ylabel="loss", yscale="log", title="detector training")
    axes.grid(alpha=0.3)
    if curve:
        axes.legend(loc="upper right")  # losses fall; looking for the best place warns on a busy machine
    write_whole(path, lambda part: figure.savefig(part))


def write_contact_sheet(
    path: Path,
    images: Path,
    truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    photos: int = 8,
    least_score: float = 0.3,
) -> None:
    """Draw photos in pairs: truth on the left, detections on the right.

    Args:
        path: of the PNG.
        images: folder.
        truth: COCO dict with RLE masks.
        detections: COCO results with RLE masks.
        photos: how many; those with most objects come first.
        least_score: detections below it are not drawn.
    """
    names = {c["id"]: c["name"] for c in truth["categories"]}
    objects: dict[int, list[Mapping[str, Any]]] = {}
    for annotation in truth["annotations"]:
        if not annotation.get("iscrowd"):
            objects.setdefault(annotation["image_id"], []).append(annotation)
    found: dict[int, list[Mapping[str, Any]]] = {}
    for detection in detections:
        if detection["score"] >= least_score:
            found.setdefault(detection["image_id"], []).append(detection)
    chosen = sorted(truth["images"], key=lambda i: (-len(objects.get(i["id"], ())), i["id"]))[:photos]
    rows = []
    for image in chosen:
        size_hw = image["height"], image["width"]
        photo = np.ascontiguousarray(read_image(image_path(images, image["file_name"]), size_hw)[:, :, ::-1])  # BGR
        true, seen = objects.get(image["id"], []), found.get(image["id"], [])
        pair = (
            _drawn(photo, true, [names[a["category_id"]] for a in true]),
            _drawn(photo, seen, [f"{names[d['category_id']]} {d['score']:.2f}" for d in seen]),
        )
        rows.append(np.hstack([np.pad(tile, _MARGIN, constant_values=255) for tile in pair]))
    if rows:
        heading = np.full((30, rows[0].shape[1], 3), 255, np.uint8)
        for text, x in (("truth", _GAP_PX), (f"detected, score >= {least_score}", _TILE_PX + 3 * _GAP_PX)):
            cv2.putText(heading, text, (x, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
        sheet = np.vstack([heading, *rows])
        write_whole(path, lambda part: cv2.imwrite(str(part), sheet))


def _drawn(photo: np.ndarray, instances: Sequence[Mapping[str, Any]], captions: Sequence[str]) -> np.ndarray:
    """Return a tile of the photo with masks tinted, outlined and named, largest first."""
    height = max(round(photo.shape[0] * _TILE_PX / photo.shape[1]), 1)
    tile = cv2.resize(photo, (_TILE_PX, height), interpolation=cv2.INTER_AREA)
    order = sorted(range(len(instances)), key=lambda i: -rle.area_px(_rle(instances[i])))
    for rank, index in enumerate(order):
        red, green, blue = colorsys.hsv_to_rgb((rank * 0.618) % 1, 0.85, 1.0)
        colour = (int(255 * blue), int(255 * green), int(255 * red))
        mask = cv2.resize(rle.decode(_rle(instances[index])).view(np.uint8), (_TILE_PX, height), interpolation=0)
        inside = mask.view(bool)
        tile[inside] = (0.6 * tile[inside] + 0.4 * np.array(colour)).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(tile, outlines, -1, colour, 1, cv2.LINE_AA)
        if outlines:
            x, y, _, _ = cv2.boundingRect(np.concatenate(outlines))
            for thickness, ink in ((3, (0, 0, 0)), (1, _WHITE)):
                cv2.putText(
                    tile, captions[index], (x + 2, y + 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, ink, thickness, cv2.LINE_AA
                )
    return tile


def _rle(instance: Mapping[str, Any]) -> Any:
    mask = instance["segmentation"]
    counts = mask["counts"]
    return {"size": mask["size"], "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
