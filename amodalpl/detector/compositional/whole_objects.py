"""Which boxes are learnt from: objects that nothing seems to hide, as far as boxes can tell."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ...data.records import AnnotationSet, Box, Instance
from ...masks import rle
from ...settings import CompositionalSettings
from .training import BoxObject

_SAME_BOX = 0.95  # IoU of visible and whole box from which nothing is hidden


def visible_box(instance: Instance) -> Box | None:
    """Return the box of what is visible, stated or around its mask."""
    if instance.modal_box_xywh is not None or instance.modal is None:
        return instance.modal_box_xywh
    return rle.box_xywh(instance.modal)


def amodal_box(instance: Instance) -> Box | None:
    """Return the box of the whole object, stated or around its mask."""
    if instance.amodal_box_xywh is not None or instance.amodal is None:
        return instance.amodal_box_xywh
    return rle.box_xywh(instance.amodal)


def choose_whole_objects(
    data: AnnotationSet, settings: CompositionalSettings, seed: int
) -> tuple[list[BoxObject], Counter[str]]:
    """Choose the objects to learn from.

    An object counts as unoccluded if its box is high enough, touches no edge of the photo, is that of the whole object
    where both are known, and lies within no other box by more than `most_overlap` of its area. Which of two overlapping
    objects is in front cannot be seen from boxes, so both are left out.

    Args:
        data: with boxes or masks.
        settings: of the section `compositional`.
        seed: of the choice among more than `objects_per_class`.

    Returns:
        Objects in the order of their photos, and how many others were left out, by reason.
    """
    left_out: Counter[str] = Counter()
    of_class: dict[int, list[BoxObject]] = {}
    for record in data.images:
        objects = [(i, box) for i in data.by_image[record.id] if not i.is_crowd and (box := visible_box(i)) is not None]
        left_out["no box"] += sum(not i.is_crowd for i in data.by_image[record.id]) - len(objects)
        for k, (instance, box) in enumerate(objects):
            others = [b for j, (_, b) in enumerate(objects) if j != k]
            reason = _why_not(box, amodal_box(instance), others, record.size_hw, settings)
            if reason:
                left_out[reason] += 1
            else:
                of_class.setdefault(instance.category_id, []).append(BoxObject(record.id, instance.category_id, box))
    rng = np.random.default_rng(seed)
    chosen: list[BoxObject] = []
    for _, objects_of_class in sorted(of_class.items()):
        if len(objects_of_class) < settings.least_objects:
            left_out["of a class with fewer than compositional.least_objects unoccluded ones"] += len(objects_of_class)
            continue
        picked = sorted(rng.permutation(len(objects_of_class))[: settings.objects_per_class].tolist())
        left_out["beyond compositional.objects_per_class"] += len(objects_of_class) - len(picked)
        chosen += [objects_of_class[k] for k in picked]
    position = {record.id: k for k, record in enumerate(data.images)}
    chosen.sort(key=lambda o: position[o.image_id])
    return chosen, +left_out


def _why_not(
    box: Box, whole: Box | None, others: list[Box], size_hw: tuple[int, int], settings: CompositionalSettings
) -> str:
    x, y, width, height = box
    if height < settings.least_height_px:
        return "lower than compositional.least_height_px"
    if x <= 1 or y <= 1 or x + width >= size_hw[1] - 1 or y + height >= size_hw[0] - 1:
        return "touches the edge of its photo"
    if whole is not None and _shared(box, whole) < _SAME_BOX * (
        width * height + whole[2] * whole[3] - _shared(box, whole)
    ):
        return "its visible box is smaller than its whole box"
    if any(_shared(box, other) > settings.most_overlap * width * height for other in others):
        return "within another box by more than compositional.most_overlap"
    return ""


def _shared(first: Box, second: Box) -> float:
    sides = (min(first[k] + first[k + 2], second[k] + second[k + 2]) - max(first[k], second[k]) for k in (0, 1))
    across, down = (max(0.0, side) for side in sides)
    return across * down
