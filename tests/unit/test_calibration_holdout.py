"""Scenes of a hold-out with their truth, as calibration reads them."""

from __future__ import annotations

import numpy as np
from drawn_holdout import ALONE, BAR, SQUARE, SQUARE_WHOLE, holdout, rectangle

from amodalpl.calibration.holdout import Case
from amodalpl.completion.predictor import Scene
from amodalpl.labelling.ordering import OcclusionEdge
from amodalpl.masks.boxed import boxed


def test_parts(tmp_path):
    found = holdout(tmp_path, ("choose", "report", "both", "choose"))
    assert found.cases("choose") == [1, 3, 4] and found.cases("report") == [2, 3]
    assert [len(chunk) for chunk in found.chunks([1] * 20)] == [8, 8, 4]


def test_true_order_counts_the_hidden_pixels_that_the_front_shows():
    case = Case(Scene(np.stack([BAR, SQUARE, ALONE])), np.stack([BAR, SQUARE_WHOLE, ALONE]))
    assert case.true_order() == [OcclusionEdge(front=0, back=1, evidence_px=80.0)]


def test_mutual_occlusion_has_both_directions():
    left, right = rectangle((0, 20), (0, 20)), rectangle((0, 20), (20, 40))
    amodal = np.stack([left | rectangle((0, 5), (20, 22)), right | rectangle((10, 20), (19, 20))])
    found = Case(Scene(np.stack([left, right])), amodal).true_order()
    assert [(p.front, p.back, p.evidence_px) for p in found] == [(1, 0, 10.0), (0, 1, 10.0)]


def test_hidden_behind_nothing_gives_no_order():
    case = Case(Scene(np.stack([SQUARE, ALONE])), np.stack([SQUARE_WHOLE, ALONE]))
    assert case.true_order() == []


def test_erosion_shrinks_the_visible_masks_only():
    case = Case(Scene(np.stack([BAR, SQUARE, ALONE])), np.stack([BAR, SQUARE_WHOLE, ALONE]))
    found = case.eroded(1)
    np.testing.assert_array_equal(found.masks[1], rectangle((21, 39), (21, 39)))
    assert not case.eroded(2).masks[0].any()  # the bar is four pixels wide
    assert case.scene.masks[1].area_px == 400


def test_an_occluder_may_be_one_that_nobody_knows():
    case = Case(Scene(np.stack([BAR, SQUARE, ALONE])), np.stack([BAR, SQUARE_WHOLE, ALONE]))
    found = case.with_unmasked_occluders(1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(found.scene.masks, [SQUARE, ALONE])
    np.testing.assert_array_equal(found.amodal, [SQUARE_WHOLE, ALONE])
    assert found.true_order() == [] and len(case.amodal) == 3
    assert len(case.with_unmasked_occluders(0.0, np.random.default_rng(0)).amodal) == 3


def test_objects_that_hide_one_another_do_not_all_go():
    left, right = rectangle((0, 20), (0, 20)), rectangle((0, 20), (20, 40))
    amodal = np.stack([left | rectangle((0, 5), (20, 22)), right | rectangle((10, 20), (19, 20))])
    found = Case(Scene(np.stack([left, right])), amodal).with_unmasked_occluders(1.0, np.random.default_rng(0))
    assert len(found.amodal) == len(found.scene.masks) == 2


def test_growth_where_no_mask_is_is_judged_of_what_is_sure_to_be_whole_only():
    masks, amodal = np.stack([BAR, SQUARE, ALONE]), np.stack([BAR, SQUARE_WHOLE, ALONE])
    beyond = rectangle((40, 45), (20, 30))
    label = boxed(SQUARE_WHOLE | ALONE | beyond)
    for sure, judged in ((None, True), ([1], True), ([0, 2], False)):
        found = np.asarray(Case(Scene(masks), amodal, sure).judged(1, label))
        np.testing.assert_array_equal(found, np.asarray(label) if judged else SQUARE_WHOLE | ALONE)
