"""FCOS with masks of their own weights for each object, as MMDetection's `boxinst_r50_fpn` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...settings import BoxInstSettings, DetectorSettings
from .backbones import BACKBONES, Norm, backbone_config, normalisation, preprocessor

MASK_STRIDE = 4
"""Pixels of a cell of the masks; their features have twice that."""
START_SIDE = 1.0
"""How far, in strides, each side of a box is at the start of training.

Distances below 0 are cut. A side that random weights make negative everywhere has no gradient, and is never learnt.
"""


def layer_sizes(settings: BoxInstSettings, extra_inputs: int = 0) -> list[tuple[int, int]]:
    """Return inputs and outputs of the 1 x 1 convolutions of a mask head.

    Args:
        settings: of the mask heads.
        extra_inputs: channels beside the features and the two relative coordinates.
    """
    inner = settings.inner_channels
    return [(settings.features + 2 + extra_inputs, inner), (inner, inner), (inner, 1)]


def weight_count(heads: Sequence[Sequence[tuple[int, int]]]) -> int:
    """Return how many numbers the controller predicts for an object: weights and biases of all layers of all heads.

    >>> weight_count([[(18, 8), (8, 8), (8, 1)]])
    233
    """
    return sum(inputs * outputs + outputs for layers in heads for inputs, outputs in layers)


def fcos(
    settings: DetectorSettings, class_count: int, norm: Norm, *, heads: Sequence[Sequence[tuple[int, int]]]
) -> dict[str, Any]:
    """Return the config of FCOS with a controller; `type` and losses of `mask_head` are the model's own.

    Args:
        settings: of the detector.
        class_count: foreground classes.
        norm: of the backbone and the mask features, see `backbone_config`.
        heads: layers of the mask heads, see `layer_sizes`.
    """
    channels, masks = settings.channels, settings.boxinst
    groups = {"type": "GN", "num_groups": channels // 8}  # 32 of 256 channels, as in FCOS
    return {
        "type": "BoxInst",
        "data_preprocessor": preprocessor(
            settings,
            "BoxPreprocessor",
            stride=MASK_STRIDE,
            distance=masks.distance,
            threshold=masks.colour_threshold,
            regress="whole",
        ),
        "backbone": backbone_config(settings, norm),
        "neck": {
            "type": "FPN",
            "in_channels": list(BACKBONES[settings.backbone].channels),
            "out_channels": channels,
            "start_level": 1,
            "add_extra_convs": "on_output",
            "num_outs": 5,
            "relu_before_extra_convs": True,
        },
        "bbox_head": _box_head(channels, class_count, heads, groups),
        "mask_head": {
            "features": {
                "in_channels": channels,
                "feat_channels": channels // 2,  # 128 beside 256 channels
                "start_level": 0,
                "end_level": 2,
                "out_channels": masks.features,
                "mask_stride": 2 * MASK_STRIDE,
                "num_stacked_convs": 4,
                "norm_cfg": groups if norm == "GN" else normalisation(norm),
            },
            "heads": [[list(layer) for layer in layers] for layers in heads],
            "distance": masks.distance,
            "warm_up_steps": round(masks.warm_up * settings.steps),
            "fill_steps": round(masks.filled_start * settings.steps),
            "masks_per_photo": masks.masks_per_photo,
        },
        "test_cfg": {
            "nms_pre": 1000,
            "min_bbox_size": 0,
            "score_thr": settings.score_threshold,
            "nms": {"type": "nms", "iou_threshold": 0.6},
            "max_per_img": 100,  # COCO's scores look at 100 detections
            "mask_thr": 0.5,
        },
    }


def _box_head(
    channels: int, class_count: int, heads: Sequence[Sequence[tuple[int, int]]], groups: dict[str, Any]
) -> dict[str, Any]:
    return {
        "type": "BoxInstBboxHead",
        "num_params": weight_count(heads),
        "num_classes": class_count,
        "in_channels": channels,
        "stacked_convs": 4,
        "feat_channels": channels,
        "strides": [8, 16, 32, 64, 128],
        "norm_on_bbox": True,
        "centerness_on_reg": True,
        "dcn_on_last_conv": False,
        "center_sampling": True,
        "conv_bias": True,
        "norm_cfg": groups,
        "init_cfg": {
            "type": "Normal",
            "layer": "Conv2d",
            "std": 0.01,
            "override": [
                {"type": "Normal", "name": "conv_cls", "std": 0.01, "bias_prob": 0.01},  # both as MMDetection's FCOS
                {"type": "Normal", "name": "conv_reg", "std": 0.01, "bias": START_SIDE},
            ],
        },
        "loss_cls": {"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "loss_weight": 1.0},
        "loss_bbox": {"type": "GIoULoss", "loss_weight": 1.0},
        "loss_centerness": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
    }
