"""Folders of labels, drawn: boxes behind boxes, with every number known."""

import base64
import json

import cv2
import numpy as np

from amodalpl.masks import rle

SIZE_HW = (60, 80)


def box(top, left, bottom, right, size_hw=SIZE_HW):
    mask = np.zeros(size_hw, bool)
    mask[top:bottom, left:right] = True
    return mask


def label(id, image_id=1, growth=1.5, uncertainty=0.2, category_id=1, **notes):
    """A visible square of 20 x 20 pixels, completed to the right."""
    modal = box(20, 10, 40, 30)
    amodal = box(20, 10, 40, 10 + round(20 * growth))
    return {
        "id": id,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": rle.to_json(rle.encode(amodal)),
        "visible_mask": rle.to_json(rle.encode(modal)),
        "amodalpl": {"completer": "asbu", "occluders": [], "uncertainty": uncertainty, "flags": [], **notes},
    }


def write_labels(folder, annotations, file_names=("a.png",), categories=("cup",)):
    """Write a label file over photos numbered from 1; nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    images = [
        {"id": n, "file_name": name, "height": SIZE_HW[0], "width": SIZE_HW[1]} for n, name in enumerate(file_names, 1)
    ]
    classes = [{"id": n, "name": name} for n, name in enumerate(categories, 1)]
    content = {"images": images, "categories": classes, "annotations": annotations}
    (folder / "pseudo_amodal.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_order(folder, pairs, mutual=(), cycles=(), image_id=1):
    entry = {
        "image_id": image_id,
        "pairs": [{"front": front, "back": back, "evidence_px": 9, "score": 1.0} for front, back in pairs],
        "mutual": [list(pair) for pair in mutual],
        "cycles": [list(group) for group in cycles],
    }
    (folder / "order.json").write_text(json.dumps({"rule": "contact", "images": [entry]}), encoding="utf-8")


def write_doubt(folder, ids, box_xywh=(10, 20, 40, 20)):
    grey = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (20, 1))
    png = base64.b64encode(cv2.imencode(".png", grey)[1].tobytes()).decode()
    lines = (json.dumps({"id": i, "box": list(box_xywh), "png": png}) + "\n" for i in ids)
    (folder / "doubt.jsonl").write_text("".join(lines), encoding="utf-8")


def write_photos(folder, file_names=("a.png",)):
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8)
    for name in file_names:
        cv2.imwrite(str(folder / name), noise)
    return folder
