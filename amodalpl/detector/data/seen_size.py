"""How large a photo is as a model sees it; one that is much longer than wide may shrink to less than a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import DataError


def seen_size_hw(size_hw: tuple[int, int], scale: Sequence[int]) -> tuple[int, int]:
    """Return the height and width to which MMDetection's `Resize` with `keep_ratio` brings a photo.

    Args:
        size_hw: of the photo.
        scale: most pixels of its long and of its short side, in any order.

    >>> seen_size_hw((426, 640), (320, 224))
    (213, 320)
    """
    factor = min(max(scale) / max(size_hw), min(scale) / min(size_hw))
    height, width = (int(side * factor + 0.5) for side in size_hw)
    return height, width


def require_seen(photo: Path | str, size_hw: tuple[int, int], scale: Sequence[int]) -> None:
    """Refuse a photo of which not a pixel is left.

    Args:
        photo: as it is named in the message.
        size_hw: of the photo.
        scale: see `seen_size_hw`.

    Raises:
        DataError: it is too narrow.
    """
    if min(seen_size_hw(size_hw, scale)) < 1:
        raise DataError(
            f"{photo}: expected a photo whose short side is a pixel or more at {max(scale)} x {min(scale)}, got "
            f"{size_hw[1]} x {size_hw[0]}; crop it, or take it out"
        )
