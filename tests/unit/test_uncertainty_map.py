"""Maps of the uncertainty of predictions that are known."""

from __future__ import annotations

import numpy as np
import pytest

from amodalpl.calibration.fit import Calibration
from amodalpl.completion.predictor import CompletionPrediction, CompletionRequest, Scene
from amodalpl.labelling.uncertainty_map import LONGER_SIDE_PX, map_uncertainty


def prediction(probability, side=20, corner_yx=(100, 200)):
    """Rows 0-9 are visible, rows 10-14 hidden by something, the rest is free."""
    modal, behind = np.zeros((2, side, side), bool)
    modal[: side // 2], behind[side // 2 : 3 * side // 4] = True, True
    y, x = corner_yx
    filled = np.full((side, side), probability, np.float32)
    request = CompletionRequest(Scene(np.zeros((2, 1000, 1000), bool)), 0, (1,))
    return CompletionPrediction(request, 0, np.s_[y : y + side, x : x + side], filled, behind, modal)


@pytest.mark.parametrize(("probability", "level"), [(0.5, 255), (0.1, round(255 * 0.36)), (0.9, round(255 * 0.36))])
def test_doubt_behind_the_occluders(probability, level):
    found = map_uncertainty(prediction(probability), Calibration(), behind_neighbours=True)
    assert found.box_xywh == (200, 110, 20, 5)
    np.testing.assert_array_equal(found.levels, np.full((5, 20), level, np.uint8))


def test_doubt_wherever_a_label_may_grow():
    found = map_uncertainty(prediction(0.5), Calibration(), behind_neighbours=False)
    assert found.box_xywh == (200, 110, 20, 10) and (found.levels == 255).all()


def test_calibrated_probability_counts():
    calibration = Calibration(probability=(0.0, 1.0), belongs=(0.0, 0.5))  # half of what the network is sure of
    assert (map_uncertainty(prediction(1.0), calibration, True).levels == 255).all()
    assert (map_uncertainty(prediction(0.5), calibration, True).levels == round(255 * 0.75)).all()


def test_nothing_doubtful():
    found = map_uncertainty(prediction(1.0), Calibration(), behind_neighbours=True)
    assert found.box_xywh == (200, 100, 20, 10) and found.levels.shape == (10, 20) and not found.levels.any()


def test_large_maps_are_shrunk_and_keep_their_mean():
    found = map_uncertainty(prediction(0.5, side=200), Calibration(), behind_neighbours=True)
    assert found.box_xywh == (200, 200, 200, 50)
    assert found.levels.shape == (16, LONGER_SIDE_PX) and (found.levels == 255).all()
