import pytest
from drawn_detections import annotation, detection, truth

from amodalpl.errors import DataError
from amodalpl.metrics.detection import coco_scores
from amodalpl.metrics.levels import COCOA_CLS, KINS
from amodalpl.metrics.occluded_detection import (
    ap_by_level,
    ap_occluded,
    ap_occluded_overloaded,
    visible_as_segmentation,
    visible_fractions,
)

WHOLE, HIDDEN_20, HIDDEN_50 = (0, 0, 20, 20), (40, 0, 20, 20), (80, 0, 20, 20)
SCENE = truth(
    annotation(1, WHOLE),
    annotation(2, HIDDEN_20, visible=(40, 0, 16, 20)),
    annotation(3, HIDDEN_50, visible=(80, 0, 10, 20)),
)
EMPTY_PLACE = (0, 60, 20, 20)


def test_visible_fractions_by_hand():
    assert visible_fractions(SCENE) == [1.0, 0.8, 0.5]


def test_levels_ignore_each_other():
    """FG-0 is found, FG-1 (20 %) missed, FG-2 of KINS (50 %) found after one false detection."""
    found = [detection(WHOLE, 0.9), detection(EMPTY_PLACE, 0.8), detection(HIDDEN_50, 0.7)]
    scores = ap_by_level(SCENE, found, KINS)
    assert scores["FG-0"] == 1
    assert scores["FG-1"] == 0
    assert scores["FG-2"] == pytest.approx(0.5, abs=1e-6)  # the false one outranks it; the found whole one does not
    assert scores["FG-3"] is None
    assert scores["mean"] == pytest.approx(0.5, abs=1e-6)
    assert [scores[f"FG-{n}_instances"] for n in range(4)] == [1, 1, 1, 0]


def test_level_bounds_belong_to_both_levels_of_cocoa_cls():
    scores = ap_by_level(SCENE, [detection(WHOLE, 0.9)], COCOA_CLS)
    assert [scores[f"FG-{n}_instances"] for n in range(4)] == [1, 1, 1, 1]  # 20 % hidden is in FG-1 and FG-2


def test_ap_occluded_counts_who_is_hidden_enough():
    found = [detection(WHOLE, 0.9), detection(HIDDEN_20, 0.8)]
    scores = ap_occluded(SCENE, found)
    assert [scores[f"instances_{p}"] for p in (15, 25, 40)] == [2, 1, 1]
    assert scores["AR100_15"] == 0.5
    assert scores["AP_15"] == pytest.approx(51 / 101, abs=1e-6)  # recalls 0.00 to 0.50 of 101
    assert scores["AP_25"] == scores["AP_40"] == 0


def test_least_occlusion_is_included():
    exactly = truth(annotation(1, WHOLE, visible=(0, 0, 17, 20)), annotation(2, HIDDEN_20, visible=(40, 0, 18, 20)))
    assert ap_occluded(exactly, [detection(WHOLE, 0.9)])["instances_15"] == 1
    overloaded = ap_occluded_overloaded(exactly, [detection(WHOLE, 0.9, visible=(0, 0, 17, 20))])
    assert (overloaded["instances"], overloaded["instances_15"], overloaded["AP_15"]) == (2, 1, 1)


def test_overloaded_form_excuses_false_detections_that_claim_to_be_visible():
    """The same false detection costs half the AP or nothing, by its own visible mask; the defined form is not moved."""
    right = detection(HIDDEN_50, 0.5, visible=(80, 0, 10, 20))
    claims_visible = detection(EMPTY_PLACE, 0.9, visible=EMPTY_PLACE)
    claims_hidden = detection(EMPTY_PLACE, 0.9, visible=(0, 60, 10, 20))
    assert ap_occluded_overloaded(SCENE, [claims_visible, right])["AP_40"] == 1
    assert ap_occluded_overloaded(SCENE, [claims_hidden, right])["AP_40"] == pytest.approx(0.5, abs=1e-6)
    for false_one in (claims_visible, claims_hidden):
        assert ap_occluded(SCENE, [false_one, right])["AP_40"] == pytest.approx(0.5, abs=1e-6)


def test_visible_pixels_outside_the_amodal_mask_make_a_detection_no_more_visible():
    """Half of its visible mask lies beside it: it claims to be half hidden, and is a false detection at 40 %."""
    right = detection(HIDDEN_50, 0.5, visible=(80, 0, 10, 20))
    beside = detection(EMPTY_PLACE, 0.9, visible=(0, 50, 20, 20))
    assert ap_occluded_overloaded(SCENE, [beside, right])["AP_40"] == pytest.approx(0.5, abs=1e-6)


def test_overloaded_form_takes_the_stated_rate_and_drops_truths_above_one():
    stated = truth(annotation(1, WHOLE, visible=WHOLE, occlude_rate=0.5), annotation(2, HIDDEN_20, visible=HIDDEN_20))
    assert ap_occluded_overloaded(stated, [])["instances_40"] == 1
    too_small = truth({**annotation(1, WHOLE, visible=WHOLE), "area": 399}, annotation(2, HIDDEN_20))
    scores = ap_occluded_overloaded(too_small, [detection(HIDDEN_20, 0.5, visible=HIDDEN_20)])
    assert (scores["instances"], scores["AP"]) == (1, 1)


def test_visible_masks_take_the_place_of_amodal_ones():
    found = [detection(HIDDEN_50, 0.9, visible=(80, 0, 10, 20))]
    scene = truth(annotation(1, HIDDEN_50, visible=(80, 0, 10, 20)))
    assert coco_scores(*visible_as_segmentation(scene, found), "segm")["AP"] == 1
    assert coco_scores(*visible_as_segmentation(scene, found), "bbox")["AP"] == 1
    modal_only = [detection(HIDDEN_50, 0.9, visible=HIDDEN_50)]  # half of it is hidden: IoU 0.5
    assert coco_scores(*visible_as_segmentation(scene, modal_only), "segm")["AP"] == pytest.approx(0.1, abs=1e-6)


def test_truth_of_which_nothing_is_visible_is_left_out_of_visible_ap():
    scene = truth(annotation(1, WHOLE), annotation(2, HIDDEN_50, visible=(0, 0, 0, 0)))
    found = [detection(WHOLE, 0.9, visible=WHOLE)]
    assert coco_scores(*visible_as_segmentation(scene, found), "segm")["AR100"] == 1


def test_bad_input_is_named():
    with pytest.raises(DataError, match="truth: expected `visible_mask` beside `segmentation`"):
        ap_occluded(truth(annotation(1, WHOLE)), [])
    for two_mask_only in (ap_occluded_overloaded, visible_as_segmentation):
        with pytest.raises(DataError, match=r"detections\[0\]: expected visible_mask, .* got"):
            two_mask_only(SCENE, [detection(WHOLE, 0.9)])
