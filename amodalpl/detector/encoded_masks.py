"""Masks of two-stage models, encoded as they are pasted into the photo, instead of all whole ones held at once.

MMDetection keeps a byte for every pixel of every object: 2.4 GB for 100 objects on a photo of 24 megapixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ..masks import rle
from ..masks.rle import Rle
from .mmdetection import FCNMaskHead, fcn_mask_head

PIXELS_AT_ONCE = 2**26  # of masks together, or one mask


@contextmanager
def masks_encoded() -> Iterator[None]:
    """Let the mask heads of two-stage models answer with a list of RLE, in place of whole masks.

    On a CPU, MMDetection pastes each mask into its own box; it is encoded from there, and no whole mask is made. On a
    GPU it pastes several at once into whole ones, which are encoded there.
    """
    paste = FCNMaskHead._predict_by_feat_single

    def pasted(
        head: Any,
        mask_preds: Any,
        bboxes: Any,
        labels: Any,
        img_meta: dict[str, Any],
        rcnn_test_cfg: Any,
        rescale: bool = False,
        **named: Any,
    ) -> list[Rle]:
        height, width = img_meta["ori_shape"][:2]
        if bboxes.device.type == "cpu" and rescale and not named:
            bboxes /= bboxes.new_tensor(img_meta["scale_factor"]).repeat(2)  # in place, as theirs
            own = torch.zeros_like(labels) if head.class_agnostic else labels
            masks = mask_preds[torch.arange(len(labels)), own].sigmoid()
            threshold = rcnn_test_cfg.mask_thr_binary
            return [_paste(*of, threshold, (height, width)) for of in zip(masks, bboxes, strict=True)]
        step = max(1, PIXELS_AT_ONCE // (height * width))
        found: list[Rle] = []
        for k in range(0, len(mask_preds), step):
            some = np.s_[k : k + step]  # views: MMDetection rescales boxes in place while it pastes
            whole = paste(head, mask_preds[some], bboxes[some], labels[some], img_meta, rcnn_test_cfg, rescale, **named)
            on_cpu = whole.device.type == "cpu"
            found += encode_in_boxes(whole.numpy(), bboxes[some].tolist()) if on_cpu else encode_on_device(whole)
        return found

    FCNMaskHead._predict_by_feat_single = pasted
    try:
        yield
    finally:
        FCNMaskHead._predict_by_feat_single = paste


def _paste(mask: Tensor, box: Tensor, threshold: float, size_hw: tuple[int, int]) -> Rle:
    """Encode a mask of 28 x 28 probabilities as MMDetection pastes it into a photo."""
    part, where = fcn_mask_head._do_paste_mask(mask[None, None], box[None], *size_hw)
    top, left = (int(side.start) for side in where) if where else (0, 0)  # of the part in the photo
    return _encode_part((part[0] >= threshold).numpy(), (left, top), size_hw)


def encode_kept(masks: Any, kept: Sequence[int], boxes: Any) -> list[Rle]:
    """Encode some of the masks of a photo: whole ones, or those that are encoded already.

    Args:
        masks: (N, H, W) bool tensor, or a list of RLE.
        kept: indices.
        boxes: (N, 4) float tensor, left, top, right, bottom in pixels of the photo.
    """
    if isinstance(masks, list) or not kept:
        return [masks[index] for index in kept]
    if masks.device.type == "cpu":
        return encode_in_boxes((np.asarray(masks[index], dtype=bool) for index in kept), boxes[kept].tolist())
    step = max(1, PIXELS_AT_ONCE // (masks.shape[1] * masks.shape[2]))
    parts = (masks[list(kept[k : k + step])] for k in range(0, len(kept), step))
    return [encoded for part in parts for encoded in encode_on_device(part.bool())]


def encode_on_device(masks: Tensor) -> list[Rle]:
    """Encode masks where they are: only the ends of their runs go to the processor, not a byte of each pixel.

    Args:
        masks: (N, H, W) bool.
    """
    count, height, width = masks.shape
    pixels = masks.transpose(1, 2).reshape(count, height * width)  # by columns, as RLE goes
    changes = torch.cat([pixels[:, :1], pixels[:, 1:] ^ pixels[:, :-1]], dim=1)  # the first run is of zeros
    number, place = changes.nonzero().cpu().numpy().T
    ends_of_each = np.split(place, np.searchsorted(number, np.arange(1, count)))
    runs = (np.diff(ends, prepend=0, append=height * width) for ends in ends_of_each[:count])
    return [rle.from_uncompressed(lengths.tolist(), (height, width)) for lengths in runs]


def encode_in_boxes(masks: Iterable[np.ndarray], boxes_xyxy: Sequence[Sequence[float]]) -> list[Rle]:
    """Encode masks, (H, W) bool; where all of one is in its box, which is mostly so, only that part is read."""
    found: list[Rle] = []
    for mask, (x1, y1, x2, y2) in zip(masks, boxes_xyxy, strict=True):
        left, top = max(int(x1) - 1, 0), max(int(y1) - 1, 0)
        inside = mask[top : max(int(y2) + 2, 0), left : max(int(x2) + 2, 0)]
        whole = np.count_nonzero(inside) == np.count_nonzero(mask)
        found.append(_encode_part(inside, (left, top), mask.shape) if whole else rle.encode(mask))
    return found


def _encode_part(part: np.ndarray, corner_xy: tuple[int, int], size_hw: tuple[int, ...]) -> Rle:
    """Encode a part of a photo's mask, laid out by columns first, as RLE goes: OpenCV does that faster than NumPy."""
    by_columns = cv2.transpose(part.view(np.uint8)).T if part.size else part
    return rle.encode_in_frame(by_columns, corner_xy, (size_hw[0], size_hw[1]))
