"""Where two neighbours meet, and who gives way there."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from amodalpl.completion.predictor import CompletionPrediction
from amodalpl.labelling.contact import (
    CLEAR_LEAD,
    SMALLEST_PX,
    contact_of,
    is_doubtful,
    order_by_contact,
    orders_by_contact,
)

SURE = np.float32(0.9)


def halves(gap_px=0):
    """Two squares of 20 pixels side by side, with free pixels between them."""
    masks = np.zeros((2, 30, 60), dtype=bool)
    masks[0, 5:25, 5:25], masks[1, 5:25, 25 + gap_px : 45 + gap_px] = True, True
    return masks


def meeting(first_rows, second_rows, gap_px=0, value=SURE):
    """The squares' contact, and the probability that either goes on within the other along rows."""
    masks = halves(gap_px)
    contact = contact_of(masks, (0, 1), gap_px)
    maps = np.zeros((2, *masks.shape[1:]), dtype=np.float32)
    maps[0, slice(*first_rows), 25 + gap_px : 45 + gap_px] = maps[1, slice(*second_rows), 5:25] = value
    return contact, *(m[contact.window][other] for m, other in zip(maps, contact.visible[::-1], strict=True))


def directions(order):
    return {(pair.front, pair.back) for pair in order}


@pytest.mark.parametrize(
    ("first_rows", "second_rows", "expected", "doubtful"),
    [
        pytest.param((5, 25), (5, 5), {(1, 0)}, False, id="the first goes on behind the second"),
        pytest.param((5, 5), (8, 25), {(0, 1)}, False, id="the second behind the first"),
        pytest.param((5, 14), (16, 25), {(0, 1), (1, 0)}, True, id="each above or below the other: mutual"),
        pytest.param((5, 25), (5, 25), set(), True, id="both claim the same places: nobody knows"),
        pytest.param((5, 25), (10, 20), {(1, 0)}, False, id="claims that contradict each other do not count"),
        pytest.param((5, 5), (5, 5), set(), True, id="nobody goes on"),
        pytest.param((5, 7), (5, 5), {(1, 0)}, True, id="along less than a fifth of the contact"),
    ],
)
def test_order_and_doubt(first_rows, second_rows, expected, doubtful):
    contact, first, second = meeting(first_rows, second_rows)
    assert directions(order_by_contact(contact, first, second, 0.5)) == expected
    assert is_doubtful(contact, first, second) is doubtful


def test_doubt_ends_at_the_clear_lead():
    """The contact of the squares is 22 rows of two columns: a claim along n rows reaches n + 2 of them."""
    rows = range(2, 12)
    lead = [(n + 2) / 22 for n in rows]
    doubtful = [is_doubtful(*meeting((8, 8 + n), (5, 5))) for n in rows]
    assert doubtful == [share < CLEAR_LEAD for share in lead] and len(set(doubtful)) == 2


@pytest.mark.parametrize(("threshold", "expected"), [(0.3, {(1, 0)}), (0.4, {(1, 0)}), (0.5, set())])
def test_threshold(threshold, expected):
    contact, first, second = meeting((5, 25), (5, 5), value=np.float32(0.45))
    assert directions(order_by_contact(contact, first, second, threshold)) == expected


def test_the_far_end_of_an_object_is_no_part_of_the_contact():
    contact = contact_of(halves(), (0, 1), 0)
    assert contact.window == np.s_[4:26, 24:26]  # a column of each, and a row beyond either end
    assert [mask.sum() for mask in contact.visible] == [20, 20]


@pytest.mark.parametrize("gap_px", [1, 3, 10])
def test_contact_reaches_over_a_gap(gap_px):
    contact, first, second = meeting((5, 25), (5, 5), gap_px)
    assert contact.reach_px == 1 + gap_px  # three hundredths of 20 pixels, one at least, and the gap
    assert all(mask.any() for mask in contact.visible)
    assert directions(order_by_contact(contact, first, second, 0.5)) == {(1, 0)}


@pytest.mark.parametrize("gap_px", [0, 4])
def test_contact_is_where_both_are_near(gap_px):
    masks = halves(gap_px)
    contact = contact_of(masks, (0, 1), gap_px)
    frame = np.zeros(masks.shape[1:], dtype=bool)
    frame[contact.window] = contact.near
    rows, columns = np.nonzero(frame)
    reach = 1 + gap_px
    assert (rows.min(), rows.max()) == (5 - min(reach, 5), 24 + min(reach, 5))
    # from `reach` before the second square to `reach` after the first
    assert (columns.min(), columns.max()) == (25 + gap_px - reach, 24 + reach)


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        pytest.param(1.5, 33.0, id="one and a half of the contact's 22 rows"),
        pytest.param(0.5, float(SMALLEST_PX), id="never closer than this, nor than the smaller object"),
    ],
)
def test_close_crop_is_around_the_contact(sides, expected):
    square = contact_of(halves(), (0, 1), 0).square(sides)
    assert square.side == pytest.approx(expected)
    assert (square.x + square.side / 2, square.y + square.side / 2) == (25.0, 15.0)


def test_close_crop_holds_the_smaller_object():
    masks = np.zeros((2, 80, 120), dtype=bool)
    masks[0, 20:24, 10:60], masks[1, 0:80, 60:120] = True, True  # a bar whose end touches a large square
    assert contact_of(masks, (0, 1), 0).square(1.5).side == 50


def test_contact_at_the_border_stays_within_the_image():
    masks = np.zeros((2, 20, 40), dtype=bool)
    masks[0, :, :20], masks[1, :, 20:] = True, True
    contact = contact_of(masks, (0, 1), 5)
    assert contact.window == np.s_[0:20, 19:21] and contact.near.shape == (20, 2)


@pytest.mark.parametrize(("side", "other", "reach_px"), [(100, 100, 3), (100, 40, 1), (160, 200, 5)])
def test_the_contact_is_as_deep_as_three_hundredths_of_the_smaller_object(side, other, reach_px):
    masks = np.zeros((2, 260, 400), dtype=bool)
    masks[0, 10 : 10 + side, 10 : 10 + side] = masks[1, 10 : 10 + other, 10 + side : 10 + side + other] = True
    contact = contact_of(masks, (0, 1), 0)
    assert contact.reach_px == reach_px and contact.near.shape[1] == 2 * reach_px
    assert contact.visible[0].sum() == reach_px * (min(side, other) + reach_px * (side > other))


def goes_on_at(row, column):
    """The order of the squares where the first surely goes on at one pixel of the second, by the crop that is given."""
    masks, image_hw = halves(), (30, 60)
    maps = np.zeros((2, *image_hw), np.float32)
    maps[0, row, column] = SURE

    def order(window):
        crops = [
            CompletionPrediction(None, 0, window, maps[k][window], masks[1 - k][window], masks[k][window])
            for k in range(2)
        ]
        plan = SimpleNamespace(ordering=SimpleNamespace(gap_px=0), contact_crops=())
        [[found]] = orders_by_contact(plan, [SimpleNamespace(masks=masks)], [[(0, 1)]], [crops], [0.5])
        return directions(found)

    return order


@pytest.mark.parametrize("row", [5, 14, 24], ids=["first row", "middle", "last row"])
@pytest.mark.parametrize(
    "window",
    [np.s_[0:30, 0:60], np.s_[3:28, 7:50], np.s_[5:25, 25:26]],
    ids=["photo", "around both", "within the contact"],
)
def test_predictions_are_read_where_their_crop_lies(row, window):
    assert goes_on_at(row, 25)(window) == {(1, 0)}  # the only column of the second that is in the contact
    assert goes_on_at(row, 26)(window) == set()


@pytest.mark.parametrize(
    "window",
    [np.s_[0:30, 0:20], np.s_[0:30, 40:60], np.s_[27:30, 0:60], np.s_[20:30, 30:40]],
    ids=["left", "right", "below", "aslant"],
)
def test_nothing_is_known_of_a_contact_outside_the_crop(window):
    assert goes_on_at(slice(None), slice(None))(np.s_[0:30, 0:60]) == {(1, 0)}
    assert goes_on_at(slice(None), slice(None))(window) == set()


def test_an_object_goes_on_only_where_it_is_not_seen_and_something_may_hide_it():
    masks = halves()
    everywhere, window = np.full((30, 60), SURE), np.s_[0:30, 0:60]
    plan = SimpleNamespace(ordering=SimpleNamespace(gap_px=0), contact_crops=())

    def order(behind, modal):
        first = CompletionPrediction(None, 0, window, everywhere, behind, modal)
        second = CompletionPrediction(None, 0, window, 0 * everywhere, masks[0], masks[1])
        [[found]] = orders_by_contact(plan, [SimpleNamespace(masks=masks)], [[(0, 1)]], [[first, second]], [0.5])
        return directions(found)

    assert order(masks[1], masks[0]) == {(1, 0)}
    assert order(np.zeros_like(masks[1]), masks[0]) == set()
    assert order(masks[1], masks[0] | masks[1]) == set()
