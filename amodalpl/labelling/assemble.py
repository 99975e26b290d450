"""From photos to their finished labels: what the stage writes and what the API returns is assembled here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..completion.predictor import Scene
from ..data.label_file import UncertaintyMap, doubt_entry, label_entry, order_entry
from ..data.records import AnnotationSet, ImageRecord, Instance
from ..io.images import image_path, read_image
from ..masks import ownership
from ..masks.boxed import BoxedMask, BoxedMasks
from ..masks.ownership import Owned
from ..masks.rle import Rle
from .label import flags_of
from .label_features import LabelFeatures
from .label_scenes import SceneLabels, label_scenes
from .ordering import OcclusionEdge, cycles, mutual
from .plan import LabelPlan

PIXELS_AT_ONCE = 2**27  # of photos labelled together, counted once for each mask


@dataclass(frozen=True)
class DrawnPhoto:
    """The masks of one photo.

    Attributes:
        owned: N masks, none empty as drawn.
        image: (H, W, 3) uint8 RGB; needed only by completers that look at the photo.
        category_ids: N classes, for the plausibility and what is said of classes; None where nobody knows.
    """

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
        uncertainty: (N,) float64 in [0, 1], expected 1 - IoU of `whole` with the truth; 1 for objects whose every pixel
            belongs to others.
        plausibility: (N,) float64 in [0, 1], how ordinary the whole shape is in its class; None without classes, or
            where the completer was trained on too few whole objects to tell.
        occluders: for each object the indices of those taken to be in front of it: by the order, else those that own
            pixels which it shared. Where something is hidden, there is one.
        order: who hides whom, as directed pairs of indices with a score.
        flags: for each object what else to know of it; see the table in `docs/formats.md`.
        uncertainty_maps: for each object where its mask may be wrong; None where the network was not asked.
        features: for each object what it and its label look like; None where its class or other objects leave it as
            it was drawn.
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
    features: list[LabelFeatures | None]

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

    def hidden_by(self, index: int) -> dict[int | None, int]:
        """Return the occluder map of an object: what is seen where it is hidden.

        Args:
            index: of the object.

        Returns:
            Pixels of its hidden part by the index of the object that is seen there; by None where no object is: there
            something without a mask is taken to be in front.
        """
        hidden = self.whole[index].without(self.seen[index])
        found: dict[int | None, int] = dict(self.seen.shared_px(hidden).items())
        unknown_px = hidden.area_px - sum(found.values())
        return {**found, None: unknown_px} if unknown_px else found


def label_photos(
    plan: LabelPlan, data: AnnotationSet, images: Path, completer: str, records: Sequence[ImageRecord]
) -> Iterator[dict[str, Any]]:
    """Label photos of annotations, as many together as memory allows.

    Args:
        plan: how.
        data: the annotations.
        images: folder of the photos, read only for completers that look at them.
        completer: name of the method in labels.
        records: the photos to label.

    Yields:
        Of each photo `labels`, `order` and `doubt`, see `entries_of`.
    """
    uses_image = plan.completing.completer.uses_image
    for group in _fitting_groups(data, records):
        photos = [_read_photo(data, images if uses_image else None, record) for record in group]
        for record, photo, found in zip(group, photos, complete_photos(plan, photos), strict=True):
            yield entries_of(found, record.id, data.completable[record.id], photo.owned.drawn, completer)


def _fitting_groups(data: AnnotationSet, records: Sequence[ImageRecord]) -> Iterator[list[ImageRecord]]:
    """Divide photos into runs with up to `PIXELS_AT_ONCE` together; a single photo may be larger."""
    group: list[ImageRecord] = []
    held = 0
    for record in records:
        needed = record.size_hw[0] * record.size_hw[1] * len(data.completable[record.id])
        if group and held + needed > PIXELS_AT_ONCE:
            yield group
            group, held = [], 0
        group.append(record)
        held += needed
    if group:
        yield group


def _read_photo(data: AnnotationSet, images: Path | None, record: ImageRecord) -> DrawnPhoto:
    instances = data.completable[record.id]
    owned = ownership.resolve([i.modal for i in instances if i.modal is not None], record.size_hw)
    image = None if images is None else read_image(image_path(images, record.file_name), record.size_hw)
    return DrawnPhoto(owned, image, [i.category_id for i in instances])


def complete_photos(plan: LabelPlan, photos: Sequence[DrawnPhoto]) -> Iterator[CompletedImage]:
    """Label a few photos together; yields one after another, because a finished one takes much memory."""
    scenes = [Scene(photo.owned.masks, photo.image, photo.category_ids) for photo in photos]
    for photo, found in zip(photos, label_scenes(plan, scenes), strict=True):
        yield _assemble(plan, photo, found)


def _assemble(plan: LabelPlan, photo: DrawnPhoto, found: SceneLabels) -> CompletedImage:
    owned, labels = photo.owned, found.labels
    whole = [
        drawn if label is None else drawn.united(label.whole) for label, drawn in zip(labels, owned.drawn, strict=True)
    ]
    plausibility = None
    if photo.category_ids is not None and plan.shapes is not None:
        crops = [mask.crop for mask in whole]
        plausibility = plan.shapes.score(crops, list(photo.category_ids)) if crops else np.zeros(0)
    return CompletedImage(
        whole=BoxedMasks(whole, owned.masks.size_hw),
        seen=owned.masks,
        shared_px=owned.lost_px,
        uncertainty=np.array([1.0 if label is None else label.uncertainty for label in labels], dtype=np.float64),
        plausibility=plausibility,
        occluders=[
            label.occluders if label is not None and label.occluders else owned.takers(index)
            for index, label in enumerate(labels)
        ],
        order=found.order,
        flags=[
            flags_of(*of_object, plan.low_confidence)
            for of_object in zip(labels, owned.masks, owned.lost_px.tolist(), strict=True)
        ],
        uncertainty_maps=[None if label is None else label.uncertainty_map(plan) for label in labels],
        features=[None if label is None else label.features for label in labels],
    )


def entries_of(
    found: CompletedImage, image_id: int, instances: Sequence[Instance], drawn: Sequence[BoxedMask], completer: str
) -> dict[str, Any]:
    """Return `labels`, `order` and `doubt` of a photo, as the files of a label folder have them (`docs/formats.md`).

    Args:
        found: labels of the photo.
        image_id: of the photo.
        instances: N that were labelled, in their order.
        drawn: N masks as they were drawn, which growth is counted from.
        completer: name of the method.
    """
    ids = [instance.id for instance in instances]
    both_ways, circles = mutual(found.order), cycles(found.order)
    hidden_by = [found.hidden_by(k) for k in range(len(ids))]
    untold = [_drawn_where_it_cannot_be_told(found, mask, k) for k, mask in enumerate(drawn)]
    pairs = [(pair.front, pair.back, pair.evidence_px, pair.score, pair.chance) for pair in found.order]
    labels = [
        label_entry(
            instance,
            found.whole[k],
            found.seen[k],
            completer=completer,
            drawn_px=drawn[k].area_px,
            occluders=[ids[occluder] for occluder in found.occluders[k]],
            uncertainty=float(found.uncertainty[k]),
            plausibility=None if found.plausibility is None else float(found.plausibility[k]),
            flags=found.flags[k],
            features=None if (features := found.features[k]) is None else features.to_json(),
            hidden_by={None if o is None else ids[o]: px for o, px in hidden_by[k].items()},
            drawn=untold[k],
        )
        for k, instance in enumerate(instances)
    ]
    maps = zip(ids, found.uncertainty_maps, strict=True)
    return {
        "labels": labels,
        "order": order_entry(image_id, ids, pairs, both_ways, circles),
        "doubt": [doubt_entry(annotation_id, doubt) for annotation_id, doubt in maps if doubt is not None],
    }


def _drawn_where_it_cannot_be_told(found: CompletedImage, drawn: BoxedMask, index: int) -> Rle | None:
    """Return the mask as drawn of an object that gave pixels up and got others; else visible or whole mask say it."""
    gave_and_got = found.shared_px[index] and found.whole[index].area_px > drawn.area_px
    return drawn.encode() if gave_and_got else None
