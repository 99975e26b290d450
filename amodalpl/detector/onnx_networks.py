"""The networks of a two-stage detector as ONNX files: written from torch, and compared with it before they count.

A detector is two networks with plain arithmetic between them. What lies between (boxes from anchors, NMS, RoIAlign)
takes as many boxes as there are on a photo; traced as a whole, a detector would keep the boxes of the photo that it was
traced with. So each network is a file, and `docs/api.md` says what to do between them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import SettingsError
from ..io.files import hash_file, write_json
from ..runtime.onnx_files import OPSET, export, need, write_checked
from .folder import WEIGHTS
from .heads.orcnn import TwoMaskHead
from .heads.vrsp import VrspMaskHead
from .mmdetection import FCNMaskHead
from .quiet import third_party_quiet
from .trained import Detector

FEATURES, REGIONS, NOTE = "features.onnx", "regions.onnx", "detector_onnx.json"
FORMAT = 1  # of the note
MOST_DIFFERENT = 1e-3  # of logits and deltas, relative to the largest one; rounding gives some 1e-6
_TRACED_HW, _TRACED_REGIONS = (64, 64), 3
_CHECKED_HW, _CHECKED_REGIONS = (96, 160), 5  # the files must serve any


class Features(nn.Module):
    """(1, 3, H, W) normalised photo -> feature maps of the pyramid, then scores and deltas of its anchors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, photo: Tensor) -> tuple[Tensor, ...]:
        """Return five maps each of features, scores and deltas, the finest first."""
        features = self.model.extract_feat(photo)
        scores, deltas = self.model.rpn_head(features)
        return (*features, *scores, *deltas)


class Regions(nn.Module):
    """(N, C, 7, 7) and (N, C, 14, 14) features of regions -> logits of classes, deltas of boxes, logits of masks."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.box, self.mask = model.roi_head.bbox_head, model.roi_head.mask_head

    def forward(self, for_box: Tensor, for_mask: Tensor) -> tuple[Tensor, ...]:
        """Return (N, classes + 1), (N, 4 classes), and (N, classes, 28, 28) once, or twice with visible masks."""
        masks = self.mask(for_mask)
        return (*self.box(for_box), *(masks if isinstance(masks, tuple) else (masks,)))


def write_networks(folder: Path, detector: Detector) -> float:
    """Write `features.onnx`, `regions.onnx` and a note into the folder of a detector.

    Args:
        folder: output of `amodalpl train-detector`.
        detector: opened from it, on the CPU.

    Returns:
        The largest difference from torch that was seen, relative to the largest answer.

    Raises:
        SettingsError: a model that is not two such networks.
        MissingPackageError: onnx or onnxruntime is not installed.
        CheckpointError: a file answers otherwise than torch; it is not kept.
    """
    _require_two_networks(detector)
    model = detector.model
    channels = model.roi_head.bbox_roi_extractor.out_channels
    levels = len(model.rpn_head.prior_generator.strides)
    names = [f"{what}_{level}" for what in ("features", "scores", "deltas") for level in range(levels)]
    masks = ["amodal", "visible"] if isinstance(model.roi_head.mask_head, TwoMaskHead) else ["amodal"]
    regions = tuple(torch.rand(_TRACED_REGIONS, channels, cells, cells) for cells in (7, 14))
    others = tuple(torch.rand(_CHECKED_REGIONS, channels, cells, cells) for cells in (7, 14))
    photo, other = torch.rand(1, 3, *_TRACED_HW), torch.rand(1, 3, *_CHECKED_HW)
    worst = max(
        _write(folder / FEATURES, Features(model), (photo,), (other,), ["photo"], names),
        _write(
            folder / REGIONS, Regions(model), regions, others, ["for_box", "for_mask"], ["classes", "boxes", *masks]
        ),
    )
    preprocessor = model.data_preprocessor
    write_json(
        folder / NOTE,
        {
            "format": FORMAT,
            "opset": OPSET,
            "torch": torch.__version__,
            "model": detector.name,
            "categories": detector.categories,
            "mean_rgb": preprocessor.mean.flatten().tolist(),
            "std_rgb": preprocessor.std.flatten().tolist(),
            "pad_to_multiple_of": preprocessor.pad_size_divisor,
            "largest_difference": worst,
            "weights_sha256": hash_file(folder / WEIGHTS),
            **{f"{file}_sha256": hash_file(folder / file) for file in (FEATURES, REGIONS)},
        },
    )
    return worst


def _require_two_networks(detector: Detector) -> None:
    head = getattr(getattr(detector.model, "roi_head", None), "mask_head", None)
    if isinstance(head, VrspMaskHead):
        raise SettingsError(
            "export-onnx: expected orcnn, mask-rcnn or mask-rcnn-c8, got vrsp: which shapes its heads see depends on "
            "the classes that were found, which a trace would keep as they were"
        )
    plain = type(head) in (FCNMaskHead, TwoMaskHead) or type(head).__name__ == "TrustingMaskHead"
    if not plain or not hasattr(detector.model, "rpn_head") or getattr(detector.model.roi_head, "mask_iou_head", None):
        raise SettingsError(
            f"export-onnx: expected orcnn, mask-rcnn or mask-rcnn-c8 without mask scoring, got {detector.name}"
        )


def _write(
    path: Path,
    network: nn.Module,
    traced: tuple[Tensor, ...],
    checked: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> float:
    """Write a network, and compare it with torch on other sizes than those that were traced."""
    free = {0: "regions"} if len(inputs) > 1 else {2: "height", 3: "width"}  # regions in any number, photos of any size

    def exported() -> bytes:
        with warnings.catch_warnings(), third_party_quiet():
            warnings.simplefilter("ignore")
            return export(network.eval(), traced, inputs, outputs, {name: free for name in inputs})

    with torch.no_grad():
        return write_checked(path, exported, lambda part: _difference(part, network, checked, inputs), MOST_DIFFERENT)


def _difference(path: Path, network: nn.Module, given: tuple[Tensor, ...], inputs: Sequence[str]) -> float:
    session = need("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers = session.run(None, {name: value.numpy() for name, value in zip(inputs, given, strict=True)})
    wanted = [value.numpy() for value in network(*given)]
    if [a.shape for a in answers] != [w.shape for w in wanted]:
        return float("inf")
    return max(float(np.abs(a - w).max() / max(np.abs(w).max(), 1e-6)) for a, w in zip(answers, wanted, strict=True))
