"""Photos and masks as MMDetection's pipelines take them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...io.images import read_image
from ..mmdetection import TRANSFORMS, BaseTransform, LoadAnnotations
from .paired_masks import DOUBT, UNCERTAINTY, VISIBLE, PairedMasks


@TRANSFORMS.register_module()
class LoadPhoto(BaseTransform):
    """Reads a photo and turns it where its masks fit only the turned one, see `amodalpl.io.images`.

    Takes `img_path`, and `height` and `width` where they are known; adds `img`, (H, W, 3) uint8 BGR, `img_shape` and
    `ori_shape`.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read the photo of one entry."""
        size_hw = (results["height"], results["width"]) if "height" in results else None
        image = read_image(Path(results["img_path"]), size_hw)
        results["img"] = np.ascontiguousarray(image[:, :, ::-1])
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadPairedMasks(LoadAnnotations):
    """MMDetection's `LoadAnnotations`, with `gt_masks` that have companions, see `PairedMasks`.

    The visible part of an instance is its `visible_mask`, cut to the whole mask; the whole mask where there is none.
    Its doubt is its map `doubt` and its `uncertainty`; where there is none, it is sure.
    """

    def _load_masks(self, results: dict[str, Any]) -> None:
        super()._load_masks(results)
        whole, instances = results["gt_masks"].masks, results.get("instances", [])
        height, width = results["ori_shape"]
        visible, doubt = whole.copy(), np.zeros_like(whole)
        for index, instance in enumerate(instances):
            if "visible_mask" in instance:
                visible[index] &= self._poly2mask(instance["visible_mask"], height, width)
            if "doubt" in instance:
                _paint(doubt[index], instance["doubt"])
        uncertainty = np.array([instance.get("uncertainty", 0.0) for instance in instances], dtype=np.float32)
        results["gt_masks"] = PairedMasks(
            whole, height, width, {VISIBLE: visible, DOUBT: doubt}, {UNCERTAINTY: uncertainty}
        )


def _paint(levels: np.ndarray, doubt: dict[str, Any]) -> None:
    """Put a small map, as `doubt.jsonl` has it (`docs/formats.md`), into the frame of the photo."""
    x, y, width, height = doubt["box"]
    small: Any = cv2.imdecode(np.frombuffer(base64.b64decode(doubt["png"]), np.uint8), cv2.IMREAD_GRAYSCALE)
    window = levels[y : y + height, x : x + width]
    window[:] = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)[: window.shape[0], : window.shape[1]]
