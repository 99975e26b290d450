"""The hold-out as calibration and scoring read it: scenes with known truth, decoded as they are needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from ..completion.predictor import Scene
from ..data.read import read_annotations
from ..data.records import AnnotationSet
from ..io.images import image_path, read_image
from ..labelling.gap_tolerance import measured
from ..labelling.ordering import OcclusionEdge
from ..masks import boxed
from ..masks.boxed import BoxedMask, BoxedMasks, all_boxed
from ..masks.geometry import count_px, dilate
from ..settings import LabelSettings
from ..synthesis.holdout import HOLDOUT, HOLDOUT_IMAGES, SURE

SCENES_AT_ONCE = 8


class Case:
    """A hold-out scene with its truth.

    Attributes:
        scene: visible masks (and photo).
        amodal: N true whole objects.
        sure: indices of those that nothing but what is pasted hides. Of others, what their own photo hid is not in the
            truth. None where the hold-out does not say, as those of earlier versions.
    """

    def __init__(self, scene: Scene, amodal: np.ndarray | BoxedMasks, sure: Collection[int] | None = None) -> None:
        """Keep what is given; of an (N, H, W) bool stack, the boxes of its masks."""
        self.scene = scene
        self.amodal = all_boxed(amodal)
        self.sure = None if sure is None else frozenset(sure)

    def true_order(self) -> list[OcclusionEdge]:
        """Return who hides whom: the pixels of the back's hidden part that the front shows."""
        pairs = []
        seen = self.scene.masks
        for back, (whole, visible) in enumerate(zip(self.amodal, seen, strict=True)):
            hidden = whole.crop & ~visible[whole.window]
            for front in seen.meeting(whole.window) if hidden.any() else ():
                shared_px = count_px(hidden & seen[front][whole.window])
                if front != back and shared_px:
                    pairs.append(OcclusionEdge(front, back, float(shared_px)))
        return pairs

    def is_known_everywhere(self, target: int) -> bool:
        """Tell whether the truth of an object holds where no object has a mask, too; always without `sure`."""
        return self.sure is None or target in self.sure

    def judged(self, target: int, label: BoxedMask) -> BoxedMask:
        """Return what of a label the truth can judge.

        Where no object of the scene has a mask, something of the photo may hide an object that is not sure to be whole.
        A label that goes on there may be right, and what of it is beyond the truth is left out.
        """
        if self.is_known_everywhere(target):
            return label
        window, seen = label.window, self.scene.masks
        known = self.amodal[target][window] | seen.any_of(seen.meeting(window), window)
        return BoxedMask.cut(label.crop & known, (window[1].start, window[0].start), label.shape)

    def with_unmasked_occluders(self, share: float, rng: np.random.Generator) -> Case:
        """Return the scene with some of what hides others no longer known, as things that nobody annotated.

        Args:
            share: of the objects in front of others, the chance of each to go.
            rng: source of randomness.
        """
        fronts = sorted({pair.front for pair in self.true_order()})
        gone = {front for front in fronts if rng.random() < share}
        kept = [index for index in range(len(self.amodal)) if index not in gone] or list(range(len(self.amodal)))
        sure = None if self.sure is None else [place for place, index in enumerate(kept) if index in self.sure]
        return Case(Scene(self.scene.masks.subset(kept), self.scene.image), self.amodal.subset(kept), sure)

    def eroded(self, radius_px: int) -> Scene:
        """Return the scene with every visible mask shrunk by a square of side 2 * radius + 1."""
        masks = self.scene.masks
        return Scene(BoxedMasks((_eroded(mask, radius_px) for mask in masks), masks.size_hw), self.scene.image)


def _eroded(mask: BoxedMask, radius_px: int) -> BoxedMask:
    x, y, w, h = mask.box_xywh
    left, top = max(x - radius_px, 0), max(y - radius_px, 0)
    around = mask[top : y + h + radius_px, left : x + w + radius_px]
    return BoxedMask.cut(~dilate(~around, radius_px), (left, top), mask.size_hw) if mask.any() else mask


@dataclass(frozen=True)
class Holdout:
    """The scenes of a hold-out.

    Attributes:
        data: visible and amodal masks; `raw["part"]` of each image says what it is for.
        images: folder of the photos; None where nobody looks at them.
    """

    data: AnnotationSet
    images: Path | None

    def cases(self, part: str) -> list[int]:
        """Return the image ids of a part ("choose" or "report"); scenes of one part only serve as both."""
        return [r.id for r in self.data.images if r.raw.get("part") in (part, "both")]

    def photo_of(self, image_id: int) -> int:
        """Return the id of the photo that a scene was drawn on; several may share one."""
        return int(self.data.image_by_id[image_id].raw.get("photo_id", image_id))

    def read(self, image_ids: Iterable[int]) -> Iterator[Case]:
        """Decode scenes."""
        for image_id in image_ids:
            record = self.data.image_by_id[image_id]
            instances = self.data.by_image[image_id]
            modal = BoxedMasks((boxed.decode(i.modal) for i in instances if i.modal is not None), record.size_hw)
            amodal = BoxedMasks((boxed.decode(i.amodal) for i in instances if i.amodal is not None), record.size_hw)
            image = read_image(image_path(self.images, record.file_name)) if self.images else None
            known = record.raw.get(SURE)
            sure = None if known is None else [k for k, instance in enumerate(instances) if instance.id in known]
            yield Case(Scene(modal, image), amodal, sure)

    def chunks(self, image_ids: Sequence[int]) -> Iterator[list[Case]]:
        """Decode scenes, a few at a time."""
        cases = self.read(image_ids)
        while chunk := list(islice(cases, SCENES_AT_ONCE)):
            yield chunk


def read_holdout(synth_dir: Path, with_images: bool = False) -> Holdout:
    """Read the hold-out of a finished `amodalpl synth`.

    Args:
        synth_dir: its output folder.
        with_images: whether scenes are to have their photos.

    Raises:
        DataError: the file is missing or damaged.
    """
    return Holdout(read_annotations(synth_dir / HOLDOUT, "d2sa"), synth_dir / HOLDOUT_IMAGES if with_images else None)


def with_tolerance(
    holdout: Holdout, image_ids: Sequence[int], settings: LabelSettings, eroded_px: int = 0
) -> LabelSettings:
    """Return the settings with what is measured of the gaps of these scenes, where they leave it open.

    Args:
        holdout: the scenes.
        image_ids: which of them.
        settings: kept as they are when `gap_px` and `contour_inset_px` are given.
        eroded_px: measure with every visible mask shrunk by so many pixels.
    """
    scenes = (case.eroded(eroded_px) if eroded_px else case.scene for case in holdout.read(image_ids))
    return measured(settings, (scene.masks for scene in scenes))[0]
