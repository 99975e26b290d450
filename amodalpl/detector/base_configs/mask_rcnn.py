"""Mask R-CNN as MMDetection's `mask-rcnn_r50_fpn` has it, explicit to the last number; other models start from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ...settings import DetectorSettings

Norm = Literal["BN", "GN"]


@dataclass(frozen=True)
class Backbone:
    """What MMDetection needs to be told of a backbone.

    Attributes:
        config: of the module, without frozen stages and start weights.
        channels: of its four levels, at strides 4, 8, 16, 32.
        mean: of the pixels in RGB order.
        std: of the pixels in RGB order.
    """

    config: dict[str, Any]
    channels: tuple[int, int, int, int]
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)  # ImageNet's, as torchvision's weights expect
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)


BACKBONES = {
    "resnet50": Backbone(
        {"type": "ResNet", "depth": 50, "num_stages": 4, "out_indices": (0, 1, 2, 3), "style": "pytorch"},
        channels=(256, 512, 1024, 2048),
    ),
    "mobilenet_v2": Backbone(
        {"type": "MobileNetV2", "widen_factor": 1.0, "out_indices": (1, 2, 4, 7)},
        channels=(24, 32, 96, 1280),
        mean=(127.5, 127.5, 127.5),  # MobileNetV2 weights are trained on -1..1
        std=(127.5, 127.5, 127.5),
    ),
    "resnet18_small": Backbone(
        {
            "type": "ResNet",
            "depth": 18,
            "base_channels": 16,
            "stem_channels": 16,
            "num_stages": 4,
            "out_indices": (0, 1, 2, 3),
            "style": "pytorch",
        },
        channels=(16, 32, 64, 128),
    ),
}


def mask_rcnn(settings: DetectorSettings, class_count: int, norm: Norm) -> dict[str, Any]:
    """Return Mask R-CNN as MMDetection's `mask-rcnn_r50_fpn` has it, with the sizes that settings give.

    Args:
        settings: of the detector.
        class_count: foreground classes.
        norm: "BN" for pretrained backbones: their statistics stay as loaded, and the first stages as settings say.
            "GN" for random starts: normalisation by groups (the statistics of a batch of two photos are too noisy to
            learn from), and all of the backbone learns.
    """
    backbone = BACKBONES[settings.backbone]
    channels = settings.channels
    normalisation = {"type": "GN", "num_groups": 8} if norm == "GN" else {"type": "BN", "requires_grad": True}
    return {
        "type": "MaskRCNN",
        "data_preprocessor": {
            "type": "DetDataPreprocessor",
            "mean": list(backbone.mean),
            "std": list(backbone.std),
            "bgr_to_rgb": True,
            "pad_mask": True,
            "pad_size_divisor": 32,
        },
        "backbone": {
            **backbone.config,
            "frozen_stages": -1 if norm == "GN" else settings.frozen_stages,
            "norm_cfg": normalisation,
            "norm_eval": norm == "BN",
            "init_cfg": None,
        },
        "neck": {
            "type": "FPN",
            "in_channels": list(backbone.channels),
            "out_channels": channels,
            "num_outs": 5,
        },
        "rpn_head": {
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
        },
        "roi_head": {
            "type": "StandardRoIHead",
            "bbox_roi_extractor": _roi_extractor(7, channels),
            "bbox_head": {
                "type": "Shared2FCBBoxHead",
                "in_channels": channels,
                "fc_out_channels": 4 * channels,  # 1024 beside 256 channels
                "roi_feat_size": 7,
                "num_classes": class_count,
                "bbox_coder": _box_coder([0.1, 0.1, 0.2, 0.2]),
                "reg_class_agnostic": False,
                "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
                "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
            },
            "mask_roi_extractor": _roi_extractor(14, channels),
            "mask_head": {
                "type": "FCNMaskHead",
                "num_convs": 4,
                "in_channels": channels,
                "conv_out_channels": channels,
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
