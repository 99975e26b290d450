import numpy as np
import pytest

from amodalpl.metrics.completion import count_instance
from amodalpl.metrics.presence import average_precision, compute_presence


def instance(hidden_px, predicted_hidden_px):
    """An object of 100 visible pixels, with so many hidden ones and so many predicted ones behind its occluder."""
    pixels = np.arange(400)[None]
    return count_instance(pixels < 100 + predicted_hidden_px, pixels < 100 + hidden_px, pixels < 100)


def test_ranking_by_hand():
    """Found at ranks 1, 3 and 4: (1/1 + 2/3 + 3/4) / 3."""
    assert average_precision([9, 7, 5, 3, 1], [True, False, True, True, False]) == pytest.approx(
        (1 + 2 / 3 + 3 / 4) / 3
    )


def test_equal_scores_give_the_share_of_positives_in_any_order():
    for positive in ([True, False, False, False], [False, False, False, True]):
        assert average_precision([0.5] * 4, positive) == 0.25


def test_nothing_positive_is_none():
    assert average_precision([0.1, 0.2], [False, False]) is None
    assert average_precision([], []) is None


def test_completing_only_the_occluded_ones_is_perfect():
    scores = compute_presence([instance(0, 0), instance(50, 40), instance(0, 0), instance(10, 3)])
    assert (scores["unoccluded"], scores["unoccluded_share"]) == (2, 0.5)
    assert scores["unoccluded_ap"] == scores["occluded_ap"] == 1.0


def test_modal_mask_tells_nothing():
    scores = compute_presence([instance(0, 0), instance(50, 0), instance(60, 0), instance(70, 0)])
    assert (scores["unoccluded_ap"], scores["occluded_ap"]) == (0.25, 0.75)


def test_completing_the_wrong_ones():
    """Ratios: 0.5 for the unoccluded one, 1 for both others; it comes last of three."""
    scores = compute_presence([instance(0, 100), instance(50, 0), instance(60, 0)])
    assert scores["unoccluded_ap"] == pytest.approx(1 / 3)


def test_nothing_to_score_is_none():
    assert compute_presence([]) == {
        "instances": 0, "unoccluded": 0, "unoccluded_share": None, "unoccluded_ap": None, "occluded_ap": None
    }  # fmt: skip
