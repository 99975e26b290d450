"""Flags of labels, one reason at a time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from amodalpl.labelling.flags import flags_of

VISIBLE = np.zeros((9, 9), bool)
VISIBLE[3:6, 3:6] = True


def label(**changes):
    stated = {
        "occluders": (1,),
        "grew_unmasked": False,
        "grew_to_border": False,
        "runaway": False,
        "kept_modal": False,
        "uncertainty": 0.3,
        **changes,
    }
    return SimpleNamespace(**stated)


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
        pytest.param({"runaway": True, "uncertainty": 1.0}, 0, ["runaway", "low_confidence"], id="refused"),
        pytest.param({"occluders": (), "kept_modal": True}, 0, ["kept_modal"], id="its class is never completed"),
        pytest.param(
            {"occluders": (), "kept_modal": True}, 1, ["kept_modal", "shared_pixels"], id="and it is overlapped"
        ),
        pytest.param({"uncertainty": 0.301}, 0, ["low_confidence"], id="doubtful"),
    ],
)
def test_reasons(changes, lost_px, expected):
    assert flags_of(label(**changes), VISIBLE, lost_px, 0.3) == expected


@pytest.mark.parametrize(
    "edge", [np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]], ids=["top", "bottom", "left", "right"]
)
def test_every_edge_of_the_photo_truncates(edge):
    visible = VISIBLE.copy()
    visible[edge] = True
    assert flags_of(label(), visible, 0, 0.3) == ["truncated"]


def test_an_object_that_others_own():
    assert flags_of(None, VISIBLE & False, 9, 1.0) == ["fully_shared", "low_confidence"]
