"""Settings -> one flat MMDetection config, explicit to the last number, with which mmdet users can go on by hand.

It is written to each output folder and names stock types of MMDetection only: `python tools/train.py mmdet_config.py`
trains the same network, where mmcv has its compiled operations (or after `amodalpl.detector.ops.install()`).
"""

from __future__ import annotations

import pprint
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..settings import DetectorSettings

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


def model_config(settings: DetectorSettings, class_count: int, norm: Norm) -> dict[str, Any]:
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
        "type": "MaxIoUAssigner",
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


def optimizer_config(settings: DetectorSettings) -> dict[str, Any]:
    """Return mmengine's optimiser wrapper for the precision asked for."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        optimizer: dict[str, Any] = {"type": "SGD", "lr": rate, "momentum": 0.9, "weight_decay": decay}
    else:
        optimizer = {"type": "AdamW", "lr": rate, "weight_decay": decay}
    clip = {"max_norm": 35.0, "norm_type": 2}  # mmdetection's usual bound: only keeps outliers of short runs away
    if settings.precision == "fp32":
        return {"type": "OptimWrapper", "optimizer": optimizer, "clip_grad": clip}
    return {
        "type": "AmpOptimWrapper",
        "optimizer": optimizer,
        "clip_grad": clip,
        "dtype": "float16" if settings.precision == "fp16" else "bfloat16",
        "loss_scale": "dynamic" if settings.precision == "fp16" else 1.0,  # bfloat16 has the range of float32
    }


def schedule_config(settings: DetectorSettings) -> list[dict[str, Any]]:
    """Return a linear warm-up and drops by ten at the milestones, all counted in steps."""
    warmup = min(settings.warmup_steps, settings.steps - 1)
    schedule: list[dict[str, Any]] = []
    if warmup > 0:
        schedule.append({"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "begin": 0, "end": warmup})
    milestones = sorted({round(share * settings.steps) for share in settings.milestones} - {0})
    if milestones:
        schedule.append({"type": "MultiStepLR", "by_epoch": False, "milestones": milestones, "gamma": 0.1})
    return schedule


def _reading(turned: bool) -> dict[str, Any]:
    """Return the transform that reads photos: the stock one, unless some must be turned to fit their masks."""
    if turned:
        return {"type": "amodalpl.detector.photos.LoadPhoto"}
    return {"type": "LoadImageFromFile", "color_type": "color_ignore_orientation"}


def train_pipeline(settings: DetectorSettings, turned: bool = False) -> list[dict[str, Any]]:
    """Return stock transforms: read (the pixels as stored, see `amodalpl.images`), resize, flip, pack."""
    return [
        _reading(turned),
        {"type": "LoadAnnotations", "with_bbox": True, "with_mask": True, "poly2mask": True},
        {"type": "Resize", "scale": tuple(settings.image_scale), "keep_ratio": True},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PackDetInputs"},
    ]


def test_pipeline(settings: DetectorSettings, turned: bool = False) -> list[dict[str, Any]]:
    """Return stock transforms: read, resize, pack; no annotations are needed."""
    return [
        _reading(turned),
        {"type": "Resize", "scale": tuple(settings.image_scale), "keep_ratio": True},
        {"type": "PackDetInputs", "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")},
    ]


test_pipeline.__test__ = False  # type: ignore[attr-defined]  # pytest: not a test


def full_config(
    settings: DetectorSettings,
    class_names: Sequence[str],
    *,
    train: Path,
    train_images: Path,
    val: Path,
    val_images: Path,
    weights: Path,
    norm: Norm,
    seed: int,
    turned: bool = False,
) -> dict[str, Any]:
    """Return the whole config as MMDetection's own tools read it.

    Args:
        settings: of the detector.
        class_names: in the order of the file's categories.
        train: COCO file to learn from.
        train_images: its image folder.
        val: COCO file to be scored against.
        val_images: its image folder.
        weights: of the trained detector, from which mmdet's `tools/train.py` goes on.
        norm: of the backbone, see `model_config`.
        seed: of the run.
        turned: some photos fit their masks only when turned as EXIF says; the config then needs amodalpl to be read.
    """

    def dataset(file: Path, images: Path, pipeline: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {
            "type": "CocoDataset",
            "ann_file": str(file.resolve()),
            "data_prefix": {"img": str(images.resolve())},
            "metainfo": {"classes": tuple(class_names)},
            "pipeline": pipeline,
            **more,
        }

    keep_alive = settings.workers > 0
    val_loader = {
        "batch_size": 1,
        "num_workers": settings.workers,
        "persistent_workers": keep_alive,
        "drop_last": False,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": dataset(val, val_images, test_pipeline(settings, turned), test_mode=True),
    }
    evaluator = {"type": "CocoMetric", "ann_file": str(val.resolve()), "metric": ["bbox", "segm"]}
    return {
        "default_scope": "mmdet",
        "model": model_config(settings, len(class_names), norm),
        "train_dataloader": {
            "batch_size": settings.batch_size,
            "num_workers": settings.workers,
            "persistent_workers": keep_alive,
            "sampler": {"type": "InfiniteSampler", "shuffle": True, "seed": seed},
            "dataset": dataset(train, train_images, train_pipeline(settings, turned)),
        },
        "val_dataloader": val_loader,
        "test_dataloader": val_loader,
        "val_evaluator": evaluator,
        "test_evaluator": evaluator,
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": settings.steps, "val_interval": settings.steps},
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "optim_wrapper": optimizer_config(settings),
        "param_scheduler": schedule_config(settings),
        "default_hooks": {
            "timer": {"type": "IterTimerHook"},
            "logger": {"type": "LoggerHook", "interval": 50},
            "param_scheduler": {"type": "ParamSchedulerHook"},
            "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": settings.checkpoint_every},
            "sampler_seed": {"type": "DistSamplerSeedHook"},
        },
        "log_processor": {"type": "LogProcessor", "window_size": 50, "by_epoch": False},
        "env_cfg": {"mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0}, "dist_cfg": {"backend": "nccl"}},
        "randomness": {"seed": seed},
        "load_from": str(weights.resolve()),
        "resume": False,
    }


def as_python(config: Mapping[str, Any], comment: str) -> str:
    """Write a config as the Python file that mmengine's `Config.fromfile` reads."""
    lines = [f"# {line}" for line in comment.splitlines()]
    for name, value in config.items():
        lines.append(f"{name} = {pprint.pformat(value, width=100, sort_dicts=False)}")
    return "\n".join(lines) + "\n"
