"""A label, read from a prediction whose pixels are known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from amodalpl.calibration.fit import Calibration
from amodalpl.completion.checkpoint import CompleterBundle
from amodalpl.completion.predictor import CompletionPrediction, CompletionRequest, CropSpec, Scene
from amodalpl.labelling.label import (
    LONGER_SIDE_PX,
    Label,
    amodal_in_window,
    as_drawn,
    flags_of,
    map_uncertainty,
    most_probable,
    read_label,
)
from amodalpl.labelling.plan import plan_labels
from amodalpl.masks.boxed import boxed
from amodalpl.models.completer import build_completer
from amodalpl.settings import LabelSettings

SIZE_HW = (20, 30)
WINDOW = np.s_[5:15, 10:20]  # 10 x 10 pixels within the image


def part(columns):
    """Rows 4 to 8 of some columns of the window."""
    mask = np.zeros((10, 10), bool)
    mask[4:8, slice(*columns)] = True
    return mask


MODAL, BEHIND, AHEAD = part((2, 4)), part((4, 6)), part((6, 8))  # 8 pixels each: visible, behind the occluder, free
PROBABILITY = (0.6 * BEHIND + 0.8 * AHEAD).astype(np.float32)
SCENE = Scene(np.zeros((3, *SIZE_HW), bool))
PREDICTION = CompletionPrediction(CompletionRequest(SCENE, 0, (2, 1)), 2, WINDOW, PROBABILITY, BEHIND, MODAL)


def beyond_masks(prediction):
    """The same of a scene that has the objects, where the target may go on where none is."""
    scene = Scene(np.stack([in_image(MODAL), in_image(MODAL & False), in_image(BEHIND)]))
    request = replace(prediction.request, scene=scene)
    p = prediction
    return CompletionPrediction(request, p.gap_px, p.window, p.probability, p.behind, p.modal, beyond_masks=True)


def in_image(mask):
    image = np.zeros(SIZE_HW, bool)
    image[WINDOW] = mask
    return image


def plan(**settings):
    bundle = CompleterBundle(
        build_completer("layered", 4, False).eval(), CropSpec(32), calibration=Calibration((0.0, 1.0), (0.1, 1.0))
    )
    return plan_labels(bundle, LabelSettings(**settings))


def read(plan, prediction, threshold=None):
    return read_label(plan, in_image(MODAL), prediction, threshold or plan.threshold)


@pytest.mark.parametrize(
    ("threshold", "behind_neighbours", "expected"),
    [
        pytest.param(0.5, True, MODAL | BEHIND, id="behind the occluder only"),
        pytest.param(0.5, False, MODAL | BEHIND | AHEAD, id="wherever it is likely"),
        pytest.param(0.7, False, MODAL | AHEAD, id="above the threshold"),
        pytest.param(0.7, True, MODAL, id="nothing grows"),
    ],
)
def test_amodal_mask_of_a_window(threshold, behind_neighbours, expected):
    np.testing.assert_array_equal(amodal_in_window(PREDICTION, threshold, behind_neighbours), expected)


@pytest.mark.parametrize(
    ("max_growth", "expected"),
    [
        pytest.param(None, MODAL | BEHIND | AHEAD, id="any size"),
        pytest.param(3.0, MODAL | BEHIND | AHEAD, id="just as large"),
        pytest.param(2.99, MODAL | AHEAD, id="those of 0.6 are too many"),
        pytest.param(2.0, MODAL | AHEAD, id="room for those of 0.8"),
        pytest.param(1.99, MODAL, id="all of those are too many"),
    ],
)
def test_of_a_mask_that_is_too_large_the_most_probable_pixels_stay(max_growth, expected):
    np.testing.assert_array_equal(most_probable(PREDICTION, MODAL | BEHIND | AHEAD, max_growth), expected)


def test_single_pixels_are_weighed():
    order = np.where(BEHIND, np.linspace(0.5, 0.9, 100, dtype=np.float32).reshape(10, 10), 0)
    prediction = CompletionPrediction(PREDICTION.request, 2, WINDOW, order, BEHIND, MODAL)
    kept = most_probable(prediction, MODAL | BEHIND, 1.375)  # 3 of 8 pixels
    assert kept.sum() == 11 and order[kept & BEHIND].min() > order[BEHIND & ~kept].max()


def test_label_of_a_prediction():
    label = read(plan(), PREDICTION)
    np.testing.assert_array_equal(label.amodal, in_image(MODAL | BEHIND))
    assert label.prediction is PREDICTION and label.asked and label.occluders == (2, 1)
    assert not label.runaway and not label.grew_to_border
    implied = 1 - (8 + 8 * 0.6) / 16  # what is added belongs by 0.6
    assert label.uncertainty == pytest.approx(0.1 + 0.9 * implied, abs=1e-3)


def test_the_threshold_is_the_one_that_is_given():
    """That of the plan is for classes that have none of their own."""
    assert not read(plan(threshold=0.9), PREDICTION, 0.5).amodal.sum() == MODAL.sum()
    assert read(plan(threshold=0.5), PREDICTION, 0.9).amodal.sum() == MODAL.sum()


def test_what_a_limit_leaves_out_adds_to_the_uncertainty():
    label = read(plan(max_growth=1.5), PREDICTION)
    np.testing.assert_array_equal(label.amodal, in_image(MODAL))
    assert label.runaway and label.asked and label.occluders == (2, 1)
    implied = 1 - 8 / (8 + 8 * 0.6)
    assert label.uncertainty == pytest.approx(0.1 + 0.9 * implied, abs=1e-3)


def test_growth_to_the_edge_of_the_window_is_noted():
    to_edge = part((4, 10))
    prediction = CompletionPrediction(PREDICTION.request, 2, WINDOW, to_edge.astype(np.float32), to_edge, MODAL)
    assert read(plan(), prediction).grew_to_border


def test_nobody_was_asked():
    label = Label(boxed(in_image(MODAL)), 0.0)
    assert not label.asked and label.occluders == ()


def test_a_loosened_contour_is_kept_beside_growth_only():
    drawn = in_image(part((2, 3)))
    kept = as_drawn(drawn, PREDICTION, MODAL | BEHIND, contour_inset_px=1)
    np.testing.assert_array_equal(kept, in_image(part((2, 6))))  # column 3 was added, and lies beside the growth
    np.testing.assert_array_equal(as_drawn(drawn, PREDICTION, MODAL, contour_inset_px=1), drawn)
    np.testing.assert_array_equal(as_drawn(drawn, PREDICTION, MODAL, contour_inset_px=0), in_image(MODAL))


def test_where_no_mask_is_a_threshold_of_its_own_counts():
    open_there = beyond_masks(PREDICTION)
    assert np.array_equal(amodal_in_window(open_there, 0.5, True, 0.7), MODAL | BEHIND | AHEAD)
    assert np.array_equal(amodal_in_window(open_there, 0.5, True, 0.9), MODAL | BEHIND)
    assert np.array_equal(amodal_in_window(PREDICTION, 0.5, True, 0.1), MODAL | BEHIND)  # nobody asked for it


def test_objects_seen_in_pieces_have_a_threshold_of_their_own():
    """With a second piece beyond what is free, the same object surely goes on between them."""
    in_pieces = MODAL | part((7, 10))
    plans = CompleterBundle(build_completer("layered", 4, False).eval(), CropSpec(32), unmasked_threshold=0.9)
    settled = plan_labels(replace(plans, unmasked_threshold_in_pieces=0.7), LabelSettings())
    assert settled.completing.beyond_masks
    thresholds = [settled.unmasked_threshold_of(boxed(in_image(mask))) for mask in (MODAL, in_pieces)]
    assert thresholds == [0.9, 0.7]
    read_off = [
        read_label(settled, in_image(m), beyond_masks(PREDICTION), 0.5).grew_unmasked for m in (MODAL, in_pieces)
    ]
    assert read_off == [False, True]
    asked = plan_labels(replace(plans, unmasked_threshold_in_pieces=0.7), LabelSettings(unmasked_threshold=0.8))
    assert [asked.unmasked_threshold_of(boxed(in_image(mask))) for mask in (MODAL, in_pieces)] == [0.8, 0.8]


@pytest.mark.parametrize(("pixels", "grows"), [(19, False), (20, True)])
def test_a_rim_is_no_growth_where_no_mask_is(pixels, grows):
    """Twenty pixels are 5 % of what is visible."""
    modal, probability = np.zeros((40, 40), bool), np.zeros((40, 40), np.float32)
    modal[10:30, 10:30], probability[30, 10 : 10 + pixels] = True, 0.9
    scene = Scene(modal[None])
    request, window = CompletionRequest(scene, 0, ()), np.s_[0:40, 0:40]
    seen = CompletionPrediction(request, 0, window, probability, np.zeros_like(modal), modal, beyond_masks=True)
    assert (amodal_in_window(seen, 0.5, True, 0.7) != modal).any() == grows


def test_what_may_go_on_where_no_mask_is_adds_to_the_uncertainty():
    open_there = beyond_masks(PREDICTION)
    sure = read(plan(threshold=0.5, gap_px=2), PREDICTION)
    left_out = read(plan(threshold=0.5, gap_px=2, unmasked_threshold=0.9), open_there)
    assert np.array_equal(sure.amodal, left_out.amodal) and not left_out.grew_unmasked
    assert left_out.uncertainty > sure.uncertainty
    grown = read(plan(threshold=0.5, gap_px=2, unmasked_threshold=0.7), open_there)
    assert grown.grew_unmasked and grown.amodal.sum() == 24


def test_the_gap_to_an_occluder_is_nothing_without_a_mask():
    """The occluder begins a pixel beyond the object; that pixel is closed, not taken for an unmarked thing."""
    scene = Scene(np.stack([in_image(MODAL), in_image(MODAL & False), in_image(part((5, 6)))]))
    request = replace(PREDICTION.request, scene=scene)
    seen = CompletionPrediction(request, 2, WINDOW, 0.6 * BEHIND + 0.8 * AHEAD, BEHIND, MODAL, beyond_masks=True)
    behind, free = (read(plan(threshold=0.5, gap_px=2, unmasked_threshold=limit), seen) for limit in (0.9, 0.7))
    assert np.array_equal(behind.amodal, in_image(MODAL | BEHIND)) and not behind.grew_unmasked
    assert np.array_equal(free.amodal, in_image(MODAL | BEHIND | AHEAD)) and free.grew_unmasked


VISIBLE = np.zeros((9, 9), bool)
VISIBLE[3:6, 3:6] = True


def stated(**changes):
    label = {
        "occluders": (1,),
        "grew_unmasked": False,
        "grew_to_border": False,
        "runaway": False,
        "kept_modal": False,
        "uncertainty": 0.3,
        **changes,
    }
    return SimpleNamespace(**label)


@pytest.mark.parametrize(
    ("changes", "lost_px", "expected"),
    [
        pytest.param({}, 0, [], id="nothing to say; 0.3 is not above 0.3"),
        pytest.param({"occluders": ()}, 0, ["no_occluder"], id="nothing in front"),
        pytest.param(
            {"occluders": ()}, 1, ["overlap_only", "shared_pixels"], id="nothing in front but what it overlaps"
        ),
        pytest.param(
            {"occluders": (), "grew_unmasked": True}, 0, ["unmasked_occluder"], id="in front is what nobody annotated"
        ),
        pytest.param({}, 1, ["shared_pixels"], id="something in front, and pixels shared"),
        pytest.param({"grew_to_border": True}, 0, ["grew_to_border"], id="cut off"),
        pytest.param({"runaway": True}, 0, ["runaway"], id="limited"),
        pytest.param({"occluders": (), "kept_modal": True}, 0, ["kept_modal"], id="its class is never completed"),
        pytest.param(
            {"occluders": (), "kept_modal": True}, 1, ["kept_modal", "shared_pixels"], id="and it is overlapped"
        ),
        pytest.param({"uncertainty": 0.301}, 0, ["low_confidence"], id="doubtful"),
    ],
)
def test_reasons(changes, lost_px, expected):
    assert flags_of(stated(**changes), boxed(VISIBLE), lost_px, 0.3) == expected


@pytest.mark.parametrize(
    "edge", [np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]], ids=["top", "bottom", "left", "right"]
)
def test_every_edge_of_the_photo_truncates(edge):
    visible = VISIBLE.copy()
    visible[edge] = True
    assert flags_of(stated(), boxed(visible), 0, 0.3) == ["truncated"]


def test_an_object_that_others_own():
    assert flags_of(None, boxed(VISIBLE & False), 9, 1.0) == ["fully_shared", "low_confidence"]


def certain(probability, side=20, corner_yx=(100, 200)):
    """Rows 0-9 are visible, rows 10-14 hidden by something, the rest is free."""
    modal, behind = np.zeros((2, side, side), bool)
    modal[: side // 2], behind[side // 2 : 3 * side // 4] = True, True
    y, x = corner_yx
    filled = np.full((side, side), probability, np.float32)
    request = CompletionRequest(Scene(np.zeros((2, 1000, 1000), bool)), 0, (1,))
    return CompletionPrediction(request, 0, np.s_[y : y + side, x : x + side], filled, behind, modal)


@pytest.mark.parametrize(("probability", "level"), [(0.5, 255), (0.1, round(255 * 0.36)), (0.9, round(255 * 0.36))])
def test_doubt_behind_the_occluders(probability, level):
    found = map_uncertainty(certain(probability), Calibration(), behind_neighbours=True)
    assert found.box_xywh == (200, 110, 20, 5)
    np.testing.assert_array_equal(found.levels, np.full((5, 20), level, np.uint8))


def test_doubt_wherever_a_label_may_grow():
    found = map_uncertainty(certain(0.5), Calibration(), behind_neighbours=False)
    assert found.box_xywh == (200, 110, 20, 10) and (found.levels == 255).all()


def test_calibrated_probability_counts():
    calibration = Calibration(probability=(0.0, 1.0), belongs=(0.0, 0.5))  # half of what the network is sure of
    assert (map_uncertainty(certain(1.0), calibration, True).levels == 255).all()
    assert (map_uncertainty(certain(0.5), calibration, True).levels == round(255 * 0.75)).all()


def test_nothing_doubtful():
    found = map_uncertainty(certain(1.0), Calibration(), behind_neighbours=True)
    assert found.box_xywh == (200, 100, 20, 10) and found.levels.shape == (10, 20) and not found.levels.any()


def test_large_maps_are_shrunk_and_keep_their_mean():
    found = map_uncertainty(certain(0.5, side=200), Calibration(), behind_neighbours=True)
    assert found.box_xywh == (200, 200, 200, 50)
    assert found.levels.shape == (16, LONGER_SIDE_PX) and (found.levels == 255).all()
