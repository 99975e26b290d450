"""Backbones, and what every model does with its photos and with its backbone."""

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


def preprocessor(settings: DetectorSettings, kind: str, **more: Any) -> dict[str, Any]:
    """Return the config of what brings photos into the form that a backbone takes.

    Args:
        settings: of the detector.
        kind: MMDetection's name of it.
        more: what else it is to be told.
    """
    backbone = BACKBONES[settings.backbone]
    return {
        "type": kind,
        "mean": list(backbone.mean),
        "std": list(backbone.std),
        "bgr_to_rgb": True,
        "pad_size_divisor": 32,
        **more,
    }


def backbone_config(settings: DetectorSettings, norm: Norm) -> dict[str, Any]:
    """Return the config of a backbone.

    Args:
        settings: of the detector.
        norm: "BN" for pretrained backbones: their statistics stay as loaded, and the first stages as settings say.
            "GN" for random starts: normalisation by groups (the statistics of a batch of two photos are too noisy to
            learn from), and all of the backbone learns.
    """
    return {
        **BACKBONES[settings.backbone].config,
        "frozen_stages": -1 if norm == "GN" else settings.frozen_stages,
        "norm_cfg": normalisation(norm),
        "norm_eval": norm == "BN",
        "init_cfg": None,
    }


def normalisation(norm: Norm) -> dict[str, Any]:
    """Return the config of the layers that normalise."""
    return {"type": "GN", "num_groups": 8} if norm == "GN" else {"type": "BN", "requires_grad": True}
