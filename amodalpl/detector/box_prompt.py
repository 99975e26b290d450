"""Segmenting what is in given boxes, by any model that can be asked so.

Models on regions (Mask R-CNN's family) take the boxes for their regions; models on locations (BoxInst, BLADE) are asked
at the location that fits a box best; the compositional model takes boxes as they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch import Tensor

from ..data.records import Box
from ..errors import DataError
from ..io.files import hash_file
from ..runtime.stage_run import stage_of
from .compositional.checkpoint import BACKBONE, CARD, WEIGHTS, BoxSegmenter, read_segmenter
from .compositional.inference import predict_boxes
from .data.coco_export import AGNOSTIC_NAME
from .heads.bbtp import envelope
from .inference import prepare_photo
from .quiet import third_party_quiet
from .trained import Detector, open_detector

CENTRE_STRIDES = 1.5  # from the middle of its box FCOS learns at locations within so many strides, each way
_CUT = 0.5  # probability from which a pixel is of the object


@dataclass(frozen=True)
class BoxAnswer:
    """What is told of one box, in the frame of the photo.

    Attributes:
        amodal: (H, W) bool, the whole object; may be empty.
        visible: (H, W) bool, within `amodal` and the given visible box.
        uncertainty: mean over the whole object of how likely a pixel is not of it, 0 to 1; 1 for an empty one.
    """

    amodal: np.ndarray
    visible: np.ndarray
    uncertainty: float


class BoxPrompt(Protocol):
    """A model that can be asked about boxes.

    Attributes:
        name: of the model, for labels and rows of scores.
        class_names: that it knows.
        identity: hashes of what it was opened from.
    """

    name: str
    class_names: list[str]
    identity: dict[str, str]

    def segment(
        self, image: np.ndarray, boxes_xywh: Sequence[Box], class_names: Sequence[str], *, whole: bool
    ) -> list[BoxAnswer]:
        """Segment what is in boxes of a photo.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes_xywh: N boxes in pixels, larger than 0.
            class_names: N classes, all of which `knows` says yes to.
            whole: the boxes are of whole objects; else of their visible parts.

        Returns:
            N answers.
        """
        ...


def knows(prompt: BoxPrompt, class_name: str) -> bool:
    """Tell whether a model has learnt a class; one of objects as such (`detector.class_agnostic`) has learnt all."""
    return class_name in prompt.class_names or list(prompt.class_names) == [AGNOSTIC_NAME]


def open_box_prompt(path: Path, device: torch.device) -> BoxPrompt:
    """Open a model.

    Args:
        path: output folder of `train-detector` or `train-compositional`.
        device: to run on.

    Raises:
        DataError: there is no such folder, or its model cannot be asked about boxes.
        CheckpointError: weights are missing or damaged.
        OutputError: the folder is of another stage, or unfinished.
    """
    if path.is_dir() and stage_of(path) == "train-compositional":
        identity = {f"detector {n}": hash_file(path / n) for n in (CARD, WEIGHTS, BACKBONE) if (path / n).exists()}
        return _Compositional(read_segmenter(path, device), identity)
    return prompt_of(open_detector(path, None, device))


def prompt_of(detector: Detector) -> BoxPrompt:
    """Make a detector of MMDetection answer about boxes."""
    return (_Regions if hasattr(detector.model, "roi_head") else _Locations)(detector)


class _Compositional:
    def __init__(self, segmenter: BoxSegmenter, identity: dict[str, str]) -> None:
        self.name = "bayesian-amodal"
        self.identity = identity
        self.class_names = list(segmenter.category_ids)
        self._segmenter = segmenter

    def segment(
        self, image: np.ndarray, boxes_xywh: Sequence[Box], class_names: Sequence[str], *, whole: bool
    ) -> list[BoxAnswer]:
        ids = self._segmenter.category_ids
        found = predict_boxes(
            self._segmenter.model,
            self._segmenter.extractor,
            image,
            boxes_xywh,
            [ids[name] for name in class_names],
            centred=whole,
        )
        return [BoxAnswer(p.amodal, p.visible, p.uncertainty) for p in found]


class _Detector(ABC):
    """What both kinds of detectors of MMDetection share."""

    def __init__(self, detector: Detector) -> None:
        self.name = detector.name
        self.class_names = [entry["name"] for entry in detector.categories]
        self.identity = detector.identity
        self._detector = detector

    @torch.no_grad()
    def segment(
        self, image: np.ndarray, boxes_xywh: Sequence[Box], class_names: Sequence[str], *, whole: bool
    ) -> list[BoxAnswer]:
        if not len(boxes_xywh):
            return []
        labels = [self.class_names.index(name) if name in self.class_names else 0 for name in class_names]
        x, sample = _features(self._detector, image)
        device = self._detector.device
        given = torch.tensor(boxes_xywh, dtype=torch.float32, device=device)
        given = torch.cat([given[:, :2], given[:, :2] + given[:, 2:]], dim=1)  # x1, y1, x2, y2
        scaled = given * given.new_tensor(sample.scale_factor).repeat(2)
        with third_party_quiet():
            amodal, visible = self._probabilities(x, sample, scaled, torch.tensor(labels, device=device), whole)
        return list(_answers(amodal, visible, given, whole))

    @abstractmethod
    def _probabilities(
        self, x: Any, sample: Any, boxes: Tensor, labels: Tensor, whole: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return the probabilities of whole and visible masks, (N, H, W) in the frame of the photo.

        Args:
            x: features of the photo.
            sample: MMDetection's, of the photo.
            boxes: (N, 4) x1, y1, x2, y2 in pixels of the resized photo.
            labels: (N,) int64.
            whole: the boxes are of whole objects.
        """


class _Regions(_Detector):
    """Boxes in place of proposals: the box head tells the whole box from a visible one, the mask head the masks."""

    def _probabilities(
        self, x: Any, sample: Any, boxes: Tensor, labels: Tensor, whole: bool
    ) -> tuple[Tensor, Tensor | None]:
        head, meta = self._detector.model.roi_head, sample.metainfo
        if not whole:
            told = head.predict_bbox(x, [meta], [InstanceData(bboxes=boxes)], None)[0].bboxes
            per_class = told.reshape(len(boxes), -1, 4)
            own = per_class[torch.arange(len(boxes)), labels if per_class.shape[1] > 1 else 0]
            boxes = envelope(boxes, own)
        found = InstanceData(bboxes=boxes.clone(), labels=labels)
        with _uncut(head):
            found = head.predict_mask(x, [meta], [found], rescale=True)[0]
        visible = found.visible_masks.float() / 255 if "visible_masks" in found else None
        return found.masks.float() / 255, visible


@contextmanager
def _uncut(head: Any) -> Iterator[None]:
    """Let MMDetection paste probabilities, in 255 steps, instead of cutting them: what it does for a cut below 0."""
    cut = head.test_cfg.mask_thr_binary
    head.test_cfg.mask_thr_binary = -1
    try:
        yield
    finally:
        head.test_cfg.mask_thr_binary = cut


class _Locations(_Detector):
    """FCOS with masks: the location that fits a box best tells the weights of its mask heads."""

    def _probabilities(
        self, x: Any, sample: Any, boxes: Tensor, labels: Tensor, whole: bool
    ) -> tuple[Tensor, Tensor | None]:
        model = self._detector.model
        _, distances, _, weights = model.bbox_head(x)  # of each level: classes, boxes, centredness, weights of masks
        sizes = [level.shape[2:] for level in distances]
        priors = model.bbox_head.prior_generator.grid_priors(sizes, device=boxes.device, with_stride=True)
        points, strides = (torch.cat([p[:, part] for p in priors]) for part in (slice(0, 2), 2))
        predicted = model.bbox_head.bbox_coder.decode(points, torch.cat([_rows(level) for level in distances]))
        at = torch.stack([best_location(box, points, strides, predicted) for box in boxes])
        parameters = torch.cat([_rows(level) for level in weights])[at]
        chosen = InstanceData(param_preds=parameters, points=points[at], strides=strides[at])
        head = model.mask_head
        told = head.probabilities(head.logits(head.features(x)[0], chosen))
        amodal: Tensor = head.in_photo(told.whole, sample, rescale=True)
        visible = None if told.visible is None else head.in_photo(told.visible, sample, rescale=True)
        if not whole:
            if told.hidden is not None:
                hidden = head.in_photo(told.hidden, sample, rescale=True)
                amodal = torch.where(_inside(boxes, sample), amodal, hidden)
            if model.data_preprocessor.regress == "whole":
                amodal = amodal * _inside(envelope(boxes, predicted[at]), sample)
        return amodal, visible


def _inside(boxes: Tensor, sample: Any) -> Tensor:
    """Fill boxes, (N, 4) in pixels of the resized photo, in the frame of the photo: (N, H, W) bool."""
    own = (boxes / boxes.new_tensor(sample.scale_factor).repeat(2)).tolist()
    return torch.from_numpy(np.stack([_filled(box, sample.ori_shape[:2]) for box in own])).to(boxes.device)


def best_location(box: Tensor, points: Tensor, strides: Tensor, predicted: Tensor) -> Tensor:
    """Choose the location of FCOS that a given box stands for.

    Of the locations in the middle of the box, as FCOS learns them, the one whose own box has the largest IoU with the
    given one. A box with none gets the location nearest to its middle, on the level whose stride is nearest to an
    eighth of its longer side.

    Args:
        box: (4,) x1, y1, x2, y2.
        points: (L, 2) x, y of all locations.
        strides: (L,) of their levels.
        predicted: (L, 4) boxes that they tell.

    Returns:
        () int64.
    """
    middle = (box[:2] + box[2:]) / 2
    away = (points - middle).abs()
    inside = ((points > box[:2]) & (points < box[2:]) & (away < CENTRE_STRIDES * strides[:, None])).all(dim=1)
    fits = iou_with(predicted, box).masked_fill(~inside, 0.0)
    if fits.max() > 0:
        return fits.argmax()
    wanted = (box[2:] - box[:2]).max() / 8
    of_level = (strides.log2() - wanted.log2()).abs()
    nearest = away.norm(dim=1).masked_fill(of_level > of_level.min(), torch.inf)
    return nearest.argmin()


def iou_with(boxes: Tensor, one: Tensor) -> Tensor:
    """Return the IoU of boxes with one, (N, 4), (4,) -> (N,); x1, y1, x2, y2."""
    low, high = torch.maximum(boxes[:, :2], one[:2]), torch.minimum(boxes[:, 2:], one[2:])
    shared = (high - low).clamp_min(0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(dim=1) + (one[2:] - one[:2]).prod()
    return shared / (areas - shared).clamp_min(1e-6)


def _rows(level: Tensor) -> Tensor:
    """Put the channels of the only photo last: (1, C, h, w) -> (h w, C)."""
    return level[0].flatten(1).T


def _features(detector: Detector, image: np.ndarray) -> tuple[Any, Any]:
    """Return the features of a photo, and MMDetection's sample of it."""
    batch = detector.model.data_preprocessor(pseudo_collate([prepare_photo(detector, image)]), False)
    return detector.model.extract_feat(batch["inputs"]), batch["data_samples"][0]


def _answers(amodal: Tensor, visible: Tensor | None, boxes: Tensor, whole: bool) -> Iterator[BoxAnswer]:
    """Cut probabilities to masks. A given box bounds what it is of; a visible part is in the whole object.

    A model without visible masks is taken at its word on the whole one: visible is what of it lies in the given box.
    """
    for k, probability in enumerate(amodal.cpu().numpy()):
        in_box = _filled(boxes[k].tolist(), probability.shape)
        seen = (probability if visible is None else visible[k].cpu().numpy()) > _CUT
        seen = seen & in_box
        mask = probability > _CUT
        mask = mask & in_box if whole else mask | (seen if visible is not None else False)
        sure = probability[mask].mean() if mask.any() else 0.0
        yield BoxAnswer(mask, seen & mask, float(np.clip(1 - sure, 0, 1)))


def _filled(box_xyxy: Sequence[float], size_hw: tuple[int, ...]) -> np.ndarray:
    """Return the pixels whose centre is in a box."""
    x0, y0, x1, y1 = (max(0, round(edge)) for edge in box_xyxy)
    filled = np.zeros(size_hw, dtype=bool)
    filled[y0:y1, x0:x1] = True
    return filled


def proposals(detector: Detector, image: np.ndarray) -> np.ndarray:
    """Return the boxes that a detector's own proposal network finds on a photo.

    Args:
        detector: one with proposals, such as Mask R-CNN.
        image: (H, W, 3) uint8 RGB.

    Returns:
        (N, 4) float x, y, width, height in pixels of the photo.

    Raises:
        DataError: the model has no proposals.
    """
    if not hasattr(detector.model, "rpn_head"):
        raise DataError(
            f"model {detector.name}: expected one with a proposal network, such as mask-rcnn or bbtp, got one without"
        )
    with torch.no_grad(), third_party_quiet():
        x, sample = _features(detector, image)
        found = detector.model.rpn_head.predict(x, [sample], rescale=True)[0].bboxes
    corners = found.float().cpu().numpy()
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
