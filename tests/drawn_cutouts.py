"""A bank of drawn cut-outs, for the tests of the recipes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from amodalpl.masks.geometry import dilate
from amodalpl.masks.resampling import to_patch
from amodalpl.settings import SynthesisSettings
from amodalpl.synthesis.bank import Bank, BankWriter, Surroundings, cut_out, image_square
from amodalpl.synthesis.sample import Sample

SIZE = 8  # cut-outs
IMAGE_PX = 96
BLUR_PX = 3  # of a stored picture, in pixels of the patches that tests draw


def write_discs(folder: Path) -> Path:
    """Write five discs of radius 6 to 10, each of a photo of its own, without pictures."""
    writer = BankWriter(folder, None)
    ys, xs = np.mgrid[:40, :40]
    for number in range(5):
        writer.add(cut_out((xs - 20) ** 2 + (ys - 20 - number) ** 2 <= (6 + number) ** 2, 512), (number, 1, 1))
    writer.close()
    return folder


def write_bank(folder: Path) -> Path:
    """Write discs, squares, rings and bars.

    The photo of number k is 25 * (k + 1) everywhere in red, and 255 in green where its object is: so a picture tells
    whose it is, and whether it was mirrored, shifted or turned together with its mask.
    """
    writer = BankWriter(folder, IMAGE_PX)
    ys, xs = np.mgrid[:120, :120]
    away = np.hypot(xs - 60, ys - 60)
    masks = [
        away <= 30,
        (abs(xs - 60) <= 20) & (abs(ys - 60) <= 20),
        (away <= 25) & (away >= 10),
        (abs(xs - 60) <= 40) & (abs(ys - 60) <= 6),
        abs(xs - 60) + abs(ys - 60) <= 24,
        ((abs(xs - 40) <= 8) | (abs(xs - 80) <= 8)) & (abs(ys - 60) <= 15),
        (xs >= 20) & (ys <= 100) & (xs - 20 <= ys - 20),
        away <= 12,
    ]
    right_half = np.zeros((64, 64), bool)
    right_half[:, 32:] = True
    for number, mask in enumerate(masks):
        cutout = cut_out(mask, 512)
        around = image_square(cutout, SynthesisSettings().enlarge_box).patch_from_raster(IMAGE_PX)
        look = np.full((IMAGE_PX, IMAGE_PX, 3), 25 * (number + 1), np.uint8)
        look[..., 1] = to_patch(mask * np.uint8(255), around, IMAGE_PX, linear=True)
        writer.add(cutout, (number, 1, 1), look, Surroundings(number < 4, False, right_half))
    writer.close()
    return folder


def write_thin_bank(folder: Path) -> Bank:
    """Write what nearest-pixel resampling can miss: lines a pixel wide, and single pixels."""
    writer = BankWriter(folder, None)
    masks = np.zeros((6, 500, 500), bool)
    masks[0, 250, 10:490] = True
    masks[1, 10:490, 251] = True
    masks[2] = np.eye(500, dtype=bool)
    masks[3, 7, 7] = True
    masks[4, 3, 5:9] = True
    masks[5, 100, 0:400:50] = True
    for number, mask in enumerate(masks):
        writer.add(cut_out(mask, 512), (number, 1, 1))
    writer.close()
    return Bank(folder)


def assert_picture_fits_masks(sample: Sample, own: int) -> None:
    """Check a picture of `write_bank`'s photos, pasted without feathers, against the masks.

    Args:
        sample: whose masks are not redrawn and whose neighbours are all shown.
        own: number of the object's cut-out.
    """
    red, green = sample.image[..., 0], sample.image[..., 1]
    nobody = ~(sample.occluder | sample.target)
    if sample.unknown is not None:
        nobody &= ~sample.unknown  # where the recipe `ais` leaves pasted objects out of the masks
    assert (red[sample.modal] == 25 * (own + 1)).all() and (red[nobody] == 25 * (own + 1)).all()
    assert np.isin(red[sample.occluder], 25 * np.arange(1, SIZE + 1)).all()

    def share(fits: np.ndarray, mask: np.ndarray) -> float:
        inner = ~dilate(~mask, BLUR_PX)
        return fits[inner].mean() if np.count_nonzero(inner) > 20 else 1.0

    assert share(green > 200, sample.modal) > 0.9  # the object is where its mask is,
    assert share(green < 55, nobody) > 0.9  # and nowhere else
    assert share(green > 200, sample.occluder) > 0.8  # several may overlap in it, whose edges are soft
