"""Gaps of a data set: which masks are measured, and of which photos."""

from __future__ import annotations

import numpy as np

from amodalpl.data.records import AnnotationSet, ImageRecord, Instance, Mask
from amodalpl.labelling.gap_tolerance import PHOTOS_MEASURED, instances_to_label, measure_gaps
from amodalpl.masks import rle
from amodalpl.runtime.progress import SILENT

SIZE_HW = (20, 40)


def wall(columns):
    mask = np.zeros(SIZE_HW, bool)
    mask[:, slice(*columns)] = True
    return rle.encode(mask)


def data(*photos):
    """Photos of walls, each with the gap to the next; a crowd and an object without a mask stand beside them."""
    images = [ImageRecord(n, f"{n}.png", SIZE_HW, {}) for n in range(len(photos))]
    instances = []
    for n, gap_px in enumerate(photos):
        masks = [wall((0, 10))] if gap_px is None else [wall((0, 10)), wall((10 + gap_px, 30))]
        for mask, is_crowd in [*((mask, False) for mask in masks), (wall((30, 31)), True), (None, False)]:
            instances.append(
                Instance(
                    len(instances),
                    n,
                    1,
                    mask and Mask(rle=mask),
                    is_crowd=is_crowd,
                    place=f"annotations[{len(instances)}]",
                )
            )
    return AnnotationSet(images, instances, [{"id": 1, "name": "wall"}])


def test_crowds_and_objects_without_a_mask_get_no_label():
    photos = data(3)
    assert [i.id for i in instances_to_label(photos, photos.images[0])] == [0, 1]


def test_every_pair_counts_once():
    tolerance = measure_gaps(data(*[3] * 60, None), SILENT)
    assert tolerance.counts[3] == sum(tolerance.counts) == 60
    assert (tolerance.gap_px, tolerance.contour_inset_px) == (3, 1)


def test_of_many_photos_some_are_measured_from_all_over_the_file():
    tolerance = measure_gaps(data(*[2] * PHOTOS_MEASURED, *[4] * PHOTOS_MEASURED), SILENT)
    assert tolerance.counts[2] == tolerance.counts[4] == PHOTOS_MEASURED // 2
