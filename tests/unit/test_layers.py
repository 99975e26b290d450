"""Layers: an object among neighbours, in front and behind."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_cutouts import SIZE, write_bank, write_thin_bank
from pydantic import ValidationError

from amodalpl.masks.geometry import dilate, occlusion_boundary
from amodalpl.settings import LayerSettings, SynthesisSettings
from amodalpl.synthesis.bank import Bank
from amodalpl.synthesis.layers import draw_layers


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return Bank(write_bank(tmp_path_factory.mktemp("bank")))


def settings(patch_px=48, **layers):
    return SynthesisSettings(patch_px=patch_px, layers=LayerSettings(**layers))


def draw(bank, count, asked):
    return [draw_layers(bank, k % len(bank), np.random.default_rng((5, k)), asked) for k in range(count)]


def same(a, b):
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("modal", "occluder", "boundary", "target"))


@pytest.mark.parametrize("redrawn", [0.0, 1.0])
def test_what_holds_for_every_sample(bank, redrawn):
    asked = settings(redrawn=redrawn, contour_px=2)
    for sample in draw(bank, 300, asked):
        assert sample.modal.any() and not (sample.modal & sample.occluder).any()
        assert sample.image is None and sample.unknown is None
        near = dilate(sample.target, 2 + 4 if redrawn else 0)  # looser by 2, then gaps of up to 4 closed
        assert not (sample.modal & ~near).any()
        assert sample.is_hidden == (sample.target & ~sample.modal & sample.occluder).any()
        np.testing.assert_array_equal(sample.boundary, occlusion_boundary(sample.modal, sample.occluder, 5))


def test_the_same_generator_gives_the_same_sample_and_another_one_does_not(bank):
    first, again = (draw(bank, 3 * SIZE, settings()) for _ in range(2))
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not any(same(a, b) for a, b in zip(first[:SIZE], first[SIZE:], strict=False))


def test_in_front_of_everything_nothing_is_lost(bank):
    for sample in draw(bank, 60, settings(front_probability=0, redrawn=0)):
        np.testing.assert_array_equal(sample.modal, sample.target)
        assert not sample.is_hidden


def test_behind_everything_what_is_lost_is_under_what_is_shown(bank):
    samples = draw(bank, 200, settings(front_probability=1, redrawn=0, told=1, alone=0))
    for sample in samples:
        assert not (sample.target & ~sample.modal & ~sample.occluder).any()
    assert sum(sample.is_hidden for sample in samples) > 190


def test_no_neighbour_hides_more_than_the_most(bank):
    asked = settings(front_probability=1, redrawn=0, hidden=(0.2, 0.5), neighbours=(1,), shift=0, zoom_out=(2.0, 2.0))
    for sample in draw(bank, 100, asked):
        hidden = 1 - sample.modal.sum() / sample.target.sum()
        assert 0.15 < hidden < 0.55  # tried on a sketch, so not to the pixel


def test_one_shown_alone_is_one_of_all(bank):
    """With the same generator, whom the network is told of changes neither the object nor what is left of it."""
    base = {"redrawn": 0, "neighbours": (0, 0, 1)}
    fewer = 0
    for k in range(60):
        alone, every = (
            draw_layers(bank, k % SIZE, np.random.default_rng(k), settings(**base, told=0, alone=a)) for a in (1, 0)
        )
        np.testing.assert_array_equal(alone.target, every.target)
        np.testing.assert_array_equal(alone.modal, every.modal)
        assert not (alone.occluder & ~every.occluder).any()
        fewer += alone.occluder.sum() < every.occluder.sum()
    assert fewer > 30


def test_number_of_neighbours(bank):
    """Neighbours of which none may be told but one: more odds for more neighbours hide more."""
    hidden = [
        np.mean([1 - s.modal.sum() / s.target.sum() for s in draw(bank, 150, settings(neighbours=n, redrawn=0))])
        for n in ((1,), (0, 0, 0, 1))
    ]
    assert hidden[1] > 1.4 * hidden[0]


def test_natural_sizes(bank):
    """The small disc among its larger fellows is hidden deeper when these keep their sizes."""
    small = [
        np.mean(
            [
                draw_layers(
                    bank, 7, np.random.default_rng(k), settings(natural_sizes=n, neighbours=(1,), front_probability=0)
                ).occluder.mean()
                for k in range(80)
            ]
        )
        for n in (0, 1)
    ]
    assert small[1] > small[0]


def test_flip_is_of_the_whole_sample(bank):
    asked = settings(redrawn=0)
    for k in range(6):
        plain, mirrored = (
            draw_layers(bank, k, np.random.default_rng(k), asked.model_copy(update={"flip_probability": p}, deep=True))
            for p in (0.0, 1.0)
        )
        for name in ("modal", "occluder", "target"):
            differs = getattr(plain, name)[:, ::-1] != getattr(mirrored, name)
            assert differs.mean() < 0.03  # pixel centres on a contour may fall either way


def test_gaps_are_closed_after_redrawing(bank):
    """Contours drawn tighter leave a gap, which training sees closed as it is in use."""
    asked = settings(redrawn=1, front_probability=1, told=1, alone=0, neighbours=(1,))
    touching = [(s.boundary & s.modal).any() for s in draw(bank, 100, asked) if s.is_hidden]
    assert np.mean(touching) > 0.9


def test_an_object_that_nothing_fits_over_is_left_alone(bank):
    sample = draw_layers(bank, 0, np.random.default_rng(0), settings(hidden=(0.98, 0.99), tries=1, redrawn=0))
    np.testing.assert_array_equal(sample.modal, sample.target)
    assert not sample.occluder.any() and not sample.boundary.any() and not sample.is_hidden


@pytest.mark.parametrize("patch_px", [16, 48])
def test_thin_objects_are_seen(tmp_path, patch_px):
    thin = write_thin_bank(tmp_path)
    for sample in draw(thin, 120, settings(patch_px)):
        assert sample.modal.any() and sample.target.any()


def test_a_crop_that_misses_the_object_is_drawn_around_it(bank):
    for sample in draw(bank, 60, settings(shift=1, zoom_out=(0.05, 0.05))):
        assert sample.modal.any()


def test_the_photo_shows_the_layers(bank):
    """Each photo has one colour: 25 times the number of its cut-out, from 1."""
    asked = settings(redrawn=0, told=0, alone=0).model_copy(update={"with_image": True, "feather_px": 0})
    for k, sample in enumerate(draw(bank, 60, asked)):
        own = 25 * (k % SIZE + 1)
        assert sample.image.shape == (48, 48, 3) and sample.image.dtype == np.uint8
        assert (sample.image[sample.modal] == own).all()
        nobody = ~sample.occluder & ~sample.target
        assert (sample.image[nobody] == own).all()  # the stored photo reaches to the end of every crop
        assert np.isin(sample.image[sample.occluder], 25 * np.arange(1, SIZE + 1)).all()
    looked, plain = (draw(bank, 20, asked.model_copy(update={"with_image": w})) for w in (True, False))
    assert all(same(a, b) for a, b in zip(looked, plain, strict=True))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"neighbours": ()}, "at least 1 item", id="no odds"),
        pytest.param({"neighbours": (0, 0)}, "expected odds, not all of them 0", id="odds of nothing"),
        pytest.param({"neighbours": (1, -1)}, "expected odds", id="negative odds"),
        pytest.param({"hidden": (0.5, 0.2)}, "hidden: expected 0 < least <= most, got 0.5, 0.2", id="hidden"),
        pytest.param({"hidden": (0.0, 0.2)}, "hidden: expected 0 < least", id="hidden by nothing"),
        pytest.param({"hidden": (0.1, 1.0)}, "expected something to stay visible, got 1.0", id="all hidden"),
        pytest.param({"size": (0, 1)}, "size: expected 0 < least", id="size"),
        pytest.param({"zoom_out": (2, 1)}, "zoom_out: expected 0 < least <= most", id="zoom"),
        pytest.param({"told": 0.6, "alone": 0.5}, "expected at most 1 together, got 0.6 and 0.5", id="told and alone"),
        pytest.param({"contour_px": 0}, "greater than or equal to 1", id="contour"),
    ],
)
def test_bad_settings(values, message):
    with pytest.raises(ValidationError, match=message):
        LayerSettings(**values)
