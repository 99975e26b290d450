"""The bank: what is cut out comes back; what is damaged is refused."""

from __future__ import annotations

import numpy as np
import pytest

from amodalpl.errors import DataError
from amodalpl.masks.resampling import to_patch
from amodalpl.synthesis.bank import (
    FIRST_OBJECT,
    NOBODY,
    Bank,
    BankWriter,
    Surroundings,
    cut_out,
    image_square,
    surroundings,
)


def blob(seed, size_hw=(60, 80)):
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[: size_hw[0], : size_hw[1]]
    x, y, a, b = rng.uniform(20, 60), rng.uniform(20, 40), rng.uniform(4, 20), rng.uniform(4, 20)
    return ((xs - x) / a) ** 2 + ((ys - y) / b) ** 2 <= 1


def write_bank(folder, masks, longest_px=512, image_px=None):
    writer = BankWriter(folder, image_px)
    for number, mask in enumerate(masks):
        look = np.full((image_px, image_px, 3), number, np.uint8) if image_px else None
        writer.add(cut_out(mask, longest_px), (100 + number, 7, 3), look)
    assert writer.close() == len(masks)
    return Bank(folder)


def test_masks_come_back_exactly(tmp_path):
    masks = [blob(seed) for seed in range(7)]
    bank = write_bank(tmp_path, masks)
    assert len(bank) == 7 and not bank.has_images
    for index, mask in enumerate(masks):
        found = bank[index]
        x, y, w, h = found.box_xywh
        frame = np.zeros_like(mask)
        frame[y : y + h, x : x + w] = found.mask
        np.testing.assert_array_equal(frame, mask)
        assert found.scale == 1 and found.mask.dtype == bool
    assert bank.table["annotation_id"].tolist() == list(range(100, 107))
    assert set(bank.table["image_id"]) == {7} and set(bank.table["category_id"]) == {3}


def test_large_masks_are_reduced_and_fill_the_same_patch(tmp_path):
    ys, xs = np.mgrid[:300, :400]
    mask = (xs - 210) ** 2 / 150**2 + (ys - 140) ** 2 / 90**2 <= 1
    whole, reduced = cut_out(mask, 512), write_bank(tmp_path, [mask], longest_px=64)[0]
    assert max(reduced.mask.shape) == 64 and reduced.box_xywh == whole.box_xywh
    assert reduced.scale == pytest.approx(64 / 301)
    square = whole.square(3.0)
    patches = [to_patch(c.mask, c.matrix(square, 64), 64) for c in (whole, reduced)]
    assert (patches[0] & patches[1]).sum() / (patches[0] | patches[1]).sum() > 0.95


def test_images_come_back(tmp_path):
    bank = write_bank(tmp_path, [blob(0), blob(1)], image_px=8)
    assert bank.has_images
    assert (bank.image(1) == 1).all() and bank.image(0).shape == (8, 8, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bits.npy", "images.npy", "table.npy", "unknown.npy"]


def test_nothing_to_write_is_an_empty_bank(tmp_path):
    assert len(write_bank(tmp_path / "masks", [])) == 0
    assert len(write_bank(tmp_path / "photos", [], image_px=8)) == 0


def test_image_square_covers_every_jitter():
    """Pairs: shift 0.2 of the side, then zoom out by 0.8. Layers: shift 0.1, then widen to 2 sides."""
    cutout = cut_out(blob(2), 512)
    crop, stored = cutout.square(3.0), image_square(cutout, 3.0)
    reach = max(0.2 + 0.5 / 0.8, 0.1 + 2.0 / 2) * crop.side
    centre = crop.x + crop.side / 2
    assert stored.x <= centre - reach + 1e-9 and stored.x + stored.side >= centre + reach - 1e-9


def test_asking_for_photos_that_are_not_there_says_how_to_get_them(tmp_path):
    bank = write_bank(tmp_path, [blob(0)])
    with pytest.raises(DataError, match="it has masks only; run .* --set synthesis.with_image=true"):
        bank.image(0)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-5])


DAMAGE = {
    "bits are cut short": lambda folder: truncate(folder / "bits.npy"),
    "table is cut short": lambda folder: truncate(folder / "table.npy"),
    "table is empty": lambda folder: (folder / "table.npy").write_bytes(b""),
    "bits are gone": lambda folder: (folder / "bits.npy").unlink(),
    "table is text": lambda folder: (folder / "table.npy").write_text("hello"),
    "table is another array": lambda folder: np.save(folder / "table.npy", np.zeros(3)),
    "table is pickled": lambda folder: np.save(folder / "table.npy", np.array([{}], object), allow_pickle=True),
    "bits are of another bank": lambda folder: np.save(folder / "bits.npy", np.zeros(2, np.uint8)),
    "photos are of another bank": lambda folder: np.save(folder / "images.npy", np.zeros((3, 4, 4, 3), np.uint8)),
    "unknown is gone": lambda folder: (folder / "unknown.npy").unlink(),
    "unknown is of another bank": lambda folder: np.save(folder / "unknown.npy", np.zeros((3, 64, 8), np.uint8)),
    "bits are numbers": lambda folder: np.save(folder / "bits.npy", np.zeros(10_000)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_bank_is_refused(tmp_path, damage):
    write_bank(tmp_path, [blob(0), blob(1)])
    DAMAGE[damage](tmp_path)
    with pytest.raises(DataError, match=f"{tmp_path}.*cut-out bank.*run"):
        Bank(tmp_path)


def test_no_bank_at_all(tmp_path):
    with pytest.raises(DataError, match="expected a cut-out bank of `amodalpl synth`"):
        Bank(tmp_path / "nowhere")


def owned(*boxes_xywh, size_hw=(100, 100)):
    """A raster of owners with a rectangle per object."""
    owners = np.full(size_hw, NOBODY, np.uint16)
    for number, (x, y, w, h) in enumerate(boxes_xywh):
        owners[y : y + h, x : x + w] = FIRST_OBJECT + number
    return owners


def look_around(owners, number=0):
    return surroundings(owners, FIRST_OBJECT + number, cut_out(owners == FIRST_OBJECT + number, 512), 3.0)


@pytest.mark.parametrize(("gap_px", "alone"), [(0, False), (3, False), (4, True), (20, True)])
def test_alone_is_four_free_pixels_from_everything(gap_px, alone):
    owners = owned((40, 40, 10, 10), (50 + gap_px, 40, 10, 10))
    assert look_around(owners, 0).alone is alone and look_around(owners, 1).alone is alone


def test_a_neighbour_at_the_corner_is_near_too():
    assert not look_around(owned((40, 40, 10, 10), (53, 53, 5, 5))).alone


@pytest.mark.parametrize(
    ("box", "truncated"),
    [((40, 40, 10, 10), False), ((0, 40, 9, 9), True), ((40, 0, 9, 9), True), ((91, 40, 9, 9), True),
     ((40, 91, 9, 9), True), ((1, 1, 98, 98), False)],
    ids=["inside", "left", "top", "right", "bottom", "a pixel away"],
)  # fmt: skip
def test_truncated_is_touching_the_border(box, truncated):
    assert look_around(owned(box)).truncated is truncated


def test_unknown_is_where_others_are_and_where_the_photo_ends():
    """The box is 20 wide, so the stored square is 2.2 * sqrt(3) * 20 = 76.2 wide, centred on (20, 50)."""
    unknown = look_around(owned((10, 40, 20, 20), (40, 0, 10, 100))).unknown
    side, left = 2.2 * np.sqrt(3) * 20, 20 - 1.1 * np.sqrt(3) * 20
    at = left + (np.arange(64) + 0.5) * side / 64  # columns of the raster in the photo
    np.testing.assert_array_equal(unknown[32], (at < 0) | ((at >= 40) & (at < 50)))
    assert (unknown == unknown[32]).all()


def test_surroundings_come_back(tmp_path):
    writer = BankWriter(tmp_path, None)
    around = [look_around(owned((40, 40, 20, 20), (50 + k, 70, 9, 9), (0, 0, 5 * k, 9))) for k in range(4)]
    for number, what in enumerate(around):
        writer.add(cut_out(blob(number), 512), (number, 1, 1), around=what)
    writer.close()
    bank = Bank(tmp_path)
    for number, what in enumerate(around):
        np.testing.assert_array_equal(bank.unknown(number), what.unknown)
    assert len({bank.unknown(k).tobytes() for k in range(4)}) == 4


def write_mixed(folder, wholes):
    """Cut-outs of which some are sure to be whole: alone and not truncated."""
    writer = BankWriter(folder, 8)
    kinds = [(True, False)] * wholes + [(True, True), (False, False), (False, True)]
    for number, (alone, truncated) in enumerate(reversed(kinds)):
        around = Surroundings(alone, truncated, np.full((64, 64), number % 2 > 0))
        writer.add(cut_out(blob(number), 512), (number, 1, 1), np.full((8, 8, 3), number, np.uint8), around)
    writer.close()


def test_only_unoccluded_cut_outs(tmp_path):
    write_mixed(tmp_path, 3)
    every, whole = Bank(tmp_path), Bank(tmp_path, only_unoccluded=True)
    assert len(every) == 6 and whole.table["annotation_id"].tolist() == [3, 4, 5]
    for index in range(3):
        np.testing.assert_array_equal(whole[index].mask, blob(3 + index)[np.ix_(*box_of(blob(3 + index)))])
        assert (whole.image(index) == 3 + index).all()
        assert (whole.unknown(index) == ((3 + index) % 2 > 0)).all()


def box_of(mask):
    return np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))


@pytest.mark.parametrize("wholes", [0, 1])
def test_too_few_unoccluded_cut_outs_say_so(tmp_path, wholes):
    write_mixed(tmp_path, wholes)
    message = f"got {wholes} of {wholes + 3}; set synthesis.only_unoccluded=false"
    with pytest.raises(DataError, match=f"at least 2 cut-outs that nothing hides .* {message}"):
        Bank(tmp_path, only_unoccluded=True)
