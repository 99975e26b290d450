"""Calibration is used where it helps on other scenes for sure, and a promise is what most draws allow."""

from __future__ import annotations

import numpy as np
import pytest

from amodalpl.calibration.choose_calibration import labels_help, pixels_help, promise_of_draws
from amodalpl.calibration.fit import LEVEL_VALUES, PixelCounts, RiskGuarantee, choose_promise


def scenes(rng, count, share_of, pixels_each=300):
    """Pixels whose truth follows a share of each probability."""
    made = []
    for _ in range(count):
        pixels = rng.multinomial(pixels_each, np.full(LEVEL_VALUES.size, 1 / LEVEL_VALUES.size))
        made.append(PixelCounts(pixels, rng.binomial(pixels, np.clip(share_of(LEVEL_VALUES), 0, 1))))
    return made


@pytest.mark.parametrize("seed", range(5))
def test_pixels_are_mapped_where_probabilities_are_wrong(seed):
    assert pixels_help(scenes(np.random.default_rng(seed), 40, lambda p: p**3))


@pytest.mark.parametrize("seed", range(5))
def test_pixels_are_left_alone_where_probabilities_are_right(seed):
    assert not pixels_help(scenes(np.random.default_rng(seed), 12, lambda p: p, pixels_each=60))


@pytest.mark.parametrize("seed", range(5))
def test_one_odd_scene_is_no_reason(seed):
    """One large scene is wrong all over; a map fitted to it helps no other."""
    rng = np.random.default_rng(seed)
    odd = scenes(rng, 1, lambda p: p**4, pixels_each=3000)
    assert not pixels_help([*scenes(rng, 19, lambda p: p), *odd])


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_mapped_where_doubt_is_wrong_and_left_alone_where_it_is_right(seed):
    rng = np.random.default_rng(seed)
    doubt, scene = rng.random(240) * 0.4, np.arange(240) // 4
    noise = rng.normal(0, 0.05, 240)
    assert labels_help(doubt, np.clip(2 * doubt + noise, 0, 1), scene)
    assert not labels_help(doubt, np.clip(doubt + noise, 0, 1), scene)


@pytest.mark.parametrize("few", [0, 1], ids=["no scenes", "one scene"])
def test_nothing_to_check_on(few):
    rng = np.random.default_rng(0)
    assert not pixels_help(scenes(rng, few, lambda p: p**3))
    assert not labels_help([0.1] * few, [0.2] * few, list(range(few)))


def test_promise_of_draws_is_no_larger_than_that_of_all():
    rng = np.random.default_rng(3)
    stated = rng.random(400) * 0.5
    iou = 1 - stated * rng.random(400) * 1.2
    scene = np.arange(400) // 5
    found, together = promise_of_draws(stated, iou, scene), choose_promise(stated, iou)
    assert found is not None and together is not None
    assert 0.05 < found.uncertainty_at_most <= together.uncertainty_at_most
    assert found == promise_of_draws(stated, iou, scene)


def test_a_bound_that_hangs_on_one_scene_is_not_promised():
    """Up to 0.2 all is well together, but only for one large scene, which more than a third of the draws lack."""
    stated = [0.1] * 200 + [0.2] * 200 + [0.2] * 12
    iou = [0.9] * 200 + [0.9] * 200 + [0.5] * 12
    scene = [k // 5 for k in range(200)] + [100] * 200 + [200 + k for k in range(12)]
    assert choose_promise(stated, iou) == RiskGuarantee(0.2)
    assert promise_of_draws(stated, iou, scene) == RiskGuarantee(0.1)


def test_no_labels_no_promise():
    assert promise_of_draws([], [], []) is None
    assert promise_of_draws([0.1] * 59, [0.9] * 59, [0] * 59) == RiskGuarantee(0.1)
