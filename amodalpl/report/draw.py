"""Overlays of modal and amodal masks on photos, and contact sheets of them.

Colours are those of Okabe and Ito, told apart by most colour-blind readers. Nothing tints the visible part, because a
tint mixes with the colour of the object. The hidden part is hatched. Outlines lie on black, so that they show on any
photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import DataError
from ..masks.boxed import BoxedMask, boxed, common_window

MODAL, HIDDEN, SHARED = (86, 180, 233), (240, 140, 0), (204, 121, 167)  # sky blue, orange, reddish purple
LEGEND = "blue line: visible   white line: whole   orange: completed   purple: drawn, belongs to another mask"
GROUND, INK = (28, 30, 34), (236, 236, 236)
_STRIPE_ALPHA, _BETWEEN_ALPHA = 0.95, 0.6
HATCH_PX = 4
_LINE_PX, _LINES_APART_PX = 2, 8  # of hidden parts on a photo with many objects
_WHOLE_LINES = (((0, 0, 0), 5), ((255, 255, 255), 2))  # colour, width in px
_VISIBLE_LINES = ((MODAL, 2),)
_GAP_PX, _TITLE_PX = 10, 14


def overlay(image: np.ndarray, modal: np.ndarray, amodal: np.ndarray, shared: np.ndarray | None = None) -> np.ndarray:
    """Draw solid outlines, blue around the visible part and white around the whole, and hatch what is hidden.

    What is visible keeps the colours of the photo. Completed pixels are hatched orange, those that belong to another
    mask purple.

    Args:
        image: (H, W, 3) uint8 RGB.
        modal: (H, W) bool.
        amodal: (H, W) bool.
        shared: (H, W) bool, hidden pixels that belong to another mask and were not completed; None for none.

    Returns:
        (H, W, 3) uint8 RGB; the image itself is left alone.

    Raises:
        DataError: the masks and the image differ in size.
    """
    owned = np.zeros_like(modal) if shared is None else shared
    if not image.shape[:2] == modal.shape == amodal.shape == owned.shape:
        raise DataError(f"expected one size, got image {image.shape[:2]}, modal {modal.shape}, amodal {amodal.shape}")
    hidden = amodal & ~modal
    ys, xs = np.indices(modal.shape, sparse=True)
    stripes = (ys + xs) // HATCH_PX % 2 == 0
    drawn = image.astype(np.float32)
    for mask, colour in ((hidden & ~owned, HIDDEN), (hidden & owned, SHARED)):
        for part, alpha in ((mask & stripes, _STRIPE_ALPHA), (mask & ~stripes, _BETWEEN_ALPHA)):
            drawn[part] = (1 - alpha) * drawn[part] + alpha * np.array(colour, dtype=np.float32)
    drawn = np.ascontiguousarray(drawn.round().astype(np.uint8))
    for mask, lines in ((amodal, _WHOLE_LINES), (modal, _VISIBLE_LINES)):
        _outline(drawn, boxed(mask), lines)
    return drawn


class DrawnObject(NamedTuple):
    """An object of a photo with many; `shared` are hidden pixels that belong to another mask."""

    modal: BoxedMask
    amodal: BoxedMask
    shared: BoxedMask


def overlay_all(image: np.ndarray, objects: Sequence[DrawnObject]) -> np.ndarray:
    """Draw many objects so that one sees what is in front and what is behind.

    Hidden parts are thin lines with the photo between them, completed ones rising and those of other masks falling, so
    that parts of two objects in one place are told apart. Outlines lie above all lines, visible parts' above the rest.

    Args:
        image: (H, W, 3) uint8 RGB.
        objects: the last one is drawn last.

    Returns:
        (H, W, 3) uint8 RGB; the image itself is left alone.
    """
    drawn = image.copy()
    for modal, amodal, shared in objects:
        rows, columns = window = common_window(modal, amodal)
        ys, xs = np.ogrid[rows, columns]
        hidden, owned, around = amodal[window] & ~modal[window], shared[window], drawn[window]
        around[hidden & ~owned & ((ys + xs) % _LINES_APART_PX < _LINE_PX)] = HIDDEN
        around[hidden & owned & ((ys - xs) % _LINES_APART_PX < _LINE_PX)] = SHARED
    for part, lines in ((1, _WHOLE_LINES), (0, _VISIBLE_LINES)):
        for shown in objects:
            _outline(drawn, shown[part], lines)
    return drawn


def _outline(drawn: np.ndarray, mask: BoxedMask, lines: Sequence[tuple[tuple[int, int, int], int]]) -> None:
    rows, columns = window = common_window(mask)
    outline, _ = cv2.findContours(
        mask[window].astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(columns.start, rows.start)
    )
    for colour, width_px in lines:
        cv2.drawContours(drawn, outline, -1, colour, width_px, cv2.LINE_AA)


def close_up(
    image: np.ndarray,
    modal: np.ndarray | BoxedMask,
    amodal: np.ndarray | BoxedMask,
    side_px: int,
    margin: float = 0.25,
    shared: np.ndarray | BoxedMask | None = None,
) -> np.ndarray:
    """Draw the overlay of one object, cropped to it and enlarged or reduced to a given size.

    Args:
        image: (H, W, 3) uint8 RGB.
        modal: a mask, or (H, W) bool.
        amodal: likewise, at least one pixel.
        side_px: of the longer side of the picture.
        margin: what is shown around the object, in parts of its longer side.
        shared: likewise, as for `overlay`.

    Returns:
        (h, w, 3) uint8 RGB, its longer side `side_px`.
    """
    visible, both = boxed(modal), boxed(modal).united(boxed(amodal))
    if not both.any():
        raise DataError("expected a mask with at least one pixel, got an empty one")
    x, y, w, h = both.box_xywh
    pad = max(8, round(margin * max(w, h)))
    window = np.s_[max(y - pad, 0) : y + h + pad, max(x - pad, 0) : x + w + pad]
    h, w = image[window].shape[:2]
    scale = side_px / max(h, w)
    size_wh = max(1, round(w * scale)), max(1, round(h * scale))
    photo = cv2.resize(image[window], size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    seen, whole, owned = (
        cv2.resize(mask[window].astype(np.float32), size_wh, interpolation=cv2.INTER_LINEAR) > 0.5
        for mask in (visible, boxed(amodal), BoxedMask.nothing(visible.size_hw) if shared is None else boxed(shared))
    )
    return overlay(photo, seen, whole | seen, owned)


def contact_sheet(
    pictures: Sequence[tuple[str, np.ndarray]], columns: int = 6, tile_px: int = 240, legend: str = ""
) -> np.ndarray:
    """Lay titled pictures out in rows, each scaled to fit its tile; a row is as high as its highest picture.

    Args:
        pictures: title (its lines separated by newlines; long ones are cut) and (H, W, 3) uint8 RGB.
        columns: pictures per row.
        tile_px: side of the square that each picture is fitted into.
        legend: one line above all.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    fitted = [_fit(picture, tile_px) for _, picture in pictures]
    rows = [range(start, min(start + columns, len(fitted))) for start in range(0, len(fitted), columns)]
    lines = max((title.count("\n") + 1 for title, _ in pictures), default=1)
    caption_px, head_px = round(lines * _TITLE_PX * 1.35) + 4, round(_TITLE_PX * 2.2) if legend else 0
    heights = [max(fitted[number].shape[0] for number in row) for row in rows]
    step_x, steps_y = tile_px + _GAP_PX, [height + caption_px + _GAP_PX for height in heights]
    size_wh = columns * step_x + _GAP_PX, head_px + sum(steps_y) + _GAP_PX
    sheet = Image.new("RGB", size_wh, GROUND)
    pen = ImageDraw.Draw(sheet)
    if legend:
        pen.text((_GAP_PX, _GAP_PX), _cut(legend, size_wh[0] - 2 * _GAP_PX), font=font(), fill=INK)
    for row, height, y in zip(rows, heights, accumulate(steps_y, initial=head_px + _GAP_PX), strict=False):
        for number in row:
            x = _GAP_PX + number % columns * step_x
            h, w = fitted[number].shape[:2]
            sheet.paste(Image.fromarray(fitted[number]), (x + (tile_px - w) // 2, y + (height - h) // 2))
            for n, line in enumerate(pictures[number][0].split("\n")):
                pen.text((x, y + height + 4 + round(n * _TITLE_PX * 1.35)), _cut(line, tile_px), font=font(), fill=INK)
    return np.asarray(sheet)


def stacked(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Lay one sheet below another; the narrower one is filled up on its right.

    Args:
        top: (H, W, 3) uint8 RGB.
        bottom: likewise, of any size.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    width = max(top.shape[1], bottom.shape[1])
    sheet = np.full((top.shape[0] + bottom.shape[0], width, 3), GROUND, dtype=np.uint8)
    sheet[: top.shape[0], : top.shape[1]] = top
    sheet[top.shape[0] :, : bottom.shape[1]] = bottom
    return sheet


def _fit(picture: np.ndarray, side_px: int) -> np.ndarray:
    scale = side_px / max(picture.shape[:2])
    if scale == 1:
        return picture
    size_wh = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    return cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


@cache
def font() -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which matplotlib brings along: OpenCV's own letters are ASCII only."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", _TITLE_PX - 1)


def _cut(line: str, width_px: int) -> str:
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line[:300])
    if font().getlength(line) <= width_px:
        return line
    while line and font().getlength(line + "…") > width_px:
        line = line[:-1]
    return line + "…"
