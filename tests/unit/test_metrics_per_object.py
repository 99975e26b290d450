"""Means over objects as C2F-Seg and ViTA-Seg print them."""

from __future__ import annotations

import numpy as np
import pytest

from amodalpl.metrics.completion import count_instance
from amodalpl.metrics.per_object import compute_given, compute_predicted


def row(predicted, truth, modal):
    """Masks of one row of a hundred pixels, that far from the left."""
    return count_instance(*(np.arange(100)[None] < px for px in (predicted, truth, modal)))


def test_growing_a_whole_object_costs_nothing_in_either():
    half, grown = row(90, 100, 80), row(100, 50, 50)
    for compute in (compute_given, compute_predicted):
        scores = compute([half, grown])
        assert scores["iou"] == pytest.approx((0.9 + 0.5) / 2)
        assert (scores["hidden_objects"], scores["hidden_iou"]) == (1, pytest.approx(0.5))


def test_a_mask_that_sticks_out_counts_as_hidden_where_masks_are_predicted():
    stuck_out = row(80, 80, 90)
    assert compute_given([stuck_out])["hidden_objects"] == 0
    assert compute_predicted([stuck_out]) == {"instances": 1, "iou": 1.0, "hidden_objects": 1, "hidden_iou": 0.0}
