"""A bank of drawn cut-outs, for the tests of the recipes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from amodalpl.synthesis.bank import Bank, BankWriter, Surroundings, cut_out

SIZE = 8  # cut-outs
IMAGE_PX = 48


def write_discs(folder: Path) -> Path:
    """Write five discs of radius 6 to 10, each of a photo of its own, without pictures."""
    writer = BankWriter(folder, None)
    ys, xs = np.mgrid[:40, :40]
    for number in range(5):
        writer.add(cut_out((xs - 20) ** 2 + (ys - 20 - number) ** 2 <= (6 + number) ** 2, 512), (number, 1, 1))
    writer.close()
    return folder


def write_bank(folder: Path) -> Path:
    """Write discs, squares, rings and bars; the photo of number k has the colour 25 * (k + 1) everywhere."""
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
        look = np.full((IMAGE_PX, IMAGE_PX, 3), 25 * (number + 1), np.uint8)
        writer.add(cut_out(mask, 512), (number, 1, 1), look, Surroundings(number < 4, False, right_half))
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
