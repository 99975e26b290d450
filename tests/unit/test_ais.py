"""The recipe of Li and Malik: its rules, and an answer of three values."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_cutouts import SIZE, assert_picture_fits_masks, write_bank, write_thin_bank
from pydantic import ValidationError

from amodalpl.masks.boxes import tight_box
from amodalpl.masks.geometry import occlusion_boundary
from amodalpl.settings import AisSettings, SynthesisSettings
from amodalpl.synthesis.ais import draw_ais, draw_interval, put_over
from amodalpl.synthesis.bank import Bank

STILL = {"patch": (1.0, 1.0), "patch_overlap": 1.0, "jitter": 0.0, "jitter_overlap": 1.0}
MASKS = ("modal", "occluder", "boundary", "target", "unknown")


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return Bank(write_bank(tmp_path_factory.mktemp("bank")))


def settings(patch_px=48, flip_probability=0.5, **ais):
    return SynthesisSettings(patch_px=patch_px, flip_probability=flip_probability, ais=AisSettings(**ais))


def draw(bank, count, asked):
    return [draw_ais(bank, k % len(bank), np.random.default_rng((6, k)), asked) for k in range(count)]


def test_what_holds_for_every_sample(bank):
    samples = draw(bank, 300, settings())
    for sample in samples:
        assert all(getattr(sample, name).shape == (48, 48) and getattr(sample, name).dtype == bool for name in MASKS)
        assert sample.modal.any() and not (sample.modal & ~sample.target).any()
        assert not (sample.modal & sample.occluder).any() and not (sample.modal & sample.unknown).any()
        known = sample.target & ~sample.unknown
        np.testing.assert_array_equal(known & ~sample.modal, known & sample.occluder)  # only what was pasted hides
        assert sample.is_hidden == (known & ~sample.modal).any()
        np.testing.assert_array_equal(sample.boundary, occlusion_boundary(sample.modal, sample.occluder, 5))
    nothing_pasted = np.mean([not sample.occluder.any() for sample in samples])
    assert nothing_pasted == pytest.approx(1 / 3, abs=0.1)


def test_the_same_generator_gives_the_same_sample_and_another_one_does_not(bank):
    first, again = (draw(bank, 2 * SIZE, settings()) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in MASKS)
    assert not any(np.array_equal(a.modal, b.modal) for a, b in zip(first[:SIZE], first[SIZE:], strict=True))


@pytest.mark.parametrize("index", range(SIZE))
def test_alone_in_its_own_box_the_object_is_as_cut_out(bank, index):
    sample = draw_ais(bank, index, np.random.default_rng(0), settings(64, 0.0, pasted=(1,), **STILL))
    np.testing.assert_array_equal(sample.modal, sample.target)
    assert not sample.occluder.any() and not sample.is_hidden
    _, _, w, h = bank[index].box_xywh
    area = 64**2 / max(3 * w * h, (1.1 * w) ** 2, (1.1 * h) ** 2)
    assert sample.target.sum() == pytest.approx(bank[index].mask.sum() * area, rel=0.12)  # pixels of a bar 8 wide
    x, y, box_w, box_h = tight_box(sample.target)
    inside = np.zeros((64, 64), bool)
    inside[y : y + box_h, x : x + box_w] = True
    assert (sample.unknown | inside).mean() > 0.98  # beyond the patch nothing is known


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_other_objects_are_unknown(bank, flip):
    """The right half of what is stored around each cut-out belongs to others; a wide patch shows it."""
    asked = settings(
        64, flip, pasted=(1,), patch=(3.0, 3.0), patch_overlap=1.0, jitter=0.0, jitter_overlap=1.0, filled=0
    )
    for index in range(SIZE):
        target, unknown = (
            getattr(draw_ais(bank, index, np.random.default_rng(1), asked), n) for n in ("target", "unknown")
        )
        assert not (target & unknown).any()
        if flip:
            target, unknown = target[:, ::-1], unknown[:, ::-1]
        rows = slice(28, 36)  # the patch may end above and below
        assert (unknown | target)[rows, 33:62].all()
        assert not unknown[rows, 20:31].any()


@pytest.mark.parametrize("visible", [0.3, 0.8])
def test_enough_stays_visible(bank, visible):
    asked = settings(pasted=(0, 0, 1), visible=visible, patch=(1.5, 1.5), patch_overlap=1.0)
    shares = [s.modal.sum() / s.target.sum() for s in draw(bank, 200, asked)]
    assert min(shares) > visible - 0.06  # tried on a sketch, so not to the pixel
    assert np.mean(np.array(shares) < 0.999) > 0.8


def test_the_patch_leaves_enough_too(bank):
    shares = [s.modal.sum() / s.target.sum() for s in draw(bank, 200, settings(pasted=(1,), patch=(0.7, 0.7)))]
    assert 0.3 - 0.06 < min(shares) < 0.9  # objects are cut off, never by more than that


def test_number_of_pasted_objects_and_their_size(bank):
    few, many = (
        np.mean([s.occluder.mean() for s in draw(bank, 150, settings(pasted=odds))]) for odds in ((0, 1), (0, 0, 1))
    )
    assert many > few > 0
    small, large = (
        np.mean([s.occluder.mean() for s in draw(bank, 150, settings(pasted=(0, 1), size=(size, size)))])
        for size in (0.3, 0.9)
    )
    assert large > 1.5 * small


def test_an_object_that_fills_little_of_its_box_is_shown_as_it_is(tmp_path):
    thin = write_thin_bank(tmp_path)
    diagonal = draw_ais(thin, 2, np.random.default_rng(0), settings(pasted=(0, 1)))
    np.testing.assert_array_equal(diagonal.modal, diagonal.target & ~diagonal.unknown)
    assert not diagonal.occluder.any()


@pytest.mark.parametrize("patch_px", [16, 48])
def test_thin_objects_are_seen(tmp_path, patch_px):
    for sample in draw(write_thin_bank(tmp_path), 120, settings(patch_px, filled=0.0)):
        assert sample.modal.any() and not (sample.modal & sample.unknown).any()


def test_the_photo_shows_what_is_pasted(bank):
    asked = settings().model_copy(update={"with_image": True, "feather_px": 0})
    for k, sample in enumerate(draw(bank, 40, asked)):
        assert_picture_fits_masks(sample, k % SIZE)


@pytest.mark.parametrize(("scale", "overlap"), [((0.7, 2.0), 0.7), ((0.9, 1.1), 0.75), ((1, 1), 1.0)])
def test_drawn_intervals_cover_enough(scale, overlap):
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(500):
        start, length = draw_interval(10.0, 20.0, scale, overlap, rng)
        assert 20 * scale[0] <= length <= 20 * scale[1]
        covered.append((min(start + length, 30) - max(start, 10)) / 20)
    assert min(covered) >= overlap - 1e-9
    assert min(covered) < overlap + 0.02 and max(covered) > 0.97  # the whole range is used


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"pasted": (0,)}, "expected odds, not all of them 0", id="odds of nothing"),
        pytest.param({"pasted": ()}, "at least 1 item", id="no odds"),
        pytest.param({"patch": (2, 1)}, "patch: expected 0 < least <= most", id="patch"),
        pytest.param({"size": (0, 1)}, "size: expected 0 < least", id="size"),
        pytest.param({"patch": (0.5, 1)}, "a patch of 0.5 cannot cover 0.7 of a side", id="patch too small"),
        pytest.param({"jitter": 0.4}, "a box of 0.6 cannot cover 0.75 of a side", id="jitter too large"),
        pytest.param({"visible": 0}, "greater than 0", id="visible"),
    ],
)
def test_bad_settings(values, message):
    with pytest.raises(ValidationError, match=message):
        AisSettings(**values)


def test_what_is_pasted_meets_the_box_of_the_object_wherever_that_is_possible(bank):
    """In halves of what both boxes measure together, from the middle of the object: from -1 to 1, and evenly so."""
    target = bank[0].cutout if hasattr(bank[0], "cutout") else bank[0]
    x, y, w, h = target.box_xywh
    rng, offsets = np.random.default_rng(0), []
    for _ in range(400):
        placed = put_over(bank, target, (x, y, w, h), rng, AisSettings())
        bx, by, bw, bh = placed.cutout.box_xywh
        size = placed.frame_from_image[0, 0]
        middle = placed.frame_from_image @ (bx + bw / 2, by + bh / 2, 1)
        offsets.append((middle[:2] - (x + w / 2, y + h / 2)) / (w / 2 + size * bw / 2, h / 2 + size * bh / 2))
    assert np.abs(offsets).max(axis=0) == pytest.approx([1, 1], abs=0.02) and np.abs(offsets).max() <= 1
    assert np.mean(offsets, axis=0) == pytest.approx([0, 0], abs=0.1)
