"""Layers: an object among neighbours, in front and behind."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_cutouts import SIZE, assert_picture_fits_masks, write_bank, write_thin_bank
from pydantic import ValidationError

from amodalpl.masks.boxes import tight_box
from amodalpl.masks.geometry import dilate, occlusion_boundary
from amodalpl.settings import LayerSettings, SynthesisSettings
from amodalpl.synthesis.bank import Bank, BankWriter, cut_out
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
    asked = settings(contour_noise_probability=redrawn, contour_px=2)
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
    for sample in draw(bank, 60, settings(front_probability=0, contour_noise_probability=0)):
        np.testing.assert_array_equal(sample.modal, sample.target)
        assert not sample.is_hidden


def test_behind_everything_what_is_lost_is_under_what_is_shown(bank):
    samples = draw(
        bank,
        200,
        settings(
            front_probability=1, contour_noise_probability=0, front_only_probability=1, single_neighbour_probability=0
        ),
    )
    for sample in samples:
        assert not (sample.target & ~sample.modal & ~sample.occluder).any()
    assert sum(sample.is_hidden for sample in samples) > 190


def test_no_neighbour_hides_more_than_the_most(bank):
    asked = settings(
        front_probability=1,
        contour_noise_probability=0,
        hidden=(0.2, 0.5),
        neighbours=(1,),
        shift=0,
        zoom_out=(2.0, 2.0),
    )
    for sample in draw(bank, 100, asked):
        hidden = 1 - sample.modal.sum() / sample.target.sum()
        assert 0.15 < hidden < 0.55  # tried on a sketch, so not to the pixel


def test_one_shown_alone_is_one_of_all(bank):
    """With the same generator, whom the network is told of changes neither the object nor what is left of it."""
    base = {"contour_noise_probability": 0, "neighbours": (0, 0, 1)}
    fewer = 0
    for k in range(60):
        alone, every = (
            draw_layers(
                bank,
                k % SIZE,
                np.random.default_rng(k),
                settings(**base, front_only_probability=0, single_neighbour_probability=a),
            )
            for a in (1, 0)
        )
        np.testing.assert_array_equal(alone.target, every.target)
        np.testing.assert_array_equal(alone.modal, every.modal)
        assert not (alone.occluder & ~every.occluder).any()
        fewer += alone.occluder.sum() < every.occluder.sum()
    assert fewer > 30


def test_number_of_neighbours(bank):
    """Neighbours of which none may be told but one: more odds for more neighbours hide more."""
    hidden = [
        np.mean(
            [
                1 - s.modal.sum() / s.target.sum()
                for s in draw(bank, 150, settings(neighbours=n, contour_noise_probability=0))
            ]
        )
        for n in ((1,), (0, 0, 0, 1))
    ]
    assert hidden[1] > 1.4 * hidden[0]


def write_one(folder, *masks):
    writer = BankWriter(folder, None)
    for number, mask in enumerate(masks):
        writer.add(cut_out(mask, 512), (number, 1, 1))
    writer.close()
    return Bank(folder)


WHOLE_NEIGHBOUR = {
    **{
        "front_probability": 1,
        "neighbours": (1,),
        "front_only_probability": 1,
        "single_neighbour_probability": 0,
        "contour_noise_probability": 0,
        "hidden": (0.01, 0.3),
    },
    **{"rotation_deg": 0, "shift": 0, "zoom_out": (3.0, 3.0)},
}


@pytest.mark.parametrize(
    ("natural", "size", "ratios"),
    [
        pytest.param(1, (0.7, 0.7), {0.25, 1}, id="as in their photos"),
        pytest.param(0, (1.0, 1.0), {1}, id="as large as the object"),
        pytest.param(0, (0.7, 0.7), {0.49}, id="0.7 times as long"),
    ],
)
def test_sizes_of_neighbours(tmp_path, natural, size, ratios):
    """The area of a neighbour, a square of 20 or 40 pixels in its photo, over that of an object of 40."""
    ys, xs = np.mgrid[:120, :120]
    bank = write_one(tmp_path, *((abs(xs - 60) < r) & (abs(ys - 60) < r) for r in (10, 20)))
    asked = settings(192, **WHOLE_NEIGHBOUR, natural_sizes=natural, size=size)
    samples = [draw_layers(bank, 1, np.random.default_rng(k), asked) for k in range(30)]
    found = [s.occluder.sum() / s.target.sum() for s in samples if s.occluder.any()]
    assert len(found) > 25
    assert {min(ratios, key=lambda ratio: abs(ratio - area)) for area in found} == ratios
    assert all(min(abs(area / ratio - 1) for ratio in ratios) < 0.15 for area in found)


def test_half_of_the_neighbours_are_mirrored(tmp_path):
    """A triangle with its weight on the left shows by the third moment of its columns which way it stands."""
    ys, xs = np.mgrid[:60, :60]
    bank = write_one(tmp_path, (xs >= 10) & (ys < 50) & (xs - 10 <= ys - 10))
    asked = settings(96, **WHOLE_NEIGHBOUR).model_copy(update={"flip_probability": 0.0})
    samples = [draw_layers(bank, 0, np.random.default_rng(k), asked) for k in range(60)]
    columns = [np.nonzero(s.occluder)[1] for s in samples if s.occluder.any()]
    mirrored = [((at - at.mean()) ** 3).mean() < 0 for at in columns]
    assert len(mirrored) > 50 and 0.25 < np.mean(mirrored) < 0.75


def test_all_neighbours_in_front_together_leave_what_must_be_seen(bank):
    asked = settings(front_probability=1, contour_noise_probability=0, hidden=(0.2, 0.5), neighbours=(0, 0, 1), shift=0)
    hidden = [1 - sample.modal.sum() / sample.target.sum() for sample in draw(bank, 100, asked)]
    assert 0.4 < max(hidden) < 0.55  # tried on a sketch, so not to the pixel


def test_the_crop_follows_the_visible_part(bank):
    """Behind the object, neighbours take nothing from it: the crop is around the whole; in front, around the rest."""
    crop = {
        "contour_noise_probability": 0,
        "hidden": (0.3, 0.6),
        "neighbours": (1,),
        "shift": 0,
        "zoom_out": (1.0, 1.0),
    }

    def off_centre(mask):
        x, y, w, h = tight_box(mask)
        return max(abs(x + w / 2 - 48), abs(y + h / 2 - 48))

    for sample in draw(bank, 40, settings(96, front_probability=0, **crop)):
        assert off_centre(sample.target) < 2.5
    front = draw(bank, 80, settings(96, front_probability=1, **crop))
    assert all(off_centre(sample.modal) < 4 for sample in front)  # boxes of the sketch are coarser than the patch
    assert max(off_centre(sample.target) for sample in front) > 8


@pytest.mark.parametrize(
    ("moved", "turns", "ratios"),
    [
        pytest.param({}, (0, 0), (4, 4), id="as it is"),
        pytest.param({"tilt_deg": 30}, (20, 30), (4, 4), id="turned"),
        pytest.param({"stretch": 2}, (0, 0), (2, 8), id="stretched"),
        pytest.param({"tilt_deg": 30, "stretch": 1.5}, (20, 30), (2.7, 6), id="both"),
    ],
)
def test_the_whole_sample_is_turned_and_stretched(tmp_path, moved, turns, ratios):
    """A bar of 40 by 10 tells by its second moments how far it was turned, and how long it is for its width."""
    ys, xs = np.mgrid[:80, :80]
    bank = write_one(tmp_path, (abs(xs - 40) < 20) & (abs(ys - 40) < 5))
    asked = settings(256, **{**WHOLE_NEIGHBOUR, "front_probability": 0}, **moved)
    found = []
    for k in range(200):
        target = draw_layers(bank, 0, np.random.default_rng(k), asked).target
        values, vectors = np.linalg.eigh(np.cov(np.argwhere(target).T))
        y, x = vectors[:, 1]
        found.append((abs(np.degrees(np.arctan(y / x))), np.sqrt(values[1] / values[0]), target.sum()))
    turned, ratio, area = np.array(found).T
    assert turns[0] - 1 <= turned.max() <= turns[1] + 1
    assert ratio.min() == pytest.approx(ratios[0], rel=0.2) and ratio.max() == pytest.approx(ratios[1], rel=0.2)
    assert area.std() < 0.04 * area.mean()


def test_turned_and_stretched_masks_stay_where_they_belong(bank):
    for sample in draw(bank, 100, settings(contour_noise_probability=0, tilt_deg=20, stretch=1.5)):
        assert sample.modal.any() and not (sample.modal & (sample.occluder | ~sample.target)).any()
        assert not (sample.target & ~sample.modal & ~sample.occluder).sum() > 0.9 * sample.target.sum()


def test_flip_is_of_the_whole_sample(bank):
    asked = settings(contour_noise_probability=0)
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
    asked = settings(
        contour_noise_probability=1,
        front_probability=1,
        front_only_probability=1,
        single_neighbour_probability=0,
        neighbours=(1,),
    )
    touching = [(s.boundary & s.modal).any() for s in draw(bank, 100, asked) if s.is_hidden]
    assert np.mean(touching) > 0.9


def test_an_object_that_nothing_fits_over_is_left_alone(bank):
    sample = draw_layers(
        bank, 0, np.random.default_rng(0), settings(hidden=(0.98, 0.99), tries=1, contour_noise_probability=0)
    )
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


@pytest.mark.parametrize("moved", [{}, {"tilt_deg": 5, "stretch": 1.1}], ids=["", "turned and stretched"])
def test_the_photo_shows_the_layers(bank, moved):
    all_shown = {"contour_noise_probability": 0, "front_only_probability": 0, "single_neighbour_probability": 0}
    asked = settings(**all_shown, **moved).model_copy(update={"with_image": True, "feather_px": 0})
    for k, sample in enumerate(draw(bank, 60, asked)):
        assert sample.image.shape == (48, 48, 3) and sample.image.dtype == np.uint8
        assert_picture_fits_masks(sample, k % SIZE)  # the stored photo reaches to the end of every crop
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
        pytest.param(
            {"front_only_probability": 0.6, "single_neighbour_probability": 0.5},
            "expected at most 1 together, got 0.6 and 0.5",
            id="told and alone",
        ),
        pytest.param({"contour_px": 0}, "greater than or equal to 1", id="contour"),
    ],
)
def test_bad_settings(values, message):
    with pytest.raises(ValidationError, match=message):
        LayerSettings(**values)


def test_neighbours_without_a_mask_hide_whole_objects_and_are_not_shown(bank):
    asked = settings(unmasked=1, front_probability=1, contour_noise_probability=0, hidden=(0.2, 0.5))
    whole = [sample for k, sample in enumerate(draw(bank, 64, asked)) if bank.is_whole(k % len(bank))]
    assert len(whole) == 32 and not any(sample.occluder.any() or sample.unknown.any() for sample in whole)
    assert np.mean([(sample.target & ~sample.modal).any() for sample in whole]) > 0.9


def test_of_objects_that_may_be_hidden_already_nothing_is_taught_where_no_mask_is(bank):
    asked = settings(unmasked=1, front_probability=1, hidden=(0.2, 0.5))
    others = [sample for k, sample in enumerate(draw(bank, 64, asked)) if not bank.is_whole(k % len(bank))]
    assert len(others) == 32 and np.mean([sample.occluder.any() for sample in others]) > 0.9
    for sample in others:
        np.testing.assert_array_equal(sample.unknown, ~(sample.modal | sample.occluder))


def test_neighbours_behind_keep_their_masks(bank):
    asked = settings(unmasked=1, front_probability=0, contour_noise_probability=0)
    assert np.mean([sample.occluder.any() for sample in draw(bank, 40, asked)]) > 0.5
