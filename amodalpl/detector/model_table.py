"""The models that can be trained: what each needs of the labels, what it predicts, and how its config is built.

A model is a row of `MODELS`. Nothing here needs MMDetection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..data.records import AnnotationSet
from ..errors import DataError, SettingsError
from ..settings import DetectorSettings
from .base_configs.backbones import Norm
from .base_configs.fcos import fcos, layer_sizes
from .base_configs.mask_rcnn import mask_rcnn
from .data.label_notes import LabelNotes

Need = Literal["masks", "amodal", "visible", "boxes", "both boxes", "doubt", "uncertainty"]
Mask = Literal["amodal", "visible"]


@dataclass(frozen=True)
class Model:
    """A row of the table of models.

    Attributes:
        title: name and paper.
        needs: of the labels. "masks" is met by whole masks and, where a file has none, by visible ones; "boxes"
            likewise by whole boxes and visible ones. Models that need boxes look at nothing else.
        predicts: masks of each detection.
        shapes: whether a codebook of whole shapes is learnt first.
        build: settings, number of classes and normalisation to the config of an MMDetection model.
    """

    title: str
    needs: tuple[Need, ...]
    predicts: tuple[Mask, ...]
    build: Callable[[DetectorSettings, int, Norm], dict[str, Any]]
    shapes: bool = False

    def describe(self) -> dict[str, str]:
        """Return what `amodalpl train-detector --list` prints of it."""
        return {"what": self.title, "needs": ", ".join(self.needs), "predicts": ", ".join(self.predicts)}


def _scoring(config: dict[str, Any], settings: DetectorSettings) -> dict[str, Any]:
    """Add the head that says how good masks are, as in MMDetection's `ms-rcnn_r50_fpn`, where settings ask for it."""
    if not settings.mask_scoring:
        return config
    roi_head, channels = config["roi_head"], settings.channels
    roi_head["mask_iou_head"] = {
        "type": "MaskQualityHead",
        "num_convs": 4,
        "num_fcs": 2,
        "roi_feat_size": 14,
        "in_channels": channels,
        "conv_out_channels": channels,
        "fc_out_channels": 4 * channels,  # 1024 beside 256 channels
        "num_classes": roi_head["bbox_head"]["num_classes"],
        "loss_iou": {"type": "MSELoss", "loss_weight": 0.5},
    }
    config["train_cfg"]["rcnn"]["mask_thr_binary"] = 0.0  # of logits; their 0.5 is compared with logits, too
    if roi_head["type"] == "StandardRoIHead":
        config["type"], roi_head["type"] = "MaskScoringRCNN", "MaskScoringRoIHead"
    return config


def _trusting(config: dict[str, Any], settings: DetectorSettings) -> dict[str, Any]:
    """Give Mask R-CNN's mask head the loss that weighs labels, where settings ask for it."""
    if not _weighs(settings):
        return config
    head = config["roi_head"]["mask_head"]
    config["roi_head"]["mask_head"] = {**head, "type": "TrustingMaskHead", "trust": settings.trust.model_dump()}
    return config


def _mask_rcnn(settings: DetectorSettings, class_count: int, norm: Norm) -> dict[str, Any]:
    return _trusting(_scoring(mask_rcnn(settings, class_count, norm), settings), settings)


def _mask_rcnn_c8(settings: DetectorSettings, class_count: int, norm: Norm) -> dict[str, Any]:
    config = mask_rcnn(settings, class_count, norm)
    config["roi_head"]["mask_head"]["num_convs"] = 8
    return _trusting(_scoring(config, settings), settings)


def _orcnn(settings: DetectorSettings, class_count: int, norm: Norm) -> dict[str, Any]:
    config = mask_rcnn(settings, class_count, norm)
    head = config["roi_head"]["mask_head"]
    config["roi_head"]["type"] = "TwoMaskRoIHead"
    config["roi_head"]["mask_head"] = {
        "type": "TwoMaskHead",
        "amodal": head,
        "visible": dict(head),
        **settings.orcnn.model_dump(),
        "trust": settings.trust.model_dump(),
    }
    return _scoring(config, settings)


def _vrsp(settings: DetectorSettings, class_count: int, norm: Norm) -> dict[str, Any]:
    config = mask_rcnn(settings, class_count, norm)
    head, wanted = config["roi_head"]["mask_head"], settings.vrsp
    of_scores = wanted.model_dump(include={"rescoring", "rescore_by_class", "rescore_by_shape", "alpha"})
    config["roi_head"] |= {"type": "VrspRoIHead", **of_scores}
    config["roi_head"]["mask_head"] = {
        "type": "VrspMaskHead",
        "amodal": head,
        "visible": dict(head),
        "hidden_channels": 4 * settings.channels,  # 1024 beside 256 channels
        **wanted.model_dump(exclude={"shape_steps", *of_scores}),
        "trust": settings.trust.model_dump(),
    }
    return _scoring(config, settings)


def _boxinst(settings: DetectorSettings, class_count: int, norm: Norm) -> dict[str, Any]:
    config = fcos(settings, class_count, norm, heads=[layer_sizes(settings.boxinst)])
    config["mask_head"]["type"] = "BoxInstHead"
    return config


def _blade(settings: DetectorSettings, class_count: int, norm: Norm) -> dict[str, Any]:
    wanted, masks = settings.blade, settings.boxinst
    heads = [layer_sizes(masks), layer_sizes(masks, extra_inputs=1), layer_sizes(masks)]
    config = fcos(settings, class_count, norm, heads=heads if wanted.fusion else heads[:2])
    config["data_preprocessor"]["regress"] = wanted.box
    config["mask_head"] |= {"type": "BladeHead", **wanted.model_dump(exclude={"box"})}
    return config


def _bbtp(settings: DetectorSettings, class_count: int, norm: Norm) -> dict[str, Any]:
    config = mask_rcnn(settings, class_count, norm)
    config["roi_head"] |= {"type": "TightBoxRoIHead", **settings.bbtp.model_dump()}
    return config


def _of_a_file(settings: DetectorSettings, class_count: int, norm: Norm) -> dict[str, Any]:
    raise SettingsError("detector.model=mmdet-config: expected --mmdet-config FILE, got none")


MODELS: dict[str, Model] = {
    "mask-rcnn": Model("Mask R-CNN (He et al. 2017)", ("masks",), ("amodal",), _mask_rcnn),
    "mask-rcnn-c8": Model("Mask R-CNN with eight mask convolutions", ("masks",), ("amodal",), _mask_rcnn_c8),
    "orcnn": Model("ORCNN (Follmann et al. 2019)", ("amodal", "visible"), ("amodal", "visible"), _orcnn),
    "vrsp": Model("VRSP-Net (Xiao et al. 2021)", ("amodal", "visible"), ("amodal", "visible"), _vrsp, shapes=True),
    "boxinst": Model("BoxInst (Tian et al. 2021)", ("boxes",), ("amodal",), _boxinst),
    "bbtp": Model("BBTP (Hsu et al. 2019)", ("boxes",), ("amodal",), _bbtp),
    "blade": Model("BLADE (Liu et al. 2024)", ("both boxes",), ("amodal", "visible"), _blade),
}


MMDET_CONFIG = Model("a model of MMDetection (--mmdet-config FILE)", ("masks",), ("amodal",), _of_a_file)
"""The row of `detector.model=mmdet-config`, of which nothing is in the table: its config is read from a file."""


def row(settings: DetectorSettings) -> Model:
    """Return the model that settings name."""
    return MODELS.get(settings.model, MMDET_CONFIG)


def model_config(settings: DetectorSettings, class_count: int, norm: Norm) -> dict[str, Any]:
    """Return the MMDetection config of the model that settings name.

    Args:
        settings: of the detector.
        class_count: foreground classes.
        norm: of the backbone, see `base_configs.backbones.backbone_config`.

    Raises:
        SettingsError: the config is that of a file.
    """
    return row(settings).build(settings, class_count, norm)


def needs(settings: DetectorSettings) -> tuple[Need, ...]:
    """Return what training by these settings needs of the labels."""
    trust = settings.trust
    doubt: tuple[Need, ...] = ("doubt",) if trust.pixels > 0 or trust.ignore_above < 1 else ()
    uncertainty: tuple[Need, ...] = ("uncertainty",) if trust.labels > 0 else ()
    return (*row(settings).needs, *doubt, *uncertainty)


def _weighs(settings: DetectorSettings) -> bool:
    return bool({"doubt", "uncertainty"} & {*needs(settings)})


def reads_companions(settings: DetectorSettings) -> bool:
    """Tell whether training reads more of a label than its whole mask."""
    return _weighs(settings) or needs_visible(settings)


def needs_visible(settings: DetectorSettings) -> bool:
    """Tell whether labels need a visible mask, or box, beside the whole one."""
    return bool({"visible", "both boxes"} & {*needs(settings)})


def learns_from_boxes(settings: DetectorSettings) -> bool:
    """Tell whether the model looks at boxes and classes only."""
    return bool({"boxes", "both boxes"} & {*row(settings).needs})


_WHAT = {
    "amodal": "whole masks",
    "visible": "visible masks beside the whole ones",
    "both boxes": "visible boxes beside the whole ones",
    "doubt": "maps of doubt (doubt.jsonl beside the label file)",
    "uncertainty": "the uncertainty of labels",
}
_WHY = {"doubt": "detector.trust", "uncertainty": "detector.trust"}


def require_needs(settings: DetectorSettings, labels: AnnotationSet, notes: LabelNotes) -> None:
    """Refuse labels that a model cannot learn from, before anything is trained.

    Args:
        settings: of the detector.
        labels: to be learnt from; filled boxes where the model learns from boxes.
        notes: what else the label file says of them.

    Raises:
        DataError: no label has what the model needs.
        SettingsError: labels are to be weighed whose masks are not looked at.
    """
    if learns_from_boxes(settings) and _weighs(settings):
        raise SettingsError(
            "detector.trust: expected it to be off, got a trust in masks, which "
            f"detector.model={settings.model} does not look at (it learns from boxes)"
        )
    if settings.mask_scoring and (learns_from_boxes(settings) or settings.model == "mmdet-config"):
        raise SettingsError(
            f"detector.mask_scoring: expected it to be off, got detector.model={settings.model}, whose masks it "
            "does not score; take a model that learns from masks, or the config ms_rcnn/ms-rcnn_r50_fpn_1x_coco.py"
        )
    if settings.model == "mmdet-config" and _weighs(settings):
        raise SettingsError(
            "detector.trust: expected it to be off, got a trust in masks, which losses of MMDetection's own models do "
            "not know; take a model of `amodalpl train-detector --list`"
        )
    objects = [i for i in labels.instances if not i.is_crowd]
    both = sum(i.amodal is not None and i.modal is not None for i in objects)
    have = {
        "masks": len(objects),
        "boxes": len(objects),  # where nothing can be used, that is said later, with the reasons
        "amodal": sum(i.amodal is not None for i in objects),
        "visible": both,
        "both boxes": both,
        "doubt": sum(i.id in notes.doubt for i in objects),
        "uncertainty": sum(i.id in notes.uncertainty for i in objects),
    }
    for need in needs(settings):
        if objects and not have[need]:
            why = _WHY.get(need, f"detector.model={settings.model}")
            other = "boxinst" if need == "both boxes" else "mask-rcnn"
            off = "leave detector.trust off" if need in _WHY else f"take detector.model={other}"
            raise DataError(
                f"{labels.path}: {why}: expected {_WHAT[need]} to learn from, got none for any of {len(objects)} "
                f"objects; give the labels of `amodalpl pseudolabel`, or {off}"
            )
