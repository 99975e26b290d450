"""A photo with all objects that were found on it: each in its colour, its hidden part hatched, its class and score."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ..masks.boxed import BoxedMask, common_window
from .draw import HATCH_PX, font

_TINT, _HATCH = 0.35, 0.8
_GOLDEN = 0.618  # of the circle of hues: neighbours in number are far apart in colour


@dataclass(frozen=True)
class PicturedObject:
    """One object.

    Attributes:
        amodal: the whole object.
        visible: what is seen of it.
        caption: above it.
        colour: a number; equal ones have equal colours.
    """

    amodal: BoxedMask
    visible: BoxedMask
    caption: str
    colour: int


def draw_objects(image: np.ndarray, objects: Sequence[PicturedObject]) -> np.ndarray:
    """Draw objects, the last ones first, so that the first stay on top.

    Args:
        image: (H, W, 3) uint8 RGB; left alone.
        objects: most important first.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    drawn = image.copy()
    for shown in reversed(objects):
        colour = _colour(shown.colour)
        rows, columns = window = common_window(shown.visible, shown.amodal)
        stripes = np.add.outer(*(np.arange(part.start, part.stop) for part in window)) // HATCH_PX % 2 == 0
        visible, amodal, around = shown.visible[window], shown.amodal[window], drawn[window]
        for part, alpha in ((visible, _TINT), (amodal & ~visible & stripes, _HATCH)):
            tinted = (1 - alpha) * around[part] + alpha * np.array(colour)
            around[part] = tinted.round().astype(np.uint8)
        outline, _ = cv2.findContours(
            amodal.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(columns.start, rows.start)
        )
        for ink, width_px in (((0, 0, 0), 3), (colour, 1)):
            cv2.drawContours(drawn, outline, -1, ink, width_px, cv2.LINE_AA)
    return _with_captions(drawn, objects)


def _with_captions(drawn: np.ndarray, objects: Sequence[PicturedObject]) -> np.ndarray:
    picture = Image.fromarray(drawn)
    pen = ImageDraw.Draw(picture)
    for shown in reversed(objects):
        if not shown.amodal.any():
            continue
        x, y, _, _ = shown.amodal.box_xywh
        box = pen.textbbox((x, max(y - 16, 0)), shown.caption, font=font())
        pen.rectangle(box, fill=(0, 0, 0))
        pen.text((x, max(y - 16, 0)), shown.caption, font=font(), fill=_colour(shown.colour))
    return np.asarray(picture)


def _colour(number: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.75, 1.0)
    return int(255 * red), int(255 * green), int(255 * blue)
