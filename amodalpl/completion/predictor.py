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

from ..masks.boxes import Square, crop_square, tight_box
from ..masks.gaps import close_gap, loosen
from ..masks.geometry import from_patch, occlusion_boundary, to_patch
from ..models.completer import Completer

Window = tuple[slice, slice]

BEYOND_GAP = 1.4  # sides of the box that a crop shows at least, beside the tolerance for gaps
WIDENING = 1.4  # sides of the crop that is tried when an answer was cut off; training goes up to 1.5


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

    def loosened(self, by_px: int) -> Scene:
        """Return the scene with contours that were drawn too tight grown by so many pixels (`masks.gaps.loosen`)."""
        return Scene(loosen(self.masks, by_px), self.image) if by_px else self


@dataclass(frozen=True)
class Query:
    """A question: how far does `target` reach behind `occluders`? All are indices into `scenes` and `scene.masks`.

    The network is shown a crop around the target, or the part of the image that `crop` says.
    """

    scene: int
    target: int
    occluders: tuple[int, ...]
    crop: Square | None = None


@dataclass(frozen=True)
class Answer:
    """What the network says, back in image pixels.

    Attributes:
        query: the question.
        window: rows and columns of the image that the crop covers.
        probability: (h, w) float32 in [0, 1], within the window.
        behind: (h, w) bool, the occluders' pixels, and those of the closed gap between them and the target.
        modal: (h, w) bool, the target's visible part.
    """

    query: Query
    window: Window
    probability: np.ndarray
    behind: np.ndarray
    modal: np.ndarray


@dataclass(frozen=True)
class View:
    """How objects are shown to the network; the training settings of the completer, and the tolerance for gaps.

    Attributes:
        patch_px: side of the patch.
        enlarge_box: see `crop_square`.
        boundary_px: see `occlusion_boundary`.
        gap_px: widest gap between target and occluder, in free image pixels, that is closed (`masks.gaps.close_gap`).
    """

    patch_px: int
    enlarge_box: float = 3.0
    boundary_px: int = 5
    gap_px: int = 2


def ask(
    completer: Completer, scenes: Sequence[Scene], queries: Iterable[Query], view: View, batch_size: int
) -> Iterator[Answer]:
    """Answer queries in order, `batch_size` crops per call of the network.

    An answer that reaches the edge of a crop around its target is asked for again in a wider one, by methods that were
    trained for it: the box expansion of Li and Malik 2016, section 3.3, once and on all four sides instead of side by
    side.

    Args:
        completer: in eval mode, on its device.
        scenes: what the queries point into.
        queries: every target must have at least one pixel.
        view: crop and resolution.
        batch_size: crops per call.

    Yields:
        One answer per query.
    """
    method, remaining = completer.method, iter(queries)
    while batch := list(islice(remaining, batch_size)):
        answers = _ask_once(completer, scenes, batch, view, 1.0)
        cut_off = [k for k, answer in enumerate(answers) if _is_cut_off(answer, scenes)] if method.widens else []
        if cut_off:
            wider = _ask_once(completer, scenes, [batch[k] for k in cut_off], view, WIDENING)
            for k, answer in zip(cut_off, wider, strict=True):
                answers[k] = answer
        yield from answers


def reaches_inner_edge(answer: Answer, amodal: np.ndarray, size_hw: Sequence[int]) -> bool:
    """Tell whether growth touches an edge of the window that is not an edge of the image.

    The outermost two pixels are looked at, because the crop covers the last one in part only, so that its probability
    fades to zero.

    Args:
        answer: of the completer.
        amodal: (h, w) bool, within the answer's window.
        size_hw: of the image.
    """
    grown = amodal & ~answer.modal
    rows, columns = answer.window
    return bool(
        (rows.start > 0 and grown[:2].any())
        or (rows.stop < size_hw[0] and grown[-2:].any())
        or (columns.start > 0 and grown[:, :2].any())
        or (columns.stop < size_hw[1] and grown[:, -2:].any())
    )


def _is_cut_off(answer: Answer, scenes: Sequence[Scene]) -> bool:
    if answer.query.crop is not None:
        return False
    likely = (answer.probability > 0.5) & answer.behind
    return reaches_inner_edge(answer, likely, scenes[answer.query.scene].masks.shape[1:])


def _ask_once(
    completer: Completer, scenes: Sequence[Scene], queries: Sequence[Query], view: View, widening: float
) -> list[Answer]:
    device = next(completer.parameters()).device
    crops = [_crop(scenes[q.scene], q, view, widening) for q in queries]
    inputs = {
        name: torch.from_numpy(np.stack([c.patches[name] for c in crops])[:, None]).to(device)
        for name in ("modal", "occluder", "boundary")
    }  # (B, 1, P, P) each
    if completer.uses_image:
        photos = np.stack([c.patches["image"] for c in crops])  # (B, P, P, 3)
        inputs["image"] = torch.from_numpy(photos).permute(0, 3, 1, 2).to(device)
    with torch.inference_mode():
        probability = completer.read(completer(**inputs))
    return [
        Answer(
            query,
            crop.window,
            from_patch(p, crop.matrix, crop.modal.shape),
            crop.behind,
            crop.modal,
        )
        for query, crop, p in zip(queries, crops, probability.cpu().numpy(), strict=True)
    ]


@dataclass(frozen=True)
class _Crop:
    window: Window
    matrix: np.ndarray
    modal: np.ndarray
    behind: np.ndarray
    patches: dict[str, np.ndarray]


def _crop(scene: Scene, query: Query, view: View, widening: float) -> _Crop:
    square = (query.crop or _around(scene.masks[query.target], view)).widened(widening)
    window = _covered(square, scene.masks.shape[1:])
    modal = np.ascontiguousarray(scene.masks[query.target][window])
    occluder = np.zeros_like(modal)
    for index in query.occluders:
        occluder |= scene.masks[index][window]
    shown, occluder = close_gap(modal, occluder, ~scene.covered[window], view.gap_px)
    matrix = square.patch_from_raster(view.patch_px, (window[1].start, window[0].start))
    modal_patch = to_patch(shown, matrix, view.patch_px)
    occluder_patch = to_patch(occluder, matrix, view.patch_px)
    patches = {
        "modal": modal_patch,
        "occluder": occluder_patch,
        "boundary": occlusion_boundary(modal_patch, occluder_patch, view.boundary_px),
    }
    if scene.image is not None:
        patches["image"] = to_patch(np.ascontiguousarray(scene.image[window]), matrix, view.patch_px, linear=True)
    return _Crop(window, matrix, modal, occluder | (shown & ~modal), patches)


def _around(mask: np.ndarray, view: View) -> Square:
    box = tight_box(mask)
    square = crop_square(box, view.enlarge_box)
    over_the_gap = BEYOND_GAP * max(box[2:]) + 2 * view.gap_px  # a small object's crop may end before its neighbour
    return square.widened(max(1.0, over_the_gap / square.side))


def _covered(square: Square, size_hw: Sequence[int]) -> Window:
    x0, y0 = max(int(np.floor(square.x)), 0), max(int(np.floor(square.y)), 0)
    x1 = min(int(np.ceil(square.x + square.side)), size_hw[1])
    y1 = min(int(np.ceil(square.y + square.side)), size_hw[0])
    return np.s_[y0:y1, x0:x1]
