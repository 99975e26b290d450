"""The models that can be trained: what each needs of the labels, what it predicts, and how its config is built.

A model is a row of `ZOO`. Nothing here needs MMDetection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..data.records import AnnotationSet
from ..errors import DataError
from ..settings import DetectorSettings
from .heads.mask_rcnn import Norm, mask_rcnn

Need = Literal["masks", "amodal", "visible", "uncertainty"]
Mask = Literal["amodal", "visible"]


@dataclass(frozen=True)
class Model:
    """A row of the zoo.

    Attributes:
        title: name and paper.
        needs: of the labels. "masks" is met by whole masks and, where a file has none, by visible ones.
        predicts: masks of each detection.
        build: settings, number of classes and normalisation to the config of an MMDetection model.
    """

    title: str
    needs: tuple[Need, ...]
    predicts: tuple[Mask, ...]
    build: Callable[[DetectorSettings, int, Norm], dict[str, Any]]


def _mask_rcnn_c8(settings: DetectorSettings, class_count: int, norm: Norm) -> dict[str, Any]:
    config = mask_rcnn(settings, class_count, norm)
    config["roi_head"]["mask_head"]["num_convs"] = 8
    return config


ZOO: dict[str, Model] = {
    "mask-rcnn": Model("Mask R-CNN (He et al. 2017)", ("masks",), ("amodal",), mask_rcnn),
    "mask-rcnn-c8": Model("Mask R-CNN with eight mask convolutions", ("masks",), ("amodal",), _mask_rcnn_c8),
}


def model_config(settings: DetectorSettings, class_count: int, norm: Norm) -> dict[str, Any]:
    """Return the MMDetection config of the model that settings name.

    Args:
        settings: of the detector.
        class_count: foreground classes.
        norm: of the backbone, see `heads.mask_rcnn.mask_rcnn`.
    """
    return ZOO[settings.model].build(settings, class_count, norm)


def needs(settings: DetectorSettings) -> tuple[Need, ...]:
    """Return what training by these settings needs of the labels."""
    return ZOO[settings.model].needs


def reads_companions(settings: DetectorSettings) -> bool:
    """Tell whether training reads more of a label than its whole mask."""
    return bool({"visible", "uncertainty"} & {*needs(settings)})


def require_needs(settings: DetectorSettings, labels: AnnotationSet) -> None:
    """Refuse labels that a model cannot learn from, before anything is trained.

    Args:
        settings: of the detector.
        labels: to be learnt from.

    Raises:
        DataError: no label has what the model needs.
    """
    objects = [i for i in labels.instances if not i.is_crowd]
    have: dict[str, int] = {
        "amodal": sum(i.amodal is not None for i in objects),
        "visible": sum(i.amodal is not None and i.modal is not None for i in objects),
    }
    what = {"amodal": "whole masks", "visible": "visible masks beside the whole ones"}
    for need in needs(settings):
        if need in have and objects and not have[need]:
            raise DataError(
                f"{labels.path}: detector.model={settings.model}: expected {what[need]} to learn from, got none for "
                f"any of {len(objects)} objects; give the labels of `amodalpl pseudolabel`, or detector.model=mask-rcnn"
            )
