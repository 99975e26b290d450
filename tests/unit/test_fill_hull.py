import numpy as np
import pytest

from amodalpl.labelling.fill_hull import fill_hull
from amodalpl.masks.boxed import all_boxed


def rectangle(rows, columns):
    mask = np.zeros((60, 60), dtype=bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


WHOLE = rectangle((10, 50), (20, 40))
PARTED = WHOLE & ~rectangle((25, 35), (20, 40))
HOLLOW = WHOLE & ~rectangle((20, 50), (24, 40))  # an angle: 320 of 800 pixels


def filled(fill, *masks, fronts=()):
    boxes = all_boxed(np.array(masks))
    return np.asarray(fill_hull(boxes, 0, boxes[0], fronts, fill))


@pytest.mark.parametrize("fill", ["pieces", "hollow"])
def test_pieces_are_joined(fill):
    np.testing.assert_array_equal(filled(fill, PARTED), WHOLE)


@pytest.mark.parametrize("mask", [WHOLE, PARTED, HOLLOW], ids=["whole", "parted", "hollow"])
def test_nothing_grows_unless_it_is_asked_for(mask):
    np.testing.assert_array_equal(filled("never", mask), mask)


def test_hollow_objects_grow_on_request():
    np.testing.assert_array_equal(filled("pieces", HOLLOW), HOLLOW)
    grown = filled("hollow", HOLLOW)
    assert grown[HOLLOW].all() and 500 < grown.sum() < 700  # the hull of an angle is a half of its box, and more
    np.testing.assert_array_equal(filled("hollow", WHOLE), WHOLE)


def test_slips_of_the_pen_join_nothing():
    spotted = WHOLE.copy()
    spotted[2, 2] = True
    np.testing.assert_array_equal(filled("pieces", spotted), spotted)


def test_what_is_seen_to_be_another_object_is_left_out_unless_it_is_in_front():
    other = rectangle((28, 32), (20, 40))
    np.testing.assert_array_equal(filled("pieces", PARTED, other), WHOLE & ~other)
    np.testing.assert_array_equal(filled("pieces", PARTED, other, fronts=(1,)), WHOLE)


def test_pieces_that_a_label_has_joined_ask_for_nothing():
    masks = all_boxed(np.array([PARTED]))
    joined = all_boxed(np.array([PARTED | rectangle((25, 35), (20, 30))]))[0]
    for fill in ("pieces", "hollow"):
        np.testing.assert_array_equal(np.asarray(fill_hull(masks, 0, joined, (), fill)), np.asarray(joined))


def test_the_hull_is_that_of_the_label():
    masks = all_boxed(np.array([PARTED & rectangle((10, 60), (20, 40))]))
    wider = all_boxed(np.array([PARTED | rectangle((40, 50), (20, 50))]))[0]
    grown = np.asarray(fill_hull(masks, 0, wider, (), "pieces"))
    assert grown[WHOLE].all() and grown[38, 41]  # on the way to what the label added
