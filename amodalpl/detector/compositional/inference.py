"""A box in, what is visible and the whole object out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from .features import STRIDE, BoxCrop, FeatureExtractor, alike, crop_box
from .model import CLUTTER, OBJECT, CompositionalModel, Decision, Placement

SURELY_OBJECT = 0.9  # prior above which a hidden cell belongs to the object; of the authors' code
LIKELY_OBJECT = 0.5  # prior above which a cell counts for the whole box
MOSTLY_INSIDE = 0.6  # of the prior within the given box, above which that is the whole box
BATCH = 8
XYXY = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxPrediction:
    """What is told of one box, in the frame of the photo.

    Attributes:
        visible: (H, W) bool.
        amodal: (H, W) bool, contains `visible`.
        amodal_box_xywh: whole box in pixels; it may reach beyond the photo.
        uncertainty: mean over the whole object of how likely another answer is, 0 to 1; not calibrated.
        score: log-likelihood ratio per cell of the pose that was chosen; 0 means that clutter explains all as well.
    """

    visible: np.ndarray
    amodal: np.ndarray
    amodal_box_xywh: tuple[float, float, float, float]
    uncertainty: float
    score: float


@torch.no_grad()
def predict_boxes(
    model: CompositionalModel,
    extractor: FeatureExtractor,
    image: np.ndarray,
    boxes_xywh: Sequence[Sequence[float]],
    category_ids: Sequence[int],
    *,
    centred: bool = False,
) -> list[BoxPrediction]:
    """Segment the objects in boxes of a photo.

    Args:
        model: with templates of all classes in `category_ids`.
        extractor: that the model was trained with.
        image: (H, W, 3) uint8 RGB.
        boxes_xywh: N boxes in pixels, larger than 0.
        category_ids: N classes.
        centred: the boxes are of whole objects; else of their visible parts, and centres are searched for.

    Returns:
        N predictions.
    """
    crops = [crop_box(image, box, extractor.fill) for box in boxes_xywh]
    answers: dict[int, BoxPrediction] = {}
    for category_id in sorted(set(category_ids)):
        mine = [i for i, c in enumerate(category_ids) if c == category_id]
        for batch in alike([crops[i].size_hw for i in mine], BATCH):
            indices = [mine[k] for k in batch]
            features = torch.stack(extractor.of_crops([crops[i] for i in indices], BATCH))
            seen = model.seen(features)  # (B, h, w, K)
            valid = torch.from_numpy(np.stack([~crops[i].outside for i in indices])).to(seen.device)
            placed = model.place(seen, category_id, centred=centred, valid=valid)
            seen = _on_wide_grid(seen * valid[..., None], model.template(category_id).size_hw)
            decision = model.decide(seen, category_id, placed)
            for k, i in enumerate(indices):
                answers[i] = _answer(image.shape[:2], boxes_xywh[i], crops[i], decision, placed, k, centred)
    return [answers[i] for i in range(len(crops))]


def _on_wide_grid(seen: Tensor, template_hw: tuple[int, int]) -> Tensor:
    """Widen crops by cells that nobody looked at, as far as a template may reach, for hidden parts beyond the box."""
    rows, columns = template_hw[0] // 2 + 1, template_hw[1] // 2 + 1
    return torch.nn.functional.pad(seen, (0, 0, columns, columns, rows, rows))


def cell_masks(labels: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what is visible and the whole object, cell by cell.

    Visible are cells labelled object; hidden ones are clutter where the prior is above `SURELY_OBJECT`. Holes are
    filled: a cell with cells of the object above, below, left and right of it is of the object (the authors' rigid
    prior).

    Args:
        labels: (h, w) of `CLUTTER`, `OBJECT`, `CONTEXT`.
        prior: (h, w) that the object is there.

    Returns:
        Two (h, w) bool masks; the second contains the first.
    """
    visible = labels == OBJECT
    return visible, fill_between(visible | ((labels == CLUTTER) & (prior > SURELY_OBJECT)))


def fill_between(mask: np.ndarray) -> np.ndarray:
    """Fill each cell that has true cells on all four sides, however far.

    >>> fill_between(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)).astype(int).tolist()
    [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    """
    above, left = np.maximum.accumulate(mask, axis=0), np.maximum.accumulate(mask, axis=1)
    below = np.maximum.accumulate(mask[::-1], axis=0)[::-1]
    right = np.maximum.accumulate(mask[:, ::-1], axis=1)[:, ::-1]
    return mask | (above & below & left & right)


def whole_box(prior: np.ndarray, box_xyxy: XYXY, centre_xy: tuple[float, float]) -> XYXY:
    """Return the box of the whole object, in cells.

    If more than `MOSTLY_INSIDE` of the likely object lies in the given box, that is it. Otherwise the box grows evenly
    around the object's centre until it holds the given box and the extent of the prior.

    Args:
        prior: (h, w) that the object is there; cell (y, x) covers x to x + 1 and y to y + 1.
        box_xyxy: the given box.
        centre_xy: where the object's centre was found.
    """
    ys, xs = np.nonzero(prior > LIKELY_OBJECT)
    x0, y0, x1, y1 = box_xyxy
    if len(ys) == 0:
        return box_xyxy
    inside = (xs + 0.5 > x0) & (xs + 0.5 < x1) & (ys + 0.5 > y0) & (ys + 0.5 < y1)
    if inside.mean() > MOSTLY_INSIDE:
        return box_xyxy
    cx, cy = centre_xy
    half_w = max(cx - x0, x1 - cx, (xs.max() + 1 - xs.min()) / 2)
    half_h = max(cy - y0, y1 - cy, (ys.max() + 1 - ys.min()) / 2)
    return float(cx - half_w), float(cy - half_h), float(cx + half_w), float(cy + half_h)


def upsample(mask: np.ndarray, corner_xy: tuple[float, float], cell_px: float, size_hw: tuple[int, int]) -> np.ndarray:
    """Paste a mask of cells into a photo: 3 x 3 median, then bilinear between the centres of cells, cut at the middle.

    Args:
        mask: (h, w) bool.
        corner_xy: of its first cell, in pixels of the photo.
        cell_px: side of a cell in pixels of the photo.
        size_hw: of the photo.

    Returns:
        (H, W) bool.
    """
    padded = np.pad(mask.astype(np.uint8), 1)
    response = cv2.medianBlur(padded, 3).astype(np.float32)
    to_photo = np.array(
        [
            [cell_px, 0, corner_xy[0] - cell_px / 2 - 0.5],  # the centre of the first padded cell
            [0, cell_px, corner_xy[1] - cell_px / 2 - 0.5],
        ]
    )
    pasted = cv2.warpAffine(response, to_photo, (size_hw[1], size_hw[0]), flags=cv2.INTER_LINEAR)
    return pasted > 0.5


def _answer(
    size_hw: tuple[int, int],
    box_xywh: Sequence[float],
    crop: BoxCrop,
    decision: Decision,
    placed: Placement,
    k: int,
    centred: bool,
) -> BoxPrediction:
    prior = decision.prior[k].cpu().numpy()
    visible, amodal = cell_masks(decision.labels[k].cpu().numpy(), prior)
    rows, columns = prior.shape
    cell_px = STRIDE / crop.scale
    corner = crop.centre_xy[0] - columns / 2 * cell_px, crop.centre_xy[1] - rows / 2 * cell_px
    x, y, width, height = box_xywh
    given = (
        (x - corner[0]) / cell_px,
        (y - corner[1]) / cell_px,
        (x + width - corner[0]) / cell_px,
        (y + height - corner[1]) / cell_px,
    )
    shift_y, shift_x = (int(s) for s in placed.shift_yx[k])
    box = given if centred else whole_box(prior, given, (columns / 2 + shift_x, rows / 2 + shift_y))
    x0, y0, x1, y1 = (c * cell_px + corner[i % 2] for i, c in enumerate(box))
    whole = upsample(amodal, corner, cell_px, size_hw) & _filled((x0, y0, x1, y1), size_hw)
    seen = upsample(visible, corner, cell_px, size_hw) & whole & _filled((x, y, x + width, y + height), size_hw)
    chances = decision.log_joint[k].softmax(dim=-1).amax(dim=-1).cpu().numpy()
    doubt = float(1 - chances[amodal].mean()) if amodal.any() else 1.0
    return BoxPrediction(seen, whole, (x0, y0, x1 - x0, y1 - y0), doubt, float(placed.score[k]))


def _filled(box_xyxy: XYXY, size_hw: tuple[int, int]) -> np.ndarray:
    x0, y0, x1, y1 = (max(0, round(c)) for c in box_xyxy)
    filled = np.zeros(size_hw, dtype=bool)
    filled[y0:y1, x0:x1] = True
    return filled
