"""A contact sheet of training samples that one can judge by eye."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ..synthesis.sample import Sample
from .draw import HIDDEN, MODAL

OCCLUDER, BOUNDARY, UNKNOWN = (110, 110, 110), (255, 255, 255), (150, 40, 190)
TILE_PX, COLUMNS, GAP_PX, CAPTION_PX = 160, 6, 8, 22


def sample_sheet(samples: Sequence[Sample]) -> np.ndarray:
    """Draw samples as tiles: visible part blue, part to be completed orange, what is told to be near grey.

    The contact band is white; where the answer is not known the tile is violet.

    Args:
        samples: any number.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    rows = -(-len(samples) // COLUMNS)
    step_y = TILE_PX + CAPTION_PX + GAP_PX
    sheet = np.full((rows * step_y + GAP_PX + CAPTION_PX, COLUMNS * (TILE_PX + GAP_PX) + GAP_PX, 3), 32, dtype=np.uint8)
    for number, sample in enumerate(samples):
        y = GAP_PX + (number // COLUMNS) * step_y
        x = GAP_PX + (number % COLUMNS) * (TILE_PX + GAP_PX)
        sheet[y : y + TILE_PX, x : x + TILE_PX] = _tile(sample)
        _caption(sheet, _told(sample), x, y + TILE_PX + CAPTION_PX - 7)
    legend = "blue visible   orange to complete   grey other objects   white contact band"
    if any(sample.unknown is not None for sample in samples):
        legend += "   violet not known, not counted"
    _caption(sheet, legend, GAP_PX, sheet.shape[0] - GAP_PX)
    return sheet


def _told(sample: Sample) -> str:
    """Say what the network should make of a sample."""
    if sample.is_hidden:
        behind = np.count_nonzero(sample.target & ~sample.modal & sample.occluder)
        return f"{behind / np.count_nonzero(sample.target):.0%} behind: grow"
    return "not behind it: stay" if sample.occluder.any() else "on its own: stay"


def _tile(sample: Sample) -> np.ndarray:
    side = sample.modal.shape[0]
    tile = np.zeros((side, side, 3), dtype=np.uint8) if sample.image is None else (sample.image // 2)
    for mask, colour in (
        (sample.occluder, OCCLUDER),
        (sample.modal, MODAL),
        (sample.target & ~sample.modal, HIDDEN),
    ):
        tile[mask] = colour if sample.image is None else (tile[mask] + np.array(colour) // 2).astype(np.uint8)
    if sample.unknown is not None:
        tile[sample.unknown] = (tile[sample.unknown] // 2 + np.array(UNKNOWN) // 2).astype(np.uint8)
    tile[sample.boundary] = BOUNDARY
    return cv2.resize(tile, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)


def _caption(sheet: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
