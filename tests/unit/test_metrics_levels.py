import numpy as np
import pytest

from amodalpl.metrics.completion import count_instance
from amodalpl.metrics.levels import (
    COCOA_CLS,
    KINS,
    LEVEL_SETS,
    OCCLUDED_VEHICLES,
    OCCLUDED_VEHICLES_FG,
    compute_levels,
)


def instance(hidden_px, iou, whole_px=100):
    """An object of which `hidden_px` are hidden, predicted with the given IoU (in hundredths of its pixels)."""
    pixels = np.arange(whole_px)
    return count_instance(
        (pixels < round(iou * whole_px))[None], np.ones((1, whole_px), bool), (pixels >= hidden_px)[None]
    )


def test_mean_of_levels_not_of_objects():
    counts = [instance(0, 1.0)] * 8 + [instance(10, 0.5), instance(20, 0.7)]
    scores = compute_levels(counts, KINS)
    assert (scores["FG-0"], scores["FG-1"], scores["FG-2"]) == (1.0, pytest.approx(0.6), None)
    assert scores["mean"] == pytest.approx(0.8)  # the mean over objects is 0.92
    assert (scores["levels"], scores["instances"], scores["outside"]) == (2, 10, 0)
    assert (scores["FG-0_instances"], scores["FG-1_instances"]) == (8, 2)


@pytest.mark.parametrize(
    ("level_set", "hidden_px", "levels"),
    [
        (KINS, 0, ["FG-0"]),
        (KINS, 1, ["FG-1"]),
        (KINS, 30, ["FG-1"]),
        (KINS, 31, ["FG-2"]),
        (KINS, 60, ["FG-2"]),
        (KINS, 61, ["FG-3"]),
        (KINS, 90, ["FG-3"]),
        (KINS, 91, []),
        (COCOA_CLS, 20, ["FG-1", "FG-2"]),
        (COCOA_CLS, 40, ["FG-2", "FG-3"]),
        (COCOA_CLS, 70, ["FG-3"]),
        (COCOA_CLS, 71, []),
        (OCCLUDED_VEHICLES_FG, 10, []),
        (OCCLUDED_VEHICLES_FG, 80, ["FG-3"]),
    ],
)
def test_bounds_are_those_of_the_papers_code(level_set, hidden_px, levels):
    scores = compute_levels([instance(hidden_px, 1.0)], level_set)
    assert [level.name for level in level_set.levels if scores[f"{level.name}_instances"]] == levels
    assert scores["outside"] == (not levels)


def test_a_hair_of_occlusion_is_in_no_level_of_kins():
    assert compute_levels([instance(1, 1.0, whole_px=20_000)], KINS)["outside"] == 1


def test_occluded_vehicles_has_ten_cells_by_object_and_context():
    assert len(OCCLUDED_VEHICLES.levels) == 10
    counts = [instance(0, 1.0), instance(30, 0.4), instance(30, 0.8)]
    scores = compute_levels(counts, OCCLUDED_VEHICLES, context_fractions=[0.0, 0.1, 0.5])
    assert (scores["FG-0"], scores["FG-1 BG-1"], scores["FG-1 BG-3"]) == (1.0, 0.4, 0.8)
    assert scores["mean"] == pytest.approx((1.0 + 0.4 + 0.8) / 3)
    assert compute_levels(counts, OCCLUDED_VEHICLES)["instances"] == 1  # of an unknown context only FG-0


def test_papers_score_vehicles_of_some_height():
    assert KINS.selects("car", 50) and not KINS.selects("car", 49) and not KINS.selects("pedestrian", 90)
    assert COCOA_CLS.selects("airplane", 1) and COCOA_CLS.selects("aeroplane", 1)


def test_names_tell_the_sets_apart():
    assert len({level_set.protocol for level_set in (*LEVEL_SETS.values(), OCCLUDED_VEHICLES)}) == 4


def test_nothing_to_score_is_none():
    scores = compute_levels([], KINS)
    assert (scores["mean"], scores["levels"], scores["FG-0"]) == (None, 0, None)
