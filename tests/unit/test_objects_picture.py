"""A photo with all objects that were found on it."""

import tracemalloc

import numpy as np

from amodalpl.masks.boxed import BoxedMask, boxed
from amodalpl.report.draw import HATCH_PX
from amodalpl.report.objects_picture import PicturedObject, draw_objects

GREY = np.full((60, 90, 3), 120, np.uint8)


def rectangle(rows, columns, size_hw=(60, 90)):
    mask = np.zeros(size_hw, bool)
    mask[slice(*rows), slice(*columns)] = True
    return boxed(mask)


def test_hidden_parts_are_hatched_and_nothing_else_changes():
    whole, visible = rectangle((21, 51), (13, 73)), rectangle((21, 51), (13, 43))
    drawn = draw_objects(GREY, [PicturedObject(whole, visible, "cup", 0)])
    changed = (drawn != GREY).any(axis=2)
    ys, xs = np.mgrid[25:47, 47:69]  # hidden, away from outlines
    assert np.array_equal(changed[25:47, 47:69], (ys + xs) // HATCH_PX % 2 == 0)
    assert changed[25:47, 17:43].all() and len(np.unique(drawn[25:47, 17:40].reshape(-1, 3), axis=0)) == 1
    outside = ~np.asarray(whole)
    outside[2:54, 10:76] = False  # the outline and the caption
    assert not changed[outside].any()


def test_the_first_object_is_on_top():
    front, back = rectangle((20, 50), (40, 70)), rectangle((20, 50), (30, 60))
    both = [PicturedObject(front, front, "", 0), PicturedObject(back, back, "", 1)]
    reversed_drawn = draw_objects(GREY, both[::-1])
    drawn = draw_objects(GREY, both)
    assert not np.array_equal(drawn[30, 50], reversed_drawn[30, 50])
    assert np.array_equal(drawn[30, 65], reversed_drawn[30, 65])


def test_an_empty_mask_is_drawn_as_nothing():
    nothing = BoxedMask.nothing((60, 90))
    assert np.array_equal(draw_objects(GREY, [PicturedObject(nothing, nothing, "none", 0)]), GREY)


def test_memory_follows_the_photo_not_the_objects():
    size_hw = (1500, 2000)
    photo = np.zeros((*size_hw, 3), np.uint8)
    masks = [rectangle((k, k + 20), (k, k + 30), size_hw) for k in range(0, 1400, 14)]
    tracemalloc.start()
    draw_objects(photo, [PicturedObject(mask, mask, "cup", k) for k, mask in enumerate(masks)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * photo.nbytes  # 100 masks of the whole photo would be 33 photos
