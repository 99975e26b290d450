"""PNG files whose pixels are numbers: grey of 1 to 16 bits, indices into a palette, or the colours of VOC's palette.

CVAT and datumaro write Pascal VOC's masks in colours: each number as its colour in VOC's palette.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from ...data.records import LeftOut
from ...errors import DataError
from ...io.files import write_whole
from ...io.images import check_image, check_size, image_path

_MODES = {"1", "L", "P", "I", "I;16", "I;16B"}
_BIT_DEPTH_AT = 24  # in the file, after signature, length, "IHDR", width and height


def read_numbers(folder: Path, name: str) -> np.ndarray:
    """Read a PNG.

    Args:
        folder: the file must be inside, links followed.
        name: of the file, relative to the folder.

    Returns:
        (H, W) uint16; of a palette the indices.

    Raises:
        LeftOut: not there, damaged, not a PNG, too large, or of other colours than those of VOC's palette.
    """
    try:
        path = image_path(folder, name)
        check_size(path, "size", check_image(path))
    except DataError as error:
        raise LeftOut(f"unreadable PNG: {error}") from None
    with path.open("rb") as handle:
        start = handle.read(_BIT_DEPTH_AT + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size was checked above
            with Image.open(path, formats=["PNG"]) as image:
                pixels = np.asarray(image)
                numbers = pixels.astype(np.uint16) if image.mode in _MODES else _numbers_of(pixels)
                if numbers is None:
                    raise LeftOut(f"PNG of colours: expected grey or palette pixels, got {image.mode}")
                grey = image.mode == "L"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise LeftOut(f"unreadable PNG: {str(error)[:120]}") from None
    if grey and start[_BIT_DEPTH_AT] in (2, 4):  # Pillow spreads these over 0 to 255
        numbers //= 255 // (2 ** start[_BIT_DEPTH_AT] - 1)
    return numbers


def _numbers_of(colours: np.ndarray) -> np.ndarray | None:
    """Return the numbers of colours in VOC's palette; None where there are others, or nothing but black."""
    if colours.ndim != 3 or colours.shape[2] != 3:
        return None
    weights = np.array([2**16, 2**8, 1], dtype=np.int32)
    palette = np.array(_palette(), dtype=np.int32).reshape(-1, 3) @ weights
    numbers = np.full(2**24, 2**16 - 1, dtype=np.uint16)  # of every colour there is
    numbers[palette] = np.arange(len(palette))
    found = numbers[colours.astype(np.int32) @ weights]
    return found if 0 < found.max() < len(palette) else None


def write_numbers(path: Path, numbers: np.ndarray) -> None:
    """Write a PNG whole: indices into a palette up to 255, 16 bits grey above.

    Args:
        path: of the file.
        numbers: (H, W) of whole numbers, 0 to 65 535.
    """
    if numbers.max(initial=0) <= 255:
        image = Image.fromarray(numbers.astype(np.uint8)).convert("L")
        image.putpalette(_palette())
    else:
        image = Image.fromarray(numbers.astype(np.uint16))
    write_whole(path, lambda part: image.save(part, format="PNG"))


def _palette() -> list[int]:
    """Return PASCAL VOC's colours: near numbers look different, 0 is black."""
    colours = []
    for index in range(256):
        red = green = blue = 0
        for bit in range(8):
            red |= (index >> (3 * bit) & 1) << (7 - bit)
            green |= (index >> (3 * bit + 1) & 1) << (7 - bit)
            blue |= (index >> (3 * bit + 2) & 1) << (7 - bit)
        colours += [red, green, blue]
    return colours
