"""The only place where MMDetection and mmcv are imported: with operations that work, and without their noise.

Everything else in amodalpl takes their classes from here, so that the operations are there before anybody needs them.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from functools import wraps
from pathlib import Path
from typing import Any

from . import ops

ops.install()
with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
    warnings.simplefilter("ignore")  # on import, mmcv and mmdet warn of deprecations and print what they lack
    import mmdet
    from mmcv.transforms import BaseTransform
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations
    from mmdet.models.data_preprocessors import DetDataPreprocessor
    from mmdet.models.dense_heads.condinst_head import MaskFeatModule
    from mmdet.models.layers import multiclass_nms
    from mmdet.models.roi_heads import StandardRoIHead
    from mmdet.models.roi_heads.mask_heads import FCNMaskHead, MaskIoUHead, fcn_mask_head
    from mmdet.models.task_modules.assigners import MaxIoUAssigner
    from mmdet.models.utils import aligned_bilinear, empty_instances, relative_coordinate_maps
    from mmdet.registry import DATASETS, MODELS, TASK_UTILS, TRANSFORMS
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import bbox2roi
    from mmdet.structures.mask import BitmapMasks, mask_target
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)

CONFIGS = Path(mmdet.__file__).parent / ".mim/configs"
"""The configs that MMDetection's package brings along."""


def _paste_also_outside(paste: Any) -> Any:
    """Let masks be pasted whose boxes lie outside of the photo, where MMDetection fails on a CPU.

    It pastes into the frame around the boxes there, which is empty then. QueryInst's boxes are not cut to the photo.
    """

    @wraps(paste)
    def pasted(masks: Any, boxes: Any, img_h: int, img_w: int, skip_empty: bool = True) -> Any:
        try:
            return paste(masks, boxes, img_h, img_w, skip_empty=skip_empty)
        except RuntimeError:
            if not skip_empty:
                raise
            return paste(masks, boxes, img_h, img_w, skip_empty=False)

    return pasted


fcn_mask_head._do_paste_mask = _paste_also_outside(fcn_mask_head._do_paste_mask)

__all__ = [
    "CONFIGS",
    "DATASETS",
    "MODELS",
    "TASK_UTILS",
    "TRANSFORMS",
    "BaseTransform",
    "BitmapMasks",
    "CocoDataset",
    "DetDataSample",
    "DetDataPreprocessor",
    "FCNMaskHead",
    "LoadAnnotations",
    "MaskFeatModule",
    "MaskIoUHead",
    "MaxIoUAssigner",
    "StandardRoIHead",
    "aligned_bilinear",
    "bbox2roi",
    "empty_instances",
    "fcn_mask_head",
    "mask_target",
    "multiclass_nms",
    "relative_coordinate_maps",
]
