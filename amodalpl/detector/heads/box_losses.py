"""The equations of learning masks from boxes. Tensors in, tensors out; no MMDetection.

N objects, maps of h x w cells. Neighbours of a cell are its eight neighbours at a distance, in a fixed order.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_EPS = 5e-6  # of the Dice loss; MMDetection's config of BoxInst


def box_maps(boxes_xyxy: Tensor, size_hw: tuple[int, int], stride: int) -> Tensor:
    """Fill boxes on a coarse map.

    Args:
        boxes_xyxy: (N, 4) in pixels of the photo.
        size_hw: h and w of the map.
        stride: pixels of a cell.

    Returns:
        (N, h, w) bool: cells whose centre is in the box; of a smaller box with an area, the cell of its middle.
    """
    axes = []
    for axis in (1, 0):  # y, then x
        low, high = boxes_xyxy[:, axis, None], boxes_xyxy[:, axis + 2, None]
        cell = torch.arange(size_hw[1 - axis], device=boxes_xyxy.device)
        centre = (cell + 0.5) * stride
        middle = ((low + high) / (2 * stride)).floor()
        axes.append(((centre >= low) & (centre < high)) | ((cell == middle) & (high > low)))
    return axes[0][:, :, None] & axes[1][:, None, :]


def summed(losses: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of (N,) losses, and N, so that a mean can be taken over several photos."""
    return losses.sum(), torch.tensor(len(losses), device=losses.device)


def neighbours(maps: Tensor, distance: int) -> Tensor:
    """Return the values of the eight neighbours at a distance, 0 outside of the map.

    Shapes: (N, h, w) -> (N, 8, h, w).
    """
    count, height, width = maps.shape
    found = functional.unfold(maps[:, None], 3, dilation=distance, padding=distance).view(count, 9, height, width)
    return torch.cat([found[:, :4], found[:, 5:]], dim=1)


def to_lab(rgb: Tensor) -> Tensor:
    """Convert sRGB to CIE L*a*b* under D65.

    Args:
        rgb: (..., 3, h, w) in 0..255.

    Returns:
        The same shape: L in 0..100, a and b.
    """
    value = rgb.float() / 255
    linear = torch.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    to_xyz = linear.new_tensor(
        [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
    )
    white = linear.new_tensor([0.95047, 1.0, 1.08883])
    xyz = torch.einsum("ij,...jhw->...ihw", to_xyz, linear) / white[:, None, None]
    curve = torch.where(xyz > 0.008856, xyz.clamp_min(1e-8) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = curve.unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-3)


def colour_edges(lab: Tensor, valid: Tensor, distance: int, threshold: float) -> Tensor:
    """Find neighbours of similar colour, which BoxInst takes for parts of the same thing.

    Args:
        lab: (3, h, w) L*a*b*.
        valid: (h, w) bool, cells of the photo (the rest is padding).
        distance: of the neighbours.
        threshold: least similarity exp(-|difference| / 2).

    Returns:
        (8, h, w) bool.
    """
    apart = lab[:, None] - neighbours(lab, distance)  # (3, 8, h, w)
    similar = torch.exp(-apart.norm(dim=0) / 2) >= threshold
    return similar & (neighbours(valid[None].float(), distance)[0] > 0)


def projection_loss(logits: Tensor, boxes: Tensor) -> Tensor:
    """Return how far the extent of each mask is from its box, after Tian et al. 2021, equation (2).

    L = Dice(row maxima of the mask, of the box) + Dice(column maxima), with Dice(p, q) = 1 - 2 Σpq / (Σp² + Σq²).

    Args:
        logits: (N, h, w).
        boxes: (N, h, w) bool, filled.

    Returns:
        (N,).
    """
    mask, box = logits.sigmoid(), boxes.to(logits.dtype)
    return sum((_dice(mask.amax(dim), box.amax(dim)) for dim in (1, 2)), logits.new_zeros(len(logits)))


def fill_loss(logits: Tensor, boxes: Tensor) -> Tensor:
    """Return how far each mask is from filling its box, 1 - 2 Σpq / (Σp² + Σq²) over all cells.

    Args:
        logits: (N, h, w).
        boxes: (N, h, w) bool, filled.

    Returns:
        (N,).
    """
    return _dice(logits.sigmoid().flatten(1), boxes.to(logits.dtype).flatten(1))


def _dice(found: Tensor, wanted: Tensor) -> Tensor:
    overlap = (found * wanted).sum(dim=1)
    return 1 - 2 * overlap / ((found**2).sum(dim=1) + (wanted**2).sum(dim=1) + _EPS)


def unlikeness(logits: Tensor, distance: int) -> tuple[Tensor, Tensor]:
    """Return -log c and -log(1 - c), with c = p q + (1 - p) (1 - q): that a cell and its neighbour are labelled alike.

    Args:
        logits: (N, h, w) of p.
        distance: of the neighbours, whose p is q.

    Returns:
        (N, 8, h, w) each; without meaning where the neighbour is outside of the map.
    """
    inside, outside = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    theirs_inside, theirs_outside = neighbours(inside, distance), neighbours(outside, distance)
    inside, outside = inside[:, None], outside[:, None]
    alike = torch.logaddexp(inside + theirs_inside, outside + theirs_outside)
    different = torch.logaddexp(inside + theirs_outside, outside + theirs_inside)
    return -alike, -different


def pairwise_loss(logits: Tensor, edges: Tensor, distance: int) -> Tensor:
    """Return the sum over edges of -log c, after Tian et al. 2021, equation (5); the caller divides by their number.

    Args:
        logits: (N, h, w).
        edges: (N, 8, h, w) bool, neighbours that should be labelled alike.
        distance: of the neighbours.
    """
    alike, _ = unlikeness(logits, distance)
    return (alike * edges).sum()


def tightness_loss(logits: Tensor, boxes: Tensor) -> Tensor:
    """Return how far masks are from touching all four sides of their boxes, after Hsu et al. 2019.

    Each row and column that crosses the box has a pixel of the object inside the box; the others have none at all.

    Args:
        logits: (N, h, w).
        boxes: (N, h, w) bool, filled.

    Returns:
        (N,), means over rows and columns of the cross entropy of their highest logits.
    """
    highest, crosses = [], []
    for dim in (1, 2):
        crossing = boxes.any(dim)
        within = logits.masked_fill(~boxes, -torch.inf).amax(dim)
        highest.append(torch.where(crossing, within, logits.amax(dim)))
        crosses.append(crossing)
    lines, wanted = torch.cat(highest, dim=1), torch.cat(crosses, dim=1).to(logits.dtype)
    return functional.binary_cross_entropy_with_logits(lines, wanted, reduction="none").mean(dim=1)


def roughness(logits: Tensor) -> Tensor:
    """Return the mean squared difference of the probabilities of neighbouring cells, (N, h, w) -> (N,)."""
    mask = logits.sigmoid()
    exists = neighbours(torch.ones_like(mask[:1]), 1)
    apart = (mask[:, None] - neighbours(mask, 1)) ** 2 * exists
    return apart.sum(dim=(1, 2, 3)) / exists.sum()


def overlap_regions(boxes_xyxy: Tensor) -> Tensor:
    """Return, for each whole box, the smallest box around all that it shares with others of the photo.

    After Liu, Li, Jiang 2024 (BLADE), equations (4) to (6): what is hidden of an object is in there.

    Args:
        boxes_xyxy: (N, 4) whole boxes of one photo.

    Returns:
        (N, 4); all 0 for a box that shares nothing.

    >>> overlap_regions(torch.tensor([[0.0, 0, 4, 4], [2.0, 1, 9, 9], [20.0, 0, 30, 4]])).tolist()
    [[2.0, 1.0, 4.0, 4.0], [2.0, 1.0, 4.0, 4.0], [0.0, 0.0, 0.0, 0.0]]
    """
    if not len(boxes_xyxy):
        return boxes_xyxy
    low = torch.maximum(boxes_xyxy[:, None, :2], boxes_xyxy[None, :, :2])
    high = torch.minimum(boxes_xyxy[:, None, 2:], boxes_xyxy[None, :, 2:])
    shared = (high > low).all(dim=2, keepdim=True)
    shared &= ~torch.eye(len(boxes_xyxy), dtype=torch.bool, device=boxes_xyxy.device)[:, :, None]
    lowest = low.masked_fill(~shared, torch.inf).amin(dim=1)
    highest = high.masked_fill(~shared, -torch.inf).amax(dim=1)
    return torch.cat([lowest, highest], dim=1).masked_fill(~shared.any(dim=1), 0.0)


def neighbour_loss(amodal: Tensor, seen: Tensor, boxes: Tensor, distance: int) -> tuple[Tensor, Tensor]:
    """Return how unlike seen cells their neighbours are labelled, after Liu, Li, Jiang 2024, equations (10) to (13).

    An edge that begins or ends at a seen cell should join equal labels if both ends are in the whole box or both are
    outside, and different ones if it crosses the side of the box.

    Args:
        amodal: (N, h, w) logits of whole masks.
        seen: (N, h, w) bool, cells in the overlap where the object is predicted to be visible.
        boxes: (N, h, w) bool, filled whole boxes.
        distance: of the neighbours.

    Returns:
        (N,) means over edges, 0 without any; (N,) bool, whether there are any.
    """
    alike, different = unlikeness(amodal, distance)
    exists = neighbours(torch.ones_like(amodal[:1]), distance) > 0
    edges = (seen[:, None] | (neighbours(seen.to(amodal.dtype), distance) > 0)) & exists
    same = boxes[:, None] == (neighbours(boxes.to(amodal.dtype), distance) > 0)
    count = edges.sum(dim=(1, 2, 3))
    total = (torch.where(same, alike, different) * edges).sum(dim=(1, 2, 3))
    return total / count.clamp_min(1), count > 0


def uniform_loss(amodal: Tensor, visible: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far whole masks are below visible ones in the overlap, after Liu, Li, Jiang 2024, equation (14).

    Args:
        amodal: (N, h, w) probabilities of whole masks.
        visible: (N, h, w) probabilities of visible masks.
        regions: (N, h, w) bool, the overlaps.

    Returns:
        (N,) means over the overlap, 0 without one; (N,) bool, whether there is one.
    """
    count = regions.sum(dim=(1, 2))
    missing = (functional.relu(visible - amodal) * regions).sum(dim=(1, 2))
    return missing / count.clamp_min(1), count > 0
