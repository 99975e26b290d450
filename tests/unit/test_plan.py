"""How photos are labelled: the settings' word first, then what the completer or the photos say."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from amodalpl.calibration.fit import RiskGuarantee
from amodalpl.completion.checkpoint import CompleterBundle
from amodalpl.completion.predictor import CropSpec
from amodalpl.data.label_file import DOUBTFUL_FROM
from amodalpl.labelling.plan import plan_labels
from amodalpl.models.completer import build_completer
from amodalpl.models.completer_table import METHODS
from amodalpl.settings import LabelSettings


def bundle(method="layered", **chosen):
    return CompleterBundle(build_completer(method, 4, False).eval(), CropSpec(32), **chosen)


CHOSEN = {"threshold": 0.35, "order_threshold": 0.15, "contact_crops": (2.0,)}


def test_a_plan_is_settled_once():
    plan = plan_labels(bundle(**CHOSEN), LabelSettings())
    with pytest.raises(FrozenInstanceError):
        plan.threshold = 0.5


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, (0.35, 0.15, (2.0,)), id="the completer's"),
        pytest.param({"threshold": 0.9}, (0.9, 0.15, (2.0,)), id="threshold given"),
        pytest.param({"order_threshold": 0.9}, (0.35, 0.9, (2.0,)), id="threshold of the order given"),
        pytest.param({"contact_crops": (3.0,)}, (0.35, 0.15, (3.0,)), id="looks given"),
        pytest.param({"contact_crops": ()}, (0.35, 0.15, ()), id="no looks"),
    ],
)
def test_settings_replace_what_was_chosen_for_the_completer(given, expected):
    plan = plan_labels(bundle(**CHOSEN), LabelSettings(**given))
    assert (plan.threshold, plan.order_threshold, plan.contact_crops) == expected


@pytest.mark.parametrize("method", METHODS)
def test_order_is_found_by_the_settings_else_by_the_method(method):
    row = METHODS[method]

    def rule(**given):
        return plan_labels(bundle(method), LabelSettings(**given)).order_rule

    assert rule() == ("pairs" if row.order_from_pairs else row.order_rule)
    assert rule(order_from="pairs", order_rule="whole") == "pairs"
    assert rule(order_from="completions") == row.order_rule
    assert rule(order_from="completions", order_rule="whole") == "whole"


@pytest.mark.parametrize(
    ("given", "promise", "bound"),
    [
        pytest.param(None, None, DOUBTFUL_FROM, id="nothing is promised"),
        pytest.param(None, RiskGuarantee(0.12), DOUBTFUL_FROM, id="not promised is not doubtful"),
        pytest.param(0.0, RiskGuarantee(0.12), 0.0, id="given, though it is zero"),
        pytest.param(0.7, None, 0.7, id="given"),
    ],
)
def test_what_is_low_confidence(given, promise, bound):
    assert plan_labels(bundle(promise=promise), LabelSettings(low_confidence=given)).low_confidence == bound


@pytest.mark.parametrize(
    ("given", "gaps"),
    [
        pytest.param({}, (2, 2, 2), id="hand-drawn polygons"),
        pytest.param(
            {"gap_px": 7, "contour_inset_px": 3}, (7, 1, 4), id="narrower from both sides; clefts closed to complete"
        ),
        pytest.param({"gap_px": 2, "contour_inset_px": 3}, (2, 0, 3), id="no gap is left"),
        pytest.param({"gap_px": 5, "contour_inset_px": 0}, (5, 5, 5), id="not tight"),
    ],
)
def test_tolerances_for_gaps(given, gaps):
    plan = plan_labels(bundle(), LabelSettings(**given))
    assert (plan.gap_px, plan.ordering.gap_px, plan.completing.gap_px) == gaps
    assert plan.contour_inset_px == given.get("contour_inset_px", 0)


def test_both_predictors_see_what_the_completer_was_trained_on():
    plan = plan_labels(bundle(), LabelSettings(batch_size=5))
    for predictor in (plan.ordering, plan.completing):
        assert (predictor.crop, predictor.batch_size) == (CropSpec(32), 5)


def test_measured_gaps_fill_what_the_settings_leave_open():
    for given, expected in (
        ({}, (6, 3)),
        ({"gap_px": 3}, (3, 1)),  # a gap that is no contact is not closed from both sides either
        ({"gap_px": 0}, (0, 0)),
        ({"contour_inset_px": 1}, (6, 1)),
        ({"gap_px": 9, "contour_inset_px": 0}, (9, 0)),
    ):
        plan = plan_labels(bundle(), LabelSettings(**given).measured(6, 3))
        assert (plan.gap_px, plan.contour_inset_px) == expected
