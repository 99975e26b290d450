"""Objects hidden by things that nobody annotated: shares as asked for, a truth that follows from what was pasted."""

from __future__ import annotations

import numpy as np
import pytest

from amodalpl.masks.boxed import all_boxed, boxed
from amodalpl.metrics.levels import OCCLUDED_VEHICLES
from amodalpl.settings import SynthesisSettings
from amodalpl.synthesis import occluded_objects
from amodalpl.synthesis.holdout import Source
from amodalpl.synthesis.occluded_objects import draw_occluded, surroundings_of
from amodalpl.synthesis.placement_geometry import paste

SETTINGS = SynthesisSettings(feather_px=0)
LEVELS = pytest.mark.parametrize("level", OCCLUDED_VEHICLES.levels, ids=lambda level: level.name)


def rectangle(x, y, w, h, size_hw=(80, 100)):
    mask = np.zeros(size_hw, bool)
    mask[y : y + h, x : x + w] = True
    return mask


@pytest.fixture
def source():
    """A grey photo with a black square of 20 px."""
    image = np.full((80, 100, 3), 128, np.uint8)
    mask = rectangle(40, 30, 20, 20)
    image[mask] = 0
    return Source(lambda: image, all_boxed(mask[None]), [1], [True], 1)


@pytest.fixture
def donors():
    """A white square and a white bar."""
    white = np.full((80, 100, 3), 255, np.uint8)
    masks = np.stack([rectangle(10, 10, 16, 16), rectangle(50, 10, 6, 40)])
    other = Source(lambda: white, all_boxed(masks), [2, 2], [True, True], 2)
    return [(other, 0), (other, 1)]


def drawn(source, donors, level, seed=0, settings=SETTINGS):
    shares = (level.low, level.high), level.context or (0.0, 0.0)
    return draw_occluded(source, 0, donors, *shares, np.random.default_rng(seed), settings)


def test_surroundings_are_the_widened_box_cut_to_the_photo():
    assert surroundings_of(boxed(rectangle(40, 30, 20, 10)), 0.5) == np.s_[25:45, 30:70]
    assert surroundings_of(boxed(rectangle(0, 70, 20, 10)), 0.5) == np.s_[65:80, 0:30]


@LEVELS
@pytest.mark.parametrize("seed", range(3))
def test_both_shares_are_those_of_the_pixels_that_turned_white(source, donors, level, seed):
    scene = drawn(source, donors, level, seed)
    white = (scene.image == 255).all(axis=2)
    whole, visible = np.asarray(scene.whole), np.asarray(scene.visible)
    assert scene.image.shape == (80, 100, 3) and whole.sum() == 400  # the whole photo, for its scale
    np.testing.assert_array_equal(visible, whole & ~white)
    assert scene.occlude_rate == pytest.approx((whole & white).sum() / 400)
    assert scene.context_rate == pytest.approx((white & ~whole)[20:60, 30:70].sum() / 1200)
    assert level.holds(scene.occlude_rate, scene.context_rate)
    assert (scene.image[visible] == 0).all()  # nothing that counts as visible was touched


def test_the_unoccluded_level_is_the_photo_itself(source, donors):
    scene = drawn(source, donors, OCCLUDED_VEHICLES.levels[0])
    np.testing.assert_array_equal(scene.image, source.read())
    assert scene.occlude_rate == 0 == scene.context_rate


def test_soft_edges_stay_within_what_was_pasted(source, donors):
    scene = drawn(source, donors, OCCLUDED_VEHICLES.levels[5], settings=SynthesisSettings(feather_px=20))
    assert (scene.image[np.asarray(scene.visible)] == 0).all()


def test_the_photo_stays_as_it_is(source, donors):
    before = source.read().copy()
    drawn(source, donors, OCCLUDED_VEHICLES.levels[-1])
    np.testing.assert_array_equal(source.read(), before)


def test_no_placement_gives_none(source, donors):
    few = SynthesisSettings(occluded={"tries": 1})
    assert drawn(source, donors, OCCLUDED_VEHICLES.levels[-1], settings=few) is None


def test_equal_generators_give_equal_scenes(source, donors):
    first, second = (drawn(source, donors, OCCLUDED_VEHICLES.levels[4], seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    assert first.occlude_rate == second.occlude_rate


def test_a_paste_that_forgets_the_truth_is_seen(source, donors, monkeypatch):
    """The fault planted: an occluder that is in the pixels, one column aside from where the truth has it."""

    def aside(image, pixels, mask, feather_px):
        return paste(image, pixels, np.roll(mask, 1, axis=1), feather_px)

    monkeypatch.setattr(occluded_objects, "paste", aside)
    with pytest.raises(AssertionError):
        for seed in range(3):
            test_both_shares_are_those_of_the_pixels_that_turned_white(
                source, donors, OCCLUDED_VEHICLES.levels[5], seed
            )
