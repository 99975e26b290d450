"""Photos on disk: where they may be, how large they are, whether they are whole, their pixels.

Pixels are read as stored: an EXIF note on how to turn the photo is ignored, because COCO's own `width` and `height` and
most tools that write COCO count stored pixels. Some tools follow the note. Where the size that a photo was annotated in
fits the turned photo and not the stored one, the photo is therefore read turned (`annotated_hw`), so that masks fit. A
half turn, a mirror image and a turned square have the size of the stored photo, which tells nothing: they stay as
stored. In TIFF the note is part of the format, and every library follows it.

A header is believed only to refuse: what claims more than `MAX_IMAGE_PX` is not decoded. Of animations the first
picture is read.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from ..errors import DataError
from .files import write_bytes
from .links import links_are_followed

MAX_SIDE_PX = 65_535
MAX_IMAGE_PX = 2**28
MAX_FILE_BYTES = 2**31  # 16 bits, four channels, uncompressed
_HEADER_BYTES = 2**16
_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8"
_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"
_JPEG_SIZE_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# OpenCV decodes them, Pillow tells their sizes
_KINDS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "JPEG2000")
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis"}
_ORIENTATION_TAG = 0x0112
_SILENT = 0  # of OpenCV's levels of logging


class LinkOutError(DataError):
    """A photo is a link that leads out of the image folder."""


def image_path(folder: Path, file_name: str) -> Path:
    """Return where a photo is, which must be inside the image folder, links followed, unless links may lead out.

    Raises:
        DataError: the name is absolute or leads out of the folder.
    """
    by_link = False
    try:
        relative = Path(file_name)
        os.fsencode(file_name)
        if not file_name or "\0" in file_name or relative.is_absolute() or ".." in relative.parts:
            raise ValueError
        path = folder / relative
        if _may_lead_out(folder, relative) and not links_are_followed():
            inside = os.path.realpath(folder)
            if os.path.commonpath([inside, os.path.realpath(path)]) != inside:
                by_link = True
                raise ValueError
    except (ValueError, OSError):  # also: characters that no file name has
        if by_link:
            raise LinkOutError(
                f"{folder}: file_name: {file_name[:120]!r} is a link, or behind one, that leads out of the image "
                "folder, where amodalpl opens nothing; copy the photos, give the folder that they are in, or, if you "
                "made the links, start with `amodalpl --follow-links`"
            ) from None
        raise DataError(
            f"{folder}: file_name: expected a name inside the image folder, got {file_name[:120]!r}; "
            "give names relative to the folder"
        ) from None
    return path


def _may_lead_out(folder: Path, relative: Path) -> bool:
    """Tell whether there is a link below the folder: without one no name leads out, and no link need be followed."""
    steps = (folder.joinpath(*relative.parts[:count]) for count in range(1, len(relative.parts) + 1))
    return os.name != "posix" or any(os.path.islink(step) for step in steps)  # Windows has more kinds of links


def check_size(path: Path, place: str, size_hw: tuple[int, int]) -> None:
    """Refuse sizes that no photo has, before anything is allocated for them.

    Raises:
        DataError: a side outside 1 to 65 535, or more than 2**28 pixels.
    """
    height, width = size_hw
    if not (1 <= height <= MAX_SIDE_PX and 1 <= width <= MAX_SIDE_PX and height * width <= MAX_IMAGE_PX):
        raise DataError(
            f"{path}: {place}: expected sides of 1 to {MAX_SIDE_PX} and at most {MAX_IMAGE_PX} pixels, "
            f"got height {height}, width {width}; correct the size"
        )


def read_image(path: Path, annotated_hw: tuple[int, int] | None = None) -> np.ndarray:
    """Read a photo.

    Args:
        path: of the photo.
        annotated_hw: height and width that its masks were drawn in. The photo is turned as its EXIF note says when that
            fits them and the stored photo does not; else, and when None, it stays as stored.

    Returns:
        (H, W, 3) uint8 RGB. Grey photos are repeated over the channels, 16 bits are reduced to 8, transparency is left
        out.

    Raises:
        DataError: no such file, not a photo, too large, or cut short.
    """
    data = _read_bytes(path)
    _require_whole(path, data)
    image = _decode(path, data)
    return _turn(image, orientation(io.BytesIO(data))) if _fits_turned(data, image.shape[:2], annotated_hw) else image


def image_size_hw(path: Path, annotated_hw: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return (height, width) of what `read_image` returns, from the header alone.

    Raises:
        DataError: no such file, or not a photo.
    """
    data = _read_bytes(path, _HEADER_BYTES)
    if _header_size_hw(data) is None:
        data = _read_bytes(path)
    return _as_annotated(data, _size_hw(path, data), annotated_hw)


def check_image(path: Path, annotated_hw: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return (height, width) of what `read_image` returns, of a photo that is there and whole.

    PNG is followed chunk by chunk with its checksums, JPEG to its end marker; other kinds are decoded.

    Args:
        path: of the photo.
        annotated_hw: as for `read_image`.

    Raises:
        DataError: no such file, not a photo, too large, or cut short.
    """
    data = _read_bytes(path)
    _require_whole(path, data)
    size_hw = _size_hw(path, data)
    if _header_size_hw(data) is None:
        height, width = _decode(path, data).shape[:2]
        size_hw = (height, width)
    return _as_annotated(data, size_hw, annotated_hw)


def _read_bytes(path: Path, most: int = -1) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a device read without end
            raise DataError(f"{path}: expected a photo, could not read it (it is not a file)")
        if status.st_size > MAX_FILE_BYTES:
            raise DataError(f"{path}: expected a photo of at most {MAX_FILE_BYTES} bytes, got {status.st_size}")
        with path.open("rb") as handle:
            return handle.read(most)
    except FileNotFoundError:
        raise DataError(f"{path}: expected a photo, found no such file; check the image folder") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a photo, could not read it ({error})") from None


def _decode(path: Path, data: bytes) -> np.ndarray:
    """Decode to (H, W, 3) uint8 RGB, as stored."""
    _size_hw(path, data)
    with opencv_silent():
        try:
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
        except cv2.error:
            image = None
    if image is None:
        raise DataError(f"{path}: expected a photo, could not decode it; replace the file")
    return np.ascontiguousarray(image[:, :, ::-1])


@contextmanager
def opencv_silent() -> Iterator[None]:
    """Keep away what OpenCV prints of files that it cannot read: it is no clear line."""
    before = _log_level(_SILENT)
    try:
        yield
    finally:
        _log_level(before)


def _log_level(level: int) -> int:
    """Set OpenCV's level of logging and return the one before; its version 5 has moved the function."""
    if hasattr(cv2, "setLogLevel"):
        return cv2.setLogLevel(level)
    logging = cv2.utils.logging  # type: ignore[attr-defined]  # unknown to the types of version 4
    before = logging.getLogLevel()
    logging.setLogLevel(level)
    return before


def _size_hw(path: Path, data: bytes) -> tuple[int, int]:
    """Return the stored size that the header states.

    Raises:
        DataError: no photo of a known kind, or one that claims more than decoding may take.
    """
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        raise DataError(f"{path}: expected a photo in JPEG or PNG, got HEIC or AVIF; convert it")
    if data.startswith(b"version https://git-lfs"):
        raise DataError(f"{path}: expected a photo, got a Git LFS pointer; run `git lfs pull`")
    height, width = _header_size_hw(data) or _size_by_pillow(path, data)
    if max(height, width) > MAX_SIDE_PX or height * width > MAX_IMAGE_PX:
        raise DataError(
            f"{path}: expected a photo of at most {MAX_IMAGE_PX} pixels, got {height} x {width} "
            f"(sides may have {MAX_SIDE_PX})"
        )
    return height, width


def _size_by_pillow(path: Path, data: bytes) -> tuple[int, int]:
    try:
        with _opened(io.BytesIO(data)) as image:
            return image.height, image.width
    except Image.DecompressionBombError:
        raise DataError(f"{path}: expected a photo of at most {MAX_IMAGE_PX} pixels, got far more") from None
    except Exception:  # Pillow raises what it likes over broken headers
        raise DataError(
            f"{path}: expected a photo, could not decode it; JPEG, PNG, WebP, TIFF, BMP, GIF, JPEG 2000, PNM are read"
        ) from None


def _opened(file: Path | io.BytesIO) -> Image.Image:
    """Open a photo without decoding it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes, which are checked here, and of notes that nobody needs
        return Image.open(file, formats=_KINDS)


def _as_annotated(data: bytes, size_hw: tuple[int, int], annotated_hw: tuple[int, int] | None) -> tuple[int, int]:
    return size_hw[::-1] if _fits_turned(data, size_hw, annotated_hw) else size_hw


def _fits_turned(data: bytes, size_hw: tuple[int, ...], annotated_hw: tuple[int, int] | None) -> bool:
    """Tell whether masks of a size fit the photo only when it is turned by a quarter, as its EXIF note says."""
    if annotated_hw is None or tuple(annotated_hw) == tuple(size_hw) or tuple(annotated_hw) != tuple(size_hw)[::-1]:
        return False
    return orientation(io.BytesIO(data)) >= 5


def orientation(file: Path | io.BytesIO) -> int:
    """Return the EXIF orientation of a photo, 1 (as stored) where it has none, and of TIFF, which is read turned."""
    try:
        with _opened(file) as image, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = 1 if image.format == "TIFF" else image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # Pillow raises what it likes over a broken note, which is no note then
        return 1
    return value if value in range(1, 9) else 1


def _turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a stored photo by a quarter, and mirror it, as EXIF orientations 5 to 8 say."""
    picture = Image.fromarray(image)
    picture.getexif()[_ORIENTATION_TAG] = orientation
    return np.array(ImageOps.exif_transpose(picture))


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


def encode_image(image: np.ndarray, suffix: str, quality: int = 82) -> bytes:
    """Encode an image; equal images give equal bytes.

    Args:
        image: (H, W, 3) uint8 RGB.
        suffix: ".png", ".jpg" or ".jpeg".
        quality: of JPEG.
    """
    options = [cv2.IMWRITE_PNG_COMPRESSION, 6] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise DataError(f"could not encode an image of shape {image.shape} as {suffix}")
    return data.tobytes()


def write_image(path: Path, image: np.ndarray, quality: int = 95) -> None:
    """Write an (H, W, 3) uint8 RGB image whole, as PNG or JPEG by its suffix."""
    write_bytes(path, encode_image(image, path.suffix.lower(), quality))


def read_fitting_image(images: Path, file_name: str, size_hw: Sequence[int]) -> np.ndarray | None:
    """Return a photo, (H, W, 3) uint8 RGB; None where it cannot be read, or is of another size than its masks."""
    height, width = (int(side) for side in size_hw)
    try:
        photo = read_image(image_path(images, file_name), (height, width))
    except DataError:
        return None
    return photo if photo.shape[:2] == (height, width) else None


class RecentPhotos:
    """Photos as `read_image` reads them; those read last stay in memory, so that small ones are read once."""

    def __init__(self, most_bytes: int = 2**28) -> None:
        """Keep up to so many bytes, and the last photo in any case."""
        self.most_bytes = most_bytes
        self._photos: dict[Path, np.ndarray] = {}  # the last one read at the end

    def read(self, path: Path, annotated_hw: tuple[int, int] | None = None) -> np.ndarray:
        """Return (H, W, 3) uint8 RGB, not to be written to."""
        photo = self._photos.pop(path, None)
        if photo is None:
            photo = read_image(path, annotated_hw)
            photo.flags.writeable = False
        self._photos[path] = photo
        while len(self._photos) > 1 and sum(kept.nbytes for kept in self._photos.values()) > self.most_bytes:
            del self._photos[next(iter(self._photos))]
        return photo
