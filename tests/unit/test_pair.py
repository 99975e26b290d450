"""One training sample: set algebra of the two cases, pasting, and what the answer is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn_cutouts import SIZE, assert_picture_fits_masks, write_bank

from amodalpl.masks.geometry import occlusion_boundary
from amodalpl.report.samples import sample_sheet
from amodalpl.settings import SynthesisSettings
from amodalpl.synthesis.bank import Bank, BankWriter, cut_out
from amodalpl.synthesis.pair import compose, draw_sample
from amodalpl.synthesis.placement_geometry import paste
from amodalpl.synthesis.sample import Sample

STILL = {"shift": 0.0, "scale": (1.0, 1.0), "flip_probability": 0.0}


def random_masks(seed):
    return np.random.default_rng(seed).random((2, 24, 24)) < 0.4


@pytest.mark.parametrize("seed", range(3))
def test_case_1_the_object_is_behind(seed):
    a, b = random_masks(seed)
    modal, occluder = compose(a, b, True)
    np.testing.assert_array_equal(modal, a & ~b)
    np.testing.assert_array_equal(occluder, b)


@pytest.mark.parametrize("seed", range(3))
def test_case_2_the_object_is_in_front(seed):
    a, b = random_masks(seed)
    modal, occluder = compose(a, b, False)
    np.testing.assert_array_equal(modal, a)
    np.testing.assert_array_equal(occluder, b & ~a)


@pytest.mark.parametrize("is_hidden", [True, False])
def test_two_abutting_squares_after_composing(is_hidden):
    a, b = np.zeros((2, 20, 20), bool)
    a[:, 4:12], b[:, 8:18] = True, True  # 4 shared columns
    modal, occluder = compose(a, b, is_hidden)
    boundary = Sample(modal, occluder, a, None, is_hidden, boundary_px=5).boundary
    assert (modal.sum(), occluder.sum()) == ((80, 200) if is_hidden else (160, 120))
    contact = 8 if is_hidden else 12
    assert np.flatnonzero(boundary[0]).tolist() == list(range(contact - 2, contact + 2))
    assert not (modal & occluder).any()


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    writer = BankWriter(folder, 24)
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:80, :80]
    for number in range(6):
        x, y, r = rng.uniform(30, 50), rng.uniform(30, 50), rng.uniform(8, 20)
        mask = abs(xs - x) + abs(ys - y) <= r if number % 2 else (xs - x) ** 2 + (ys - y) ** 2 <= r**2
        writer.add(cut_out(mask, 512), (number, 1, 1), np.full((24, 24, 3), 40 * number, np.uint8))
    writer.close()
    return Bank(folder)


@pytest.mark.parametrize("front", [0.0, 1.0])
def test_samples_keep_the_rules(bank, front):
    settings = SynthesisSettings(patch_px=32, front_probability=front, cut_fraction=(0.1, 0.6))
    for index in range(40):
        sample = draw_sample(bank, index % 6, np.random.default_rng((1, index)), settings)
        assert sample.is_hidden is (front == 1) and sample.image is None
        assert not (sample.modal & sample.occluder).any()
        assert not (sample.modal & ~sample.target).any()
        hidden = (sample.target & ~sample.modal).sum() / sample.target.sum()
        if front:
            assert 0.1 <= hidden < 0.6
            assert not (sample.target & ~sample.modal & ~sample.occluder).any()
        else:
            assert hidden == 0
        np.testing.assert_array_equal(sample.boundary, occlusion_boundary(sample.modal, sample.occluder, 5))


def test_chance_of_case_1(bank):
    settings = SynthesisSettings(patch_px=16)
    hidden = [draw_sample(bank, 0, np.random.default_rng(i), settings).is_hidden for i in range(300)]
    assert np.mean(hidden) == pytest.approx(0.8, abs=0.07)


def test_without_jitter_the_target_is_the_cut_out_in_its_crop(bank):
    settings = SynthesisSettings(patch_px=32, **STILL)
    targets = [draw_sample(bank, 2, np.random.default_rng(i), settings).target for i in range(3)]
    np.testing.assert_array_equal(targets[0], targets[1])
    _, _, w, h = bank[2].box_xywh
    area = bank[2].mask.sum() * 32**2 / (3 * w * h)  # the crop has three times the box's area
    assert targets[0].sum() == pytest.approx(area, rel=0.05)


def test_an_occluder_that_never_fits_leaves_the_object_alone(bank):
    settings = SynthesisSettings(patch_px=32, cut_fraction=(0.999, 0.9991), placement_tries=1, front_probability=1)
    sample = draw_sample(bank, 0, np.random.default_rng(0), settings)
    assert not sample.is_hidden and not sample.occluder.any() and not sample.boundary.any()
    np.testing.assert_array_equal(sample.modal, sample.target)


@pytest.mark.parametrize("mirrored", [0.0, 1.0])
def test_the_photo_shows_both_objects_as_their_masks_do(tmp_path, mirrored):
    bank = Bank(write_bank(tmp_path))
    settings = SynthesisSettings(
        patch_px=64, with_image=True, feather_px=0, cut_fraction=(0.1, 0.9), flip_probability=mirrored
    )
    for seed in range(48):
        sample = draw_sample(bank, seed % SIZE, np.random.default_rng(seed), settings)
        assert sample.image.shape == (64, 64, 3) and sample.image.dtype == np.uint8
        assert len(np.unique(sample.image[sample.occluder][:, 0])) == 1
        assert_picture_fits_masks(sample, seed % SIZE)


def test_photo_does_not_change_the_masks(bank):
    plain, looked = (
        draw_sample(bank, 3, np.random.default_rng(9), SynthesisSettings(patch_px=32, with_image=w))
        for w in (False, True)
    )
    np.testing.assert_array_equal(plain.modal, looked.modal)
    np.testing.assert_array_equal(plain.occluder, looked.occluder)


@pytest.mark.parametrize("feather_px", [0, 1.5, 4])
def test_paste_changes_nothing_outside_the_mask(feather_px):
    rng = np.random.default_rng(1)
    back, front = rng.integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:35] = True
    mask[5:20, 19:21] = False  # a slit, whose blurred value is above one half
    mixed = paste(back, front, mask, feather_px)
    np.testing.assert_array_equal(mixed[~mask], back[~mask])
    if feather_px < 4:
        np.testing.assert_array_equal(mixed[28, 20], front[28, 20])
    if not feather_px:
        np.testing.assert_array_equal(mixed[mask], front[mask])


def test_preview_has_a_tile_per_sample(bank):
    samples = [
        draw_sample(bank, i % 6, np.random.default_rng(i), SynthesisSettings(patch_px=32, with_image=i % 2 > 0))
        for i in range(7)
    ]
    sheet = sample_sheet(samples)
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    assert sheet.shape[1] == 6 * (160 + 8) + 8 and sheet.shape[0] > 2 * 160


def tile(sheet):
    return sheet[8:168, 8:168]


def colours(sample):
    return {tuple(c) for c in tile(sample_sheet([sample])).reshape(-1, 3).tolist()}


def test_sheet_shows_what_is_not_known():
    modal = np.zeros((160, 160), bool)
    modal[:80] = True
    known = Sample(modal, np.zeros_like(modal), modal, None, False, boundary_px=5)
    assert len(colours(known)) == 2
    half = np.zeros_like(modal)
    half[80:, :80] = True
    assert len(colours(replace(known, unknown=half))) == 3
    np.testing.assert_array_equal(
        tile(sample_sheet([known]))[~half], tile(sample_sheet([replace(known, unknown=half)]))[~half]
    )


@pytest.mark.parametrize(
    ("occluder_rows", "is_hidden", "text"),
    [
        ((40, 80), True, "50% behind: grow"),
        ((80, 90), False, "not behind it: stay"),
        ((0, 0), False, "on its own: stay"),
    ],
)
def test_caption_says_what_to_do(monkeypatch, occluder_rows, is_hidden, text):
    written = []
    monkeypatch.setattr("amodalpl.report.samples.cv2.putText", lambda sheet, text, *_: written.append(text))
    target, occluder = np.zeros((2, 100, 100), bool)
    target[:80] = True
    occluder[slice(*occluder_rows)] = True
    sample_sheet([Sample(target & ~occluder, occluder, target, None, is_hidden, boundary_px=5)])
    assert written[0] == text and "violet" not in written[-1]
