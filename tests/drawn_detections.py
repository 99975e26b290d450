"""Truths and detections that are rectangles in a frame of 128 x 128, as COCO has them; results by arithmetic."""

import numpy as np

from amodalpl.masks import rle

SIZE_HW = (128, 128)


def mask(x, y, w, h, size=SIZE_HW):
    frame = np.zeros(size, dtype=bool)
    frame[y : y + h, x : x + w] = True
    return rle.to_json(rle.encode(frame))


def annotation(identity, box, image=1, category=1, visible=None, **more):
    entry = {
        "id": identity, "image_id": image, "category_id": category, "iscrowd": 0,
        "bbox": list(box), "area": box[2] * box[3], "segmentation": mask(*box), **more,
    }  # fmt: skip
    return entry if visible is None else {**entry, "visible_mask": mask(*visible)}


def detection(box, score, image=1, category=1, visible=None):
    entry = {
        "image_id": image, "category_id": category, "score": score, "bbox": list(box), "segmentation": mask(*box),
    }  # fmt: skip
    return entry if visible is None else {**entry, "visible_mask": mask(*visible)}


def truth(*annotations, images=1):
    height, width = SIZE_HW
    return {
        "images": [{"id": i + 1, "file_name": f"{i}.png", "height": height, "width": width} for i in range(images)],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "plate"}],
        "annotations": list(annotations),
    }
