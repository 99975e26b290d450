"""Photos as their masks were drawn on them, for MMDetection's pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from ..io.images import read_image


class LoadPhoto(BaseTransform):
    """Reads a photo and turns it where its masks fit only the turned one, see `amodalpl.io.images`.

    Takes `img_path`, `height` and `width`; adds `img`, (H, W, 3) uint8 BGR, `img_shape` and `ori_shape`.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read the photo of one entry."""
        image = read_image(Path(results["img_path"]), (results["height"], results["width"]))
        results["img"] = np.ascontiguousarray(image[:, :, ::-1])
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results
