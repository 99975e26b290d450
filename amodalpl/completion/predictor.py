"""What a completer predicts of the objects of images: crops of many objects and images in one batch.

Shared by labelling, by scoring on the hold-out, and by the pairwise order rule, so that all see objects alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from types import MappingProxyType

import numpy as np
import torch

from ..masks.boxed import BoxedMasks, Window, all_boxed
from ..masks.boxes import Square, crop_square
from ..masks.gaps import close_gap, grow_tight_masks
from ..masks.geometry import occlusion_boundary
from ..masks.resampling import from_patch, to_patch
from ..models.completer import Completer

BEYOND_GAP = 1.4  # sides of the box that a crop shows at least, beside the tolerance for gaps
WIDENING = 1.4  # sides of the crop that is tried when a prediction was cut off; training goes up to 1.5


class Scene:
    """One image as completion sees it. A scene equals itself only, so that requests can be keys.

    Attributes:
        masks: N disjoint visible parts.
        image: (H, W, 3) uint8 RGB; needed only by completers that look at the photo.
        classes: N category ids, for settings of single classes; None where nobody knows.
    """

    def __init__(
        self, masks: np.ndarray | BoxedMasks, image: np.ndarray | None = None, classes: Sequence[int] | None = None
    ) -> None:
        """Keep what is given; of an (N, H, W) bool stack, the boxes of its masks."""
        self.masks = all_boxed(masks)
        self.image = image
        self.classes = None if classes is None else list(classes)

    @cached_property
    def covered(self) -> np.ndarray:
        """(H, W) bool, the pixels of any object."""
        return self.masks.any_of(range(len(self.masks)), np.s_[:, :])

    def with_tight_masks_grown(self, by_px: int) -> Scene:
        """Return the scene with masks that were drawn too tight grown by so many pixels (`grow_tight_masks`)."""
        return Scene(grow_tight_masks(self.masks, by_px), self.image, self.classes) if by_px else self


@dataclass(frozen=True)
class CropSpec:
    """How objects are shown to the network: the training settings of the completer.

    Attributes:
        patch_px: side of the patch.
        enlarge_box: see `crop_square`.
        boundary_px: see `occlusion_boundary`.
    """

    patch_px: int
    enlarge_box: float = 3.0
    boundary_px: int = 5


@dataclass(frozen=True)
class CompletionRequest:
    """How far does `target` reach behind `occluders`?

    Attributes:
        scene: the image.
        target: index into `scene.masks`; at least one of its pixels is visible.
        occluders: indices of the objects that may hide it.
        crop: the part of the image that the network is shown; a crop around the target unless given.
    """

    scene: Scene
    target: int
    occluders: tuple[int, ...]
    crop: Square | None = None


class CompletionPrediction:
    """What the network predicts, back in image pixels; kept small, since a photo may have thousands.

    Attributes:
        request: what was asked.
        gap_px: the tolerance with which it was shown.
        window: rows and columns of the image that the crop covers.
        beyond_masks: whether the target may go on where no object is, behind things without a mask.
    """

    def __init__(
        self,
        request: CompletionRequest,
        gap_px: int,
        window: Window,
        probability: np.ndarray | Callable[[], np.ndarray],
        behind: np.ndarray,
        modal: np.ndarray,
        beyond_masks: bool = False,
    ) -> None:
        """Keep a bit for each pixel of the masks, and the probability as it is given: itself, or what makes it."""
        self.request, self.gap_px, self.window = request, gap_px, window
        self._probability = probability
        self._shape = behind.shape
        self._behind, self._modal = np.packbits(behind), np.packbits(modal)
        self.beyond_masks = beyond_masks

    @property
    def probability(self) -> np.ndarray:
        """(h, w) float32 in [0, 1], within the window."""
        return self._probability if isinstance(self._probability, np.ndarray) else self._probability()

    def at_hand(self) -> CompletionPrediction:
        """Return it with its probability made, for a while in which that is looked at again and again."""
        made = copy(self)
        made._probability = self.probability
        return made

    @property
    def behind(self) -> np.ndarray:
        """(h, w) bool, the occluders' pixels, and those of the closed gap between them and the target."""
        return self._unpacked(self._behind)

    @property
    def modal(self) -> np.ndarray:
        """(h, w) bool, the target's visible part."""
        return self._unpacked(self._modal)

    @property
    def unmasked(self) -> np.ndarray | None:
        """(h, w) bool, the pixels that no object has, where the target may go on; None where that is not asked for."""
        return ~self.request.scene.covered[self.window] if self.beyond_masks else None

    @property
    def unseen(self) -> np.ndarray:
        """(h, w) bool, where the target may go on unseen; parts of it that are visible may be among them."""
        unmasked = self.unmasked
        return self.behind if unmasked is None else self.behind | unmasked

    def _unpacked(self, bits: np.ndarray) -> np.ndarray:
        return np.unpackbits(bits, count=self._shape[0] * self._shape[1]).reshape(self._shape).view(bool)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.request.scene.masks.size_hw

    def reaches_inner_edge(self, amodal: np.ndarray) -> bool:
        """Tell whether growth touches an edge of the window that is not an edge of the image.

        The outermost two pixels are looked at, because the crop covers the last one in part only, so that its
        probability fades to zero.

        Args:
            amodal: (h, w) bool, within the window.
        """
        grown = amodal & ~self.modal
        rows, columns = self.window
        height, width = self.size_hw
        return bool(
            (rows.start > 0 and grown[:2].any())
            or (rows.stop < height and grown[-2:].any())
            or (columns.start > 0 and grown[:, :2].any())
            or (columns.stop < width and grown[:, -2:].any())
        )


Predictions = Mapping[CompletionRequest, CompletionPrediction]
NONE_KNOWN: Predictions = MappingProxyType({})
OfObjects = Mapping[int, CompletionPrediction]
"""Predictions of the objects of one scene, by their indices."""


@dataclass(frozen=True)
class CompletionPredictor:
    """A network with everything that decides what it is shown.

    Attributes:
        completer: in eval mode, on its device.
        crop: how objects are cropped.
        gap_px: widest gap between target and occluder, in free image pixels, that is closed (`masks.gaps.close_gap`).
        batch_size: crops per call of the network.
        beyond_masks: whether targets may go on where no object is, behind things without a mask.
    """

    completer: Completer
    crop: CropSpec
    gap_px: int = 2
    batch_size: int = 32
    beyond_masks: bool = False

    def predict(self, requests: Iterable[CompletionRequest], known: Predictions = NONE_KNOWN) -> Predictions:
        """Return the prediction for each request.

        Args:
            requests: of any scenes; one that comes twice is asked once.
            known: earlier predictions of this network; those of an equal request and tolerance are taken over.
        """
        wanted = dict.fromkeys(requests)
        kept = {r: self._as_own(known[r]) for r in wanted if r in known and known[r].gap_px == self.gap_px}
        return kept | {p.request: p for p in self.stream(r for r in wanted if r not in kept)}

    def predict_behind(
        self,
        scenes: Sequence[Scene],
        occluders: Sequence[Mapping[int, Sequence[int]]],
        known: Predictions = NONE_KNOWN,
    ) -> list[OfObjects]:
        """Return what is predicted of objects, each behind all of some others at once.

        Args:
            scenes: images with disjoint visible masks.
            occluders: per scene, by object, those that may hide it; an object that is not named is not asked about.
            known: as `predict` takes it.

        Returns:
            Per scene, the prediction of each object that was asked about.
        """
        requests = [
            {target: CompletionRequest(scene, target, tuple(group)) for target, group in groups.items()}
            for scene, groups in zip(scenes, occluders, strict=True)
        ]
        found = self.predict((request for of_scene in requests for request in of_scene.values()), known)
        return [{target: found[request] for target, request in of_scene.items()} for of_scene in requests]

    def stream(self, requests: Iterable[CompletionRequest]) -> Iterator[CompletionPrediction]:
        """Predict batch by batch, for callers that keep little of each prediction.

        A prediction that reaches the edge of a crop around its target is made again in a wider one, by methods that
        were trained for it: the box expansion of Li and Malik 2016, section 3.3, once and on all four sides instead of
        side by side.

        Yields:
            One prediction per request, which names it.
        """
        remaining = iter(requests)
        while batch := list(islice(remaining, self.batch_size)):
            predictions = self._predict_batch(batch)
            if self.completer.method.widens:
                cut_off = [k for k, prediction in enumerate(predictions) if _is_cut_off(prediction)]
                wider = self._predict_batch([batch[k] for k in cut_off], WIDENING) if cut_off else []
                for k, prediction in zip(cut_off, wider, strict=True):
                    predictions[k] = prediction
            yield from predictions

    def _predict_batch(
        self, requests: Sequence[CompletionRequest], widening: float = 1.0
    ) -> list[CompletionPrediction]:
        device = next(self.completer.parameters()).device
        crops = [_cut_crop(request, self.crop, self.gap_px, widening) for request in requests]
        inputs = {
            name: torch.from_numpy(np.stack([c.patches[name] for c in crops])[:, None]).to(device)
            for name in ("modal", "occluder", "boundary")
        }  # (B, 1, P, P) each
        if self.completer.uses_image:
            photos = np.stack([c.patches["image"] for c in crops])  # (B, P, P, 3)
            inputs["image"] = torch.from_numpy(photos).permute(0, 3, 1, 2).to(device)
        with torch.inference_mode():
            probability = self.completer.read(self.completer(**inputs))
        return [
            CompletionPrediction(
                request,
                self.gap_px,
                crop.window,
                partial(from_patch, p, crop.matrix, crop.modal.shape),
                crop.behind,
                crop.modal,
                self.beyond_masks,
            )
            for request, crop, p in zip(requests, crops, probability.cpu().numpy(), strict=True)
        ]

    def _as_own(self, prediction: CompletionPrediction) -> CompletionPrediction:
        """Return a prediction of the same network as this predictor would have made it."""
        if prediction.beyond_masks == self.beyond_masks:
            return prediction
        own = copy(prediction)
        own.beyond_masks = self.beyond_masks
        return own


def _is_cut_off(prediction: CompletionPrediction) -> bool:
    if prediction.request.crop is not None:
        return False
    return prediction.reaches_inner_edge((prediction.probability > 0.5) & prediction.behind)


@dataclass(frozen=True)
class _Crop:
    window: Window
    matrix: np.ndarray
    modal: np.ndarray
    behind: np.ndarray
    patches: dict[str, np.ndarray]


def _cut_crop(request: CompletionRequest, spec: CropSpec, gap_px: int, widening: float) -> _Crop:
    scene = request.scene
    square = (request.crop or _around(scene.masks[request.target].box_xywh, spec, gap_px)).widened(widening)
    window = _covered(square, scene.masks.size_hw)
    modal = scene.masks[request.target][window]
    occluder = scene.masks.any_of(request.occluders, window)
    shown, occluder = close_gap(modal, occluder, ~scene.covered[window], gap_px)
    matrix = square.patch_from_raster(spec.patch_px, (window[1].start, window[0].start))
    modal_patch = to_patch(shown, matrix, spec.patch_px)
    occluder_patch = to_patch(occluder, matrix, spec.patch_px)
    patches = {
        "modal": modal_patch,
        "occluder": occluder_patch,
        "boundary": occlusion_boundary(modal_patch, occluder_patch, spec.boundary_px),
    }
    if scene.image is not None:
        patches["image"] = to_patch(np.ascontiguousarray(scene.image[window]), matrix, spec.patch_px, linear=True)
    return _Crop(window, matrix, modal, occluder | (shown & ~modal), patches)


def _around(box: tuple[int, int, int, int], spec: CropSpec, gap_px: int) -> Square:
    square = crop_square(box, spec.enlarge_box)
    over_the_gap = BEYOND_GAP * max(box[2:]) + 2 * gap_px  # a small object's crop may end before its neighbour
    return square.widened(max(1.0, over_the_gap / square.side))


def _covered(square: Square, size_hw: Sequence[int]) -> Window:
    x0, y0 = max(int(np.floor(square.x)), 0), max(int(np.floor(square.y)), 0)
    x1 = min(int(np.ceil(square.x + square.side)), size_hw[1])
    y1 = min(int(np.ceil(square.y + square.side)), size_hw[0])
    return np.s_[y0:y1, x0:x1]
