"""Finished labels of photos: what the stage writes and what the API returns is assembled here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..completion.predictor import Scene
from ..masks import boxed
from ..masks.boxed import BoxedMasks
from ..masks.ownership import Owned
from ..masks.rle import Rle
from .flags import flags_of
from .label_scenes import SceneLabels, label_scenes
from .ordering import OcclusionEdge
from .plan import LabelPlan
from .uncertainty_map import UncertaintyMap, map_uncertainty


@dataclass(frozen=True)
class DrawnPhoto:
    """The masks of one photo.

    Attributes:
        drawn: N masks as they were given, none empty.
        owned: the same, after every pixel that several claimed got one owner.
        image: (H, W, 3) uint8 RGB; needed only by completers that look at the photo.
        category_ids: N classes, for the plausibility and what is said of classes; None where nobody knows.
    """

    drawn: Sequence[Rle]
    owned: Owned
    image: np.ndarray | None = None
    category_ids: Sequence[int] | None = None


@dataclass(frozen=True)
class CompletedImage:
    """The amodal masks of one photo, in the order of the masks that were given.

    Attributes:
        whole: N whole objects, each in its box; each contains the mask that was given.
        seen: N disjoint masks: what was given, after every pixel that several claimed got one owner.
        shared_px: (N,) int64, how many pixels each object gave up for that.
        uncertainty: (N,) float64 in [0, 1], expected 1 - IoU of `whole` with the truth; 0 for objects without a
            neighbour that could hide them, 1 for those whose every pixel belongs to others.
        plausibility: (N,) float64 in [0, 1], how ordinary the whole shape is in its class; None without classes, or
            where the completer was trained on too few whole objects to tell.
        occluders: for each object the indices of those taken to be in front of it: by the order, else those that own
            pixels which it shared. Where something is hidden, there is one.
        order: who hides whom, as directed pairs of indices with a score.
        flags: for each object what else to know of it; see the table in `docs/formats.md`.
        uncertainty_maps: for each object where its mask may be wrong; None where the network was not asked.
    """

    whole: BoxedMasks
    seen: BoxedMasks
    shared_px: np.ndarray
    uncertainty: np.ndarray
    plausibility: np.ndarray | None
    occluders: list[tuple[int, ...]]
    order: list[OcclusionEdge]
    flags: list[list[str]]
    uncertainty_maps: list[UncertaintyMap | None]

    @cached_property
    def amodal(self) -> np.ndarray:
        """(N, H, W) bool, `whole`."""
        return np.asarray(self.whole)

    @cached_property
    def visible(self) -> np.ndarray:
        """(N, H, W) bool, `seen`."""
        return np.asarray(self.seen)

    @property
    def hidden(self) -> np.ndarray:
        """(N, H, W) bool, `amodal` without `visible`."""
        return self.amodal & ~self.visible


def complete_photos(plan: LabelPlan, photos: Sequence[DrawnPhoto]) -> Iterator[CompletedImage]:
    """Label a few photos together; yields one after another, because a finished one takes much memory."""
    scenes = [Scene(photo.owned.masks, photo.image) for photo in photos]
    classes = [photo.category_ids for photo in photos]
    for photo, found in zip(photos, label_scenes(plan, scenes, classes=classes), strict=True):
        yield _assemble(plan, photo, found)


def _assemble(plan: LabelPlan, photo: DrawnPhoto, found: SceneLabels) -> CompletedImage:
    visible, labels = photo.owned.masks, found.labels
    amodal = []
    for drawn, label in zip(photo.drawn, labels, strict=True):
        whole = boxed.decode(drawn)  # what the annotator drew is the object's in any case
        amodal.append(whole if label is None else whole.united(label.whole))
    plausibility = None
    if photo.category_ids is not None and plan.shapes is not None:
        crops = [whole.crop for whole in amodal]
        plausibility = plan.shapes.score(crops, list(photo.category_ids)) if crops else np.zeros(0)
    return CompletedImage(
        whole=BoxedMasks(amodal, visible.size_hw),
        seen=visible,
        shared_px=photo.owned.lost_px,
        uncertainty=np.array([1.0 if label is None else label.uncertainty for label in labels], dtype=np.float64),
        plausibility=plausibility,
        occluders=[
            label.occluders if label is not None and label.occluders else _owners_of_shared(photo, index)
            for index, label in enumerate(labels)
        ],
        order=found.order,
        flags=[
            flags_of(label, seen, int(lost_px), plan.low_confidence)
            for label, seen, lost_px in zip(labels, visible, photo.owned.lost_px, strict=True)
        ],
        uncertainty_maps=[
            map_uncertainty(label.prediction, plan.calibration, plan.behind_neighbours)
            if label is not None and label.prediction is not None
            else None
            for label in labels
        ],
    )


def _owners_of_shared(photo: DrawnPhoto, index: int) -> tuple[int, ...]:
    """Return whose masks own the pixels that an object shared, in order."""
    if not photo.owned.lost_px[index]:
        return ()
    masks = photo.owned.masks
    drawn = boxed.decode(photo.drawn[index])
    given_up = drawn.crop & ~masks[index][drawn.window]
    return tuple(k for k in masks.meeting(drawn.window) if (masks[k][drawn.window] & given_up).any())
