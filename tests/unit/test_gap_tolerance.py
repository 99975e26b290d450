"""Gaps of a data set: which masks are measured, and of which photos."""

from __future__ import annotations

import numpy as np

from amodalpl.data.records import AnnotationSet, ImageRecord, Instance, Mask
from amodalpl.labelling.gap_tolerance import PHOTOS_MEASURED, measured, some_photos
from amodalpl.masks import rle
from amodalpl.runtime.progress import SILENT
from amodalpl.settings import LabelSettings

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
    assert [i.id for i in photos.completable[0]] == [0, 1]


def test_every_pair_counts_once():
    settings, tolerance = measured(LabelSettings(), some_photos(data(*[3] * 60, None), SILENT))
    assert tolerance.counts[3] == sum(tolerance.counts) == 60
    assert (tolerance.gap_px, tolerance.contour_inset_px) == (settings.gap_px, settings.contour_inset_px) == (3, 1)


def test_of_many_photos_some_are_measured_from_all_over_the_file():
    settings, tolerance = measured(
        LabelSettings(), some_photos(data(*[2] * PHOTOS_MEASURED, *[4] * PHOTOS_MEASURED), SILENT)
    )
    assert tolerance.counts[2] == tolerance.counts[4] == PHOTOS_MEASURED // 2


def test_what_settings_say_is_not_measured():
    def never():
        raise AssertionError("nobody needs to know")
        yield

    given = LabelSettings(gap_px=4, contour_inset_px=1)
    assert measured(given, never()) == (given, None)
    partly, _ = measured(LabelSettings(gap_px=9), some_photos(data(*[3] * 60), SILENT))
    assert (partly.gap_px, partly.contour_inset_px) == (9, 1)
