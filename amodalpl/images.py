"""Photos on disk: where they may be, how large they are, whether they are whole, their pixels.

Pixels are read as stored: an EXIF note on how to turn the photo is ignored, because annotation tools that write COCO
(and COCO's own `width` and `height`) count stored pixels.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from .errors import DataError

MAX_SIDE_PX = 65_535
MAX_IMAGE_PX = 2**28
_HEADER_BYTES = 2**16
_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8"
_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"
_JPEG_SIZE_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def image_path(folder: Path, file_name: str) -> Path:
    """Return where a photo is, which must be inside the image folder, links followed.

    Raises:
        DataError: the name is absolute or leads out of the folder.
    """
    try:
        relative = Path(file_name)
        if not file_name or "\0" in file_name or relative.is_absolute() or ".." in relative.parts:
            raise ValueError
        path = folder / relative
        inside = os.path.realpath(folder)
        if os.path.commonpath([inside, os.path.realpath(path)]) != inside:
            raise ValueError
    except (ValueError, OSError):  # also: characters that no file name has
        raise DataError(
            f"{folder}: file_name: expected a name inside the image folder, got {file_name[:120]!r}; "
            "give names relative to the folder"
        ) from None
    return path


def read_image(path: Path) -> np.ndarray:
    """Read a photo.

    Returns:
        (H, W, 3) uint8 RGB, the pixels as stored (EXIF rotation is ignored). Grey photos are repeated over the
        channels, 16 bits are reduced to 8, transparency is left out.

    Raises:
        DataError: no such file, not a photo, or cut short.
    """
    data = _read_bytes(path)
    _require_whole(path, data)
    return _decode(path, data)


def image_size_hw(path: Path) -> tuple[int, int]:
    """Return (height, width) of the stored pixels, from the header for PNG and JPEG, else by decoding.

    Raises:
        DataError: no such file, or not a photo.
    """
    size_hw = _header_size_hw(_read_bytes(path, _HEADER_BYTES))
    return size_hw or _size_hw(path, _read_bytes(path))


def check_image(path: Path, *, decode: bool = False) -> tuple[int, int]:
    """Return (height, width) of a photo that is there and whole.

    PNG is followed chunk by chunk with its checksums, JPEG to its end marker; other kinds are decoded.

    Args:
        path: of the photo.
        decode: decode every kind; slower, finds little more.

    Raises:
        DataError: no such file, not a photo, or cut short.
    """
    data = _read_bytes(path)
    _require_whole(path, data)
    if decode:
        height, width = _decode(path, data).shape[:2]
        return height, width
    return _size_hw(path, data)


def _read_bytes(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as handle:
            return handle.read(most)
    except FileNotFoundError:
        raise DataError(f"{path}: expected a photo, found no such file; check the image folder") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a photo, could not read it ({error})") from None


def _decode(path: Path, data: bytes) -> np.ndarray:
    """Decode to (H, W, 3) uint8 RGB."""
    size_hw = _header_size_hw(data)
    if size_hw is not None and (max(size_hw) > MAX_SIDE_PX or size_hw[0] * size_hw[1] > MAX_IMAGE_PX):
        raise DataError(f"{path}: expected a photo of at most {MAX_IMAGE_PX} pixels, got {size_hw[0]} x {size_hw[1]}")
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags) if data else None
    except cv2.error:
        image = None
    if image is None:
        raise DataError(f"{path}: expected a photo, could not decode it; replace the file")
    return np.ascontiguousarray(image[:, :, ::-1])


def _size_hw(path: Path, data: bytes) -> tuple[int, int]:
    size_hw = _header_size_hw(data)
    if size_hw is None:
        height, width = _decode(path, data).shape[:2]
        return height, width
    return size_hw


def _header_size_hw(data: bytes) -> tuple[int, int] | None:
    """Read the size out of a PNG or JPEG header; None when it is neither, broken, or not within `data`."""
    height = width = 0
    if data.startswith(_PNG_START) and data[12:16] == b"IHDR" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
    elif data.startswith(_JPEG_START):
        for marker, start, end in _jpeg_segments(data):
            if marker in _JPEG_SIZE_MARKERS and end - start >= 5 and end <= len(data):
                height, width = struct.unpack(">HH", data[start + 1 : start + 5])
                break
    return (height, width) if height and width else None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the bodies of a JPEG's segments, the first scan's head last."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # without a body
            at += 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end < at + 4:
            return
        yield marker, at + 4, end
        if marker == _JPEG_SCAN:
            return
        at = end


def _require_whole(path: Path, data: bytes) -> None:
    """Refuse a cut PNG or JPEG: OpenCV fills the missing rest with grey or black and says nothing."""
    if data.startswith(_JPEG_START):
        scan = next((end for marker, _, end in _jpeg_segments(data) if marker == _JPEG_SCAN), len(data))
        if data.rfind(_JPEG_END, scan) < 0:  # within a scan the two bytes mean only this
            raise DataError(f"{path}: expected a whole photo, found a JPEG that is cut short; replace the file")
    elif data.startswith(_PNG_START) and not _png_is_whole(data):
        raise DataError(f"{path}: expected a whole photo, found a PNG that is cut short or damaged; replace the file")


def _png_is_whole(data: bytes) -> bool:
    view = memoryview(data)
    at = len(_PNG_START)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data) or zlib.crc32(view[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False
