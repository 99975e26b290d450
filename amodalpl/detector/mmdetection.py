"""The only place where MMDetection and mmcv are imported: with operations that work, and without their noise.

Everything else in amodalpl takes their classes from here, so that the operations are there before anybody needs them.
"""

from __future__ import annotations

import contextlib
import io
import warnings

from . import ops

ops.install()
with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
    warnings.simplefilter("ignore")  # on import, mmcv and mmdet warn of deprecations and print what they lack
    from mmcv.cnn import ConvModule
    from mmcv.transforms import BaseTransform
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations
    from mmdet.models.data_preprocessors import DetDataPreprocessor
    from mmdet.models.dense_heads.condinst_head import MaskFeatModule
    from mmdet.models.layers import multiclass_nms
    from mmdet.models.roi_heads import StandardRoIHead
    from mmdet.models.roi_heads.mask_heads import FCNMaskHead
    from mmdet.models.task_modules.assigners import MaxIoUAssigner
    from mmdet.models.utils import aligned_bilinear, empty_instances, relative_coordinate_maps
    from mmdet.registry import DATASETS, MODELS, TASK_UTILS, TRANSFORMS
    from mmdet.structures.bbox import bbox2roi
    from mmdet.structures.mask import BitmapMasks, mask_target
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)

__all__ = [
    "DATASETS",
    "MODELS",
    "TASK_UTILS",
    "TRANSFORMS",
    "BaseTransform",
    "BitmapMasks",
    "CocoDataset",
    "ConvModule",
    "DetDataPreprocessor",
    "FCNMaskHead",
    "LoadAnnotations",
    "MaskFeatModule",
    "MaxIoUAssigner",
    "StandardRoIHead",
    "aligned_bilinear",
    "bbox2roi",
    "empty_instances",
    "mask_target",
    "multiclass_nms",
    "relative_coordinate_maps",
]
