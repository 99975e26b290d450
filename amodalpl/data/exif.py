"""EXIF orientation: masks drawn on the rotated photo, moved into the frame of the stored pixels.

A camera held upright stores a lying photo and a note (EXIF orientation, 1 to 8) on how to turn it. Annotation tools and
browsers follow the note, so their coordinates are of the turned photo; COCO and this pipeline count stored pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..io.images import image_path, image_size_hw
from ..masks import rle
from ..masks.rle import Rle
from .records import AnnotationSet, ImageRecord, Mask


def shown_size(stored_hw: tuple[int, int], turn: int) -> tuple[int, int]:
    """Return height and width of a photo as it is shown.

    >>> shown_size((480, 640), 6)
    (640, 480)
    """
    return stored_hw[::-1] if turn >= 5 else stored_hw


def stored(outline: Mask, stored_hw: tuple[int, int], turn: int) -> Mask:
    """Turn an outline drawn on the shown photo into one of the stored photo.

    Args:
        outline: in the frame of the shown photo.
        stored_hw: height and width of the stored photo.
        turn: EXIF orientation, 1 to 8.

    >>> stored(Mask(((0.0, 0.0, 2.0, 0.0, 2.0, 1.0),)), (480, 640), 6).polygons
    ((0.0, 480.0, 0.0, 478.0, 1.0, 478.0),)
    """
    if turn == 1:
        return Mask(outline.polygons, outline.rle, stored_hw)
    if outline.rle is not None:
        return Mask(rle=_stored_mask(outline.rle, turn))
    return Mask(tuple(_stored_ring(ring, stored_hw, turn) for ring in outline.polygons), size_hw=stored_hw)


def _stored_ring(ring: Sequence[float], stored_hw: tuple[int, int], turn: int) -> tuple[float, ...]:
    height, width = stored_hw
    points = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
    x, y = points.T
    turned = {
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (y, height - x),
        7: (width - y, height - x),
        8: (width - y, x),
    }[turn]
    return tuple(np.stack(turned, axis=1).ravel().tolist())


def _stored_mask(mask: Rle, turn: int) -> Rle:
    shown = rle.decode(mask)
    turned = {
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.T,
        6: np.rot90(shown),
        7: shown[::-1, ::-1].T,
        8: np.rot90(shown, -1),
    }[turn]
    return rle.encode(turned)


def any_turned(data: AnnotationSet, images: Path) -> bool:
    """Tell whether a photo with instances fits its masks only when it is turned as its EXIF note says."""
    return any(data.by_image[record.id] and _is_turned(images, record) for record in data.images)


def _is_turned(images: Path, record: ImageRecord) -> bool:
    try:
        return image_size_hw(image_path(images, record.file_name)) != record.size_hw
    except DataError:  # which is told when it is read
        return False
