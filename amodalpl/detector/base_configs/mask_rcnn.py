"""Mask R-CNN as MMDetection's `mask-rcnn_r50_fpn` has it, explicit to the last number; other models start from it."""

from __future__ import annotations

from typing import Any

from ...settings import DetectorSettings
from .backbones import BACKBONES, Norm, backbone_config, preprocessor


def mask_rcnn(settings: DetectorSettings, class_count: int, norm: Norm) -> dict[str, Any]:
    """Return Mask R-CNN as MMDetection's `mask-rcnn_r50_fpn` has it, with the sizes that settings give.

    Args:
        settings: of the detector.
        class_count: foreground classes.
        norm: of the backbone, see `backbone_config`.
    """
    return {
        "type": "MaskRCNN",
        "data_preprocessor": preprocessor(settings, "DetDataPreprocessor", pad_mask=True),
        "backbone": backbone_config(settings, norm),
        "neck": {
            "type": "FPN",
            "in_channels": list(BACKBONES[settings.backbone].channels),
            "out_channels": settings.channels,
            "num_outs": 5,
        },
        "rpn_head": _rpn_head(settings.channels),
        "roi_head": {
            "type": "StandardRoIHead",
            "bbox_roi_extractor": _roi_extractor(7, settings.channels),
            "bbox_head": _box_head(settings.channels, class_count),
            "mask_roi_extractor": _roi_extractor(14, settings.channels),
            "mask_head": {
                "type": "FCNMaskHead",
                "num_convs": 4,
                "in_channels": settings.channels,
                "conv_out_channels": settings.channels,
                "num_classes": class_count,
                "loss_mask": {"type": "CrossEntropyLoss", "use_mask": True, "loss_weight": 1.0},
            },
        },
        "train_cfg": {
            "rpn": {
                "assigner": _assigner(0.7, 0.3, 0.3),
                "sampler": _sampler(256, 0.5, with_truth=False),
                "allowed_border": -1,
                "pos_weight": -1,
                "debug": False,
            },
            "rpn_proposal": _proposals(2 * settings.rpn_proposals, settings.rpn_proposals),
            "rcnn": {
                "assigner": _assigner(0.5, 0.5, 0.5),
                "sampler": _sampler(settings.roi_samples, 0.25, with_truth=True),
                "mask_size": 28,
                "pos_weight": -1,
                "debug": False,
            },
        },
        "test_cfg": {
            "rpn": _proposals(settings.rpn_proposals, settings.rpn_proposals),
            "rcnn": {
                "score_thr": settings.score_threshold,
                "nms": {"type": "nms", "iou_threshold": 0.5},
                "max_per_img": 100,  # COCO's scores look at 100 detections
                "mask_thr_binary": 0.5,
            },
        },
    }


def _rpn_head(channels: int) -> dict[str, Any]:
    return {
        "type": "RPNHead",
        "in_channels": channels,
        "feat_channels": channels,
        "anchor_generator": {
            "type": "AnchorGenerator",
            "scales": [8],
            "ratios": [0.5, 1.0, 2.0],
            "strides": [4, 8, 16, 32, 64],
        },
        "bbox_coder": _box_coder([1.0, 1.0, 1.0, 1.0]),
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
        "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
    }


def _box_head(channels: int, class_count: int) -> dict[str, Any]:
    return {
        "type": "Shared2FCBBoxHead",
        "in_channels": channels,
        "fc_out_channels": 4 * channels,  # 1024 beside 256 channels
        "roi_feat_size": 7,
        "num_classes": class_count,
        "bbox_coder": _box_coder([0.1, 0.1, 0.2, 0.2]),
        "reg_class_agnostic": False,
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
        "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
    }


def _box_coder(stds: list[float]) -> dict[str, Any]:
    return {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0, 0.0, 0.0, 0.0], "target_stds": stds}


def _roi_extractor(cells: int, channels: int) -> dict[str, Any]:
    return {
        "type": "SingleRoIExtractor",
        "roi_layer": {"type": "RoIAlign", "output_size": cells, "sampling_ratio": 0},
        "out_channels": channels,
        "featmap_strides": [4, 8, 16, 32],
    }


def _assigner(positive_iou: float, negative_iou: float, least_iou: float) -> dict[str, Any]:
    return {
        "type": "IgnoringAssigner",
        "pos_iou_thr": positive_iou,
        "neg_iou_thr": negative_iou,
        "min_pos_iou": least_iou,
        "match_low_quality": True,
        "ignore_iof_thr": -1,
    }


def _sampler(count: int, positive_fraction: float, *, with_truth: bool) -> dict[str, Any]:
    return {
        "type": "RandomSampler",
        "num": count,
        "pos_fraction": positive_fraction,
        "neg_pos_ub": -1,
        "add_gt_as_proposals": with_truth,
    }


def _proposals(before_nms: int, kept: int) -> dict[str, Any]:
    return {
        "nms_pre": before_nms,
        "max_per_img": kept,
        "nms": {"type": "nms", "iou_threshold": 0.7},
        "min_bbox_size": 0,
    }
