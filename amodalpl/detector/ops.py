"""The compiled functions of mmcv that our detectors need, for machines where mmcv was built without them.

`mmcv.ops` loads its functions from the module `mmcv._ext`. `install` puts a stand-in there whose `nms`,
`roi_align_forward` and `roi_align_backward` run on torchvision where that imports, else on plain torch. It serves the
functions of `gpu_only_ops` too; every other one answers with an error that says what to install. mmcv's own compiled
module is left alone where it works.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import cache
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import MissingPackageError
from . import gpu_only_ops

Backend = Literal["mmcv", "torchvision", "torch"]
_EXT = "mmcv._ext"
_STUB = "requires mmcv to be compiled"  # what MMDetection's own stand-ins say
_AVERAGE = 1  # mmcv's number for pool_mode 'avg'; 0 is 'max'
_DENSE_CHANNELS = 4  # up to here two small matrix products per RoI beat gathering (mask targets have one channel)


def install() -> Backend:
    """Make `mmcv.ops` importable; call it before the first import of mmdet.

    Returns:
        Which implementation serves the calls.

    Raises:
        ImportError: mmcv is not installed.
    """
    importlib.import_module("mmcv")
    chosen = backend()
    if chosen != "mmcv" and _EXT not in sys.modules:
        bridge = _Bridge(_EXT)
        bridge.__spec__ = ModuleSpec(_EXT, loader=None)
        sys.modules[_EXT] = bridge
        _serve_modules_imported_before()
    return chosen


def _serve_modules_imported_before() -> None:
    """Put operations in place of the stubs that MMDetection made for itself where it was imported before `install`."""
    operations = importlib.import_module("mmcv.ops")
    for name, module in list(sys.modules.items()):
        if name.startswith("mmdet."):
            for key, value in list(vars(module).items()):
                if getattr(value, "__module__", None) == name and _is_stub(value) and hasattr(operations, key):
                    setattr(module, key, getattr(operations, key))


def _is_stub(value: Any) -> bool:
    function = vars(value).get("__init__") if isinstance(value, type) else value
    code = getattr(function, "__code__", None)
    return code is not None and any(isinstance(c, str) and _STUB in c for c in code.co_consts)


@cache
def backend() -> Backend:
    """Tell which implementation is used here: mmcv's compiled one, torchvision's, or plain torch."""
    if not isinstance(sys.modules.get(_EXT), _Bridge) and _importable(_EXT):
        return "mmcv"
    return "torchvision" if _importable("torchvision.ops") else "torch"


def _importable(module: str) -> bool:
    try:
        importlib.import_module(module)
    except Exception:  # a torchvision built for another torch raises RuntimeError, a broken extension OSError
        return False
    return True


class _Bridge(ModuleType):
    """Stands in for `mmcv._ext`; unknown names answer with a function that raises when it is called."""

    sigmoid_focal_loss_forward = staticmethod(gpu_only_ops.sigmoid_focal_loss_forward)
    sigmoid_focal_loss_backward = staticmethod(gpu_only_ops.sigmoid_focal_loss_backward)
    ms_deform_attn_forward = staticmethod(gpu_only_ops.ms_deform_attn_forward)
    ms_deform_attn_backward = staticmethod(gpu_only_ops.ms_deform_attn_backward)

    @staticmethod
    def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
        """Serve `mmcv.ops.nms`."""
        return nms(boxes, scores, iou_threshold, offset)

    @staticmethod
    def roi_align_forward(
        features: Tensor,
        rois: Tensor,
        output: Tensor,
        argmax_y: Tensor,
        argmax_x: Tensor,
        *,
        aligned_height: int,
        aligned_width: int,
        spatial_scale: float,
        sampling_ratio: int,
        pool_mode: int,
        aligned: bool,
    ) -> None:
        """Serve the forward half of `mmcv.ops.roi_align`: fill `output`."""
        _only_average(pool_mode)
        size_hw = (aligned_height, aligned_width)
        output.copy_(roi_align(features, rois, size_hw, spatial_scale, sampling_ratio, aligned))

    @staticmethod
    def roi_align_backward(
        grad_output: Tensor,
        rois: Tensor,
        argmax_y: Tensor,
        argmax_x: Tensor,
        grad_input: Tensor,
        *,
        aligned_height: int,
        aligned_width: int,
        spatial_scale: float,
        sampling_ratio: int,
        pool_mode: int,
        aligned: bool,
    ) -> None:
        """Serve the backward half: fill `grad_input`, whose shape is that of the features."""
        _only_average(pool_mode)
        shape = tuple(grad_input.shape)
        grad_input.copy_(roi_align_grad(grad_output, rois, shape, spatial_scale, sampling_ratio, aligned))

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: Any, **__: Any) -> NoReturn:
            raise MissingPackageError(
                f"mmcv.ops needs its compiled function {name!r}, and this mmcv was built without any; only nms, "
                "roi_align, sigmoid_focal_loss and ms_deform_attn are served here: build mmcv with "
                "MMCV_WITH_OPS=1, or use a model without that operation"
            )

        return missing


def _only_average(pool_mode: int) -> None:
    if pool_mode != _AVERAGE:
        raise MissingPackageError(
            "roi_align with pool_mode='max' needs mmcv's compiled operations: build mmcv with MMCV_WITH_OPS=1, "
            "or use pool_mode='avg'"
        )


def nms(boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Keep the best box of each overlapping group.

    Args:
        boxes_xyxy: (N, 4).
        scores: (N,).
        iou_threshold: boxes that overlap a better one by more than this go.
        offset: 0 or 1, added to widths and heights (1: corners are whole pixels that belong to the box).

    Returns:
        (K,) int64 indices by falling score; of equal scores the first comes first.
    """
    if backend() == "torchvision":
        from torchvision.ops import nms as compiled

        grown = boxes_xyxy + boxes_xyxy.new_tensor([0.0, 0.0, offset, offset]) if offset else boxes_xyxy
        return compiled(grown.float(), scores.float(), iou_threshold)
    return torch_nms(boxes_xyxy, scores, iou_threshold, offset)


def torch_nms(boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Do what `nms` does, on the processor, for boxes on any device."""
    order = torch.sort(scores.detach(), descending=True, stable=True).indices.cpu().numpy()
    x1, y1, x2, y2 = boxes_xyxy.detach().to("cpu", torch.float32).numpy()[order].T
    area = (x2 - x1 + offset) * (y2 - y1 + offset)
    left: np.ndarray = np.arange(len(order))
    kept: list[int] = []
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 of empty boxes is no overlap
        while left.size:
            best, left = left[0], left[1:]
            kept.append(int(order[best]))
            width = np.minimum(x2[best], x2[left]) - np.maximum(x1[best], x1[left]) + offset
            height = np.minimum(y2[best], y2[left]) - np.maximum(y1[best], y1[left]) + offset
            shared = np.maximum(width, 0) * np.maximum(height, 0)
            left = left[~(shared / (area[best] + area[left] - shared) > iou_threshold)]
    return torch.tensor(kept, dtype=torch.long, device=boxes_xyxy.device)


def roi_align(
    features: Tensor, rois: Tensor, size_hw: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    """Average features over the cells of a grid laid on each RoI, after He et al. 2017 and mmcv's function.

    Args:
        features: (B, C, H, W).
        rois: (R, 5) image index, x1, y1, x2, y2 in image pixels.
        size_hw: cells per RoI, down and across.
        scale: feature pixels per image pixel.
        sampling_ratio: samples per cell and axis; 0 takes ceil(RoI size / cells), for each RoI and axis on its own.
        aligned: pixel centres are at .5 (True), or the older convention of whole numbers and RoIs of at least 1 pixel.

    Returns:
        (R, C, h, w) of the features' dtype.
    """
    if backend() == "torchvision":
        compiled = torch.ops.torchvision.roi_align
        exact = _served_by_torchvision(features)
        return compiled(exact, rois.type_as(exact), scale, *size_hw, sampling_ratio, aligned).to(features.dtype)
    return torch_roi_align(features, rois, size_hw, scale, sampling_ratio, aligned)


def roi_align_grad(
    grad: Tensor, rois: Tensor, shape: tuple[int, ...], scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    """Return the gradient of `roi_align` with respect to its features.

    Args:
        grad: (R, C, h, w) gradient of the output.
        rois: as in `roi_align`.
        shape: (B, C, H, W) of the features.
        scale: as in `roi_align`.
        sampling_ratio: as in `roi_align`.
        aligned: as in `roi_align`.
    """
    if backend() == "torchvision":
        compiled = torch.ops.torchvision._roi_align_backward
        exact = _served_by_torchvision(grad)
        into = compiled(exact, rois.type_as(exact), scale, *grad.shape[2:], *shape, sampling_ratio, aligned)
        return into.to(grad.dtype)
    return torch_roi_align_grad(grad, rois, shape, scale, sampling_ratio, aligned)


def _served_by_torchvision(values: Tensor) -> Tensor:
    """Widen bfloat16, in which torchvision aligns nothing."""
    return values.float() if values.dtype == torch.bfloat16 else values


def torch_roi_align(
    features: Tensor, rois: Tensor, size_hw: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    """Do what `roi_align` does in plain torch.

    Samples lie on a grid and bilinear weights are products, so the mean over the samples of a cell is a product of two
    averages, one per axis: weights over rows times weights over columns. They are applied densely where there are few
    channels, else as a weighted sum of the few feature pixels under each cell.
    """
    batch, channels, height, width = features.shape
    exact = features if features.dtype == torch.float64 else features.float()
    rows, columns = _axis_weights(rois.to(exact.dtype), size_hw, (height, width), scale, sampling_ratio, aligned)
    image = rois[:, 0].long()
    if channels <= _DENSE_CHANNELS:
        return (rows[:, None] @ exact[image] @ columns[:, None].mT).to(features.dtype)
    pixels, weights = _pixels_under_cells(rows, columns, image)
    table = exact.permute(0, 2, 3, 1).reshape(-1, channels)  # (B * H * W, C)
    pooled = F.embedding_bag(pixels, table, per_sample_weights=weights, mode="sum")  # (R * h * w, C)
    return pooled.view(len(rois), *size_hw, channels).permute(0, 3, 1, 2).to(features.dtype)


def torch_roi_align_grad(
    grad: Tensor, rois: Tensor, shape: tuple[int, ...], scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    """Do what `roi_align_grad` does in plain torch; the order of the sums is fixed, so equal calls give equal bits."""
    batch, channels, height, width = shape
    size_hw = (grad.shape[2], grad.shape[3])
    exact = grad if grad.dtype == torch.float64 else grad.float()
    rows, columns = _axis_weights(rois.to(exact.dtype), size_hw, (height, width), scale, sampling_ratio, aligned)
    pixels, weights = _pixels_under_cells(rows, columns, rois[:, 0].long())
    table = exact.permute(0, 2, 3, 1).reshape(-1, channels)  # (R * h * w, C)
    cell, slot = torch.nonzero(weights, as_tuple=True)
    pixel, order = torch.sort(pixels[cell, slot], stable=True)
    total = batch * height * width
    starts = torch.searchsorted(pixel, torch.arange(total, device=pixel.device))
    into = F.embedding_bag(
        cell[order], table, starts, per_sample_weights=weights[cell, slot][order], mode="sum"
    )  # (B * H * W, C)
    return into.view(batch, height, width, channels).permute(0, 3, 1, 2).to(grad.dtype)


def _axis_weights(
    rois: Tensor,
    size_hw: tuple[int, int],
    features_hw: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> tuple[Tensor, Tensor]:
    """Return (R, h, H) and (R, w, W): how much each feature row and column counts in each cell."""
    corners = rois[:, 1:] * scale - (0.5 if aligned else 0.0)
    axes = []
    for axis in (1, 0):  # y, then x
        cells, length = size_hw[1 - axis], features_hw[1 - axis]
        start = corners[:, axis]
        extent = corners[:, axis + 2] - start
        if not aligned:
            extent = extent.clamp(min=1.0)
        axes.append(_weights(start, extent / cells, cells, length, sampling_ratio))
    return axes[0], axes[1]


def _weights(start: Tensor, cell: Tensor, cells: int, length: int, sampling_ratio: int) -> Tensor:
    """Return (R, cells, length) for RoIs that start at (R,) and have cells of size (R,), in feature pixels."""
    count = torch.full_like(cell, sampling_ratio) if sampling_ratio > 0 else torch.ceil(cell).clamp(min=0)
    weights = start.new_zeros(len(start), cells, length)
    if not len(start) or not count.max():
        return weights
    sample = torch.arange(int(count.max()), device=start.device, dtype=start.dtype)
    bins = torch.arange(cells, device=start.device, dtype=start.dtype)
    step = cell / count.clamp(min=1)
    at = (start[:, None] + bins * cell[:, None])[..., None] + (sample + 0.5) * step[:, None, None]  # (R, cells, S)
    share = (at >= -1) & (at <= length) & (sample < count[:, None, None])
    share = share / count.clamp(min=1)[:, None, None]
    at = at.clamp(0, length - 1)
    low = at.floor()
    high_share = at - low
    weights.scatter_add_(2, low.long(), share * (1 - high_share))
    weights.scatter_add_(2, (low.long() + 1).clamp(max=length - 1), share * high_share)
    return weights


def _pixels_under_cells(rows: Tensor, columns: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return (R * h * w, K) flat feature pixels under each cell, and their weights (0 pads)."""
    height, width = rows.shape[2], columns.shape[2]
    row_weight, row = _largest(rows)  # (R, h, K_y)
    column_weight, column = _largest(columns)  # (R, w, K_x)
    flat = (image[:, None, None] * height + row)[:, :, None, :, None] * width + column[:, None, :, None, :]
    weights = row_weight[:, :, None, :, None] * column_weight[:, None, :, None, :]
    slots = row.shape[2] * column.shape[2]
    return flat.reshape(-1, slots), weights.reshape(-1, slots)


def _largest(weights: Tensor) -> tuple[Tensor, Tensor]:
    filled = int((weights > 0).sum(dim=-1).max()) if weights.numel() else 0
    return weights.topk(max(filled, 1), dim=-1)
