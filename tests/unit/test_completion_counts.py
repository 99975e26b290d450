"""Completions behind known occluders, counted at several thresholds at once."""

from __future__ import annotations

import numpy as np
from drawn_holdout import ALONE, BAR, SETTINGS, SQUARE, SQUARE_WHOLE, trained

from amodalpl.calibration.completion_counts import count_completions
from amodalpl.calibration.holdout import Case
from amodalpl.completion.predictor import Scene
from amodalpl.labelling.plan import plan_labels

CASE = Case(Scene(np.stack([BAR, SQUARE, ALONE])), np.stack([BAR, SQUARE_WHOLE, ALONE]))


def test_each_threshold_counts_the_same_completion():
    """The network gives the square 0.42: below it all 80 hidden pixels are found, above it none."""
    plan = plan_labels(trained(0.42), SETTINGS)
    found = count_completions(plan, [CASE, CASE], [{1: [0]}, {}], [(0.3, 1.0), (0.4, 1.0), (0.5, 1.0)])
    assert [[[c.hidden_intersection_px for c in of_scene] for of_scene in row] for row in found] == [
        [[80], []],
        [[80], []],
        [[0], []],
    ]
    assert {c.truth_px for row in found for of_scene in row for c in of_scene} == {480}


def test_objects_that_are_not_visible_are_left_out():
    gone = Case(Scene(np.stack([BAR, SQUARE, ALONE & False])), CASE.amodal)
    ((found,),) = count_completions(plan_labels(trained(0.9), SETTINGS), [gone], [{1: [0], 2: [0, 1]}], [(0.5, 1.0)])
    assert [c.modal_px for c in found] == [400]
