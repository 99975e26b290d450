"""Asking a completer about the objects of images: crops of many objects and images in one batch.

Shared by labelling, by scoring on the hold-out, and by the pairwise order rule, so that all see objects alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import torch

from .masks.boxes import Square, crop_square, tight_box
from .masks.geometry import dilate, from_patch, occlusion_boundary, to_patch
from .models.completer import Completer

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Scene:
    """One image as completion sees it.

    Attributes:
        masks: (N, H, W) bool, disjoint visible parts.
        image: (H, W, 3) uint8 RGB; needed only by completers that look at the photo.
    """

    masks: np.ndarray
    image: np.ndarray | None = None

    @cached_property
    def covered(self) -> np.ndarray:
        """(H, W) bool, the pixels of any object."""
        return np.any(self.masks, axis=0)


@dataclass(frozen=True)
class Query:
    """A question: how far does `target` reach behind `occluders`? All are indices into `scenes` and `scene.masks`."""

    scene: int
    target: int
    occluders: tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """What the network says, back in image pixels.

    Attributes:
        query: the question.
        window: rows and columns of the image that the crop covers.
        probability: (h, w) float32 in [0, 1], within the window.
        doubt: (h, w) float32 in [0, 1], the method's own uncertainty per pixel.
        behind: (h, w) bool, the occluders' pixels, and those of the gap between them and the target.
        modal: (h, w) bool, the target's visible part.
    """

    query: Query
    window: Window
    probability: np.ndarray
    doubt: np.ndarray
    behind: np.ndarray
    modal: np.ndarray


@dataclass(frozen=True)
class View:
    """How objects are shown to the network; the training settings of the completer, and the tolerance for gaps.

    Attributes:
        patch_px: side of the patch.
        enlarge_box: see `crop_square`.
        boundary_px: see `occlusion_boundary`.
        gap_px: free image pixels between target and occluder that are treated as the occluder's.
    """

    patch_px: int
    enlarge_box: float = 3.0
    boundary_px: int = 5
    gap_px: int = 2


def ask(
    completer: Completer, scenes: Sequence[Scene], queries: Iterable[Query], view: View, batch_size: int
) -> Iterator[Answer]:
    """Answer queries in order, `batch_size` crops per call of the network.

    Args:
        completer: in eval mode, on its device.
        scenes: what the queries point into.
        queries: every target must have at least one pixel.
        view: crop and resolution.
        batch_size: crops per call.

    Yields:
        One answer per query.
    """
    device = next(completer.parameters()).device
    remaining = iter(queries)
    while batch := list(islice(remaining, batch_size)):
        crops = [_crop(scenes[q.scene], q, view) for q in batch]
        inputs = {
            name: torch.from_numpy(np.stack([c.patches[name] for c in crops])[:, None]).to(device)
            for name in ("modal", "occluder", "boundary")
        }  # (B, 1, P, P) each
        if completer.uses_image:
            photos = np.stack([c.patches["image"] for c in crops])  # (B, P, P, 3)
            inputs["image"] = torch.from_numpy(photos).permute(0, 3, 1, 2).to(device)
        with torch.inference_mode():
            probability, doubt = completer.read(completer(**inputs))
        for query, crop, p, d in zip(batch, crops, probability.cpu().numpy(), doubt.cpu().numpy(), strict=True):
            size_hw = crop.modal.shape
            yield Answer(
                query,
                crop.window,
                from_patch(p, crop.matrix, size_hw),
                from_patch(d, crop.matrix, size_hw),
                crop.behind,
                crop.modal,
            )


@dataclass(frozen=True)
class _Crop:
    window: Window
    matrix: np.ndarray
    modal: np.ndarray
    behind: np.ndarray
    patches: dict[str, np.ndarray]


def _crop(scene: Scene, query: Query, view: View) -> _Crop:
    square = crop_square(tight_box(scene.masks[query.target]), view.enlarge_box)
    window = _covered(square, scene.masks.shape[1:])
    modal = np.ascontiguousarray(scene.masks[query.target][window])
    occluder = np.zeros_like(modal)
    for index in query.occluders:
        occluder |= scene.masks[index][window]
    gap = dilate(occluder, view.gap_px) & dilate(modal, view.gap_px) & ~scene.covered[window]
    behind = occluder | gap
    matrix = square.patch_from_raster(view.patch_px, (window[1].start, window[0].start))
    modal_patch = to_patch(modal, matrix, view.patch_px)
    occluder_patch = to_patch(behind, matrix, view.patch_px)
    patches = {
        "modal": modal_patch,
        "occluder": occluder_patch,
        "boundary": occlusion_boundary(modal_patch, occluder_patch, view.boundary_px),
    }
    if scene.image is not None:
        patches["image"] = to_patch(np.ascontiguousarray(scene.image[window]), matrix, view.patch_px, linear=True)
    return _Crop(window, matrix, modal, behind, patches)


def _covered(square: Square, size_hw: Sequence[int]) -> Window:
    x0, y0 = max(int(np.floor(square.x)), 0), max(int(np.floor(square.y)), 0)
    x1 = min(int(np.ceil(square.x + square.side)), size_hw[1])
    y1 = min(int(np.ceil(square.y + square.side)), size_hw[0])
    return np.s_[y0:y1, x0:x1]
