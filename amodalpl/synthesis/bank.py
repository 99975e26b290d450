"""The bank: every usable instance cut out once, so that training decodes no file twice.

On disk (all `.npy`, memory-mapped when read):
    table.npy   one row per cut-out, `ROW` below
    bits.npy    the masks, bit-packed row by row one after another
    unknown.npy (N, 64, 8) uint8, where each cut-out's object may go on unseen: 64 x 64 bits over its `image_square`
    images.npy  (N, R, R, 3) uint8 RGB around each cut-out, only when asked for
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ..errors import DataError
from ..io.files import write_array, write_whole
from ..masks.boxed import BoxedMask, boxed
from ..masks.boxes import Square, crop_square
from ..masks.geometry import dilate
from ..masks.resampling import to_patch

ROW = np.dtype(
    [
        ("annotation_id", "<i8"),
        ("image_id", "<i8"),
        ("category_id", "<i8"),
        ("x", "<i4"),  # tight box of the mask in image pixels
        ("y", "<i4"),
        ("w", "<i4"),
        ("h", "<i4"),
        ("scale", "<f8"),  # stored pixels per image pixel; below 1 for large objects
        ("rows", "<i4"),  # size of the stored mask
        ("columns", "<i4"),
        ("offset", "<i8"),  # first byte in bits.npy
        ("alone", "?"),  # nothing else is within 4 pixels of it, so that nothing can hide it
        ("truncated", "?"),  # it touches the border of its photo, where it may go on
    ]
)
IMAGE_SIDES = 2.2  # side of a stored image crop in crop sides: covers the shifts and zooms of each recipe
APART_PX = 4  # an object is alone when no other one is nearer, in image pixels
UNKNOWN_PX = 64  # side of the raster of what is unknown; 512 bytes, a quarter of what a cut-out takes in COCO
UNKNOWN_SHAPE = (-1, UNKNOWN_PX, UNKNOWN_PX // 8)  # bit-packed
NOBODY, FIRST_OBJECT = 1, 2  # in the raster of owners; 0 is what resampling gives beyond the photo


@dataclass(frozen=True)
class CutOut:
    """One instance's visible mask on its own.

    Attributes:
        mask: (h, w) bool, the tight box's content, possibly reduced.
        box_xywh: tight box in image pixels.
        scale: mask pixels per image pixel.
    """

    mask: np.ndarray
    box_xywh: tuple[int, int, int, int]
    scale: float

    def square(self, enlarge_area: float) -> Square:
        """Return the un-jittered crop around it, in image pixels."""
        return crop_square(self.box_xywh, enlarge_area)

    def matrix(self, square: Square, patch_px: int) -> np.ndarray:
        """Return the affine matrix from the stored mask to a crop's patch."""
        return square.patch_from_raster(patch_px, self.box_xywh[:2], self.scale)


def cut_out(mask: np.ndarray | BoxedMask, longest_px: int) -> CutOut:
    """Cut a mask out of its frame, reducing it when its box is longer than `longest_px`.

    Args:
        mask: in its photo, with at least one pixel.
        longest_px: longest side of the stored mask.
    """
    mask = boxed(mask)
    crop, (x, y, w, h) = mask.crop, mask.box_xywh
    scale = min(1.0, longest_px / max(w, h))
    if scale < 1:
        size = (max(1, round(w * scale)), max(1, round(h * scale)))
        crop = cv2.resize(crop.view(np.uint8), size, interpolation=cv2.INTER_NEAREST).view(bool)
    return CutOut(crop, (x, y, w, h), scale)


def image_square(cutout: CutOut, enlarge_area: float) -> Square:
    """Return the part of the photo that is stored beside a cut-out."""
    crop = cutout.square(enlarge_area)
    side = crop.side * IMAGE_SIDES
    return Square(crop.x + (crop.side - side) / 2, crop.y + (crop.side - side) / 2, side)


@dataclass(frozen=True)
class Surroundings:
    """What is around a cut-out in its photo.

    Attributes:
        alone: no other object is within 4 pixels of it, so nothing can hide it.
        truncated: it touches the border of the photo.
        unknown: (64, 64) bool over its `image_square`: another object is seen there, or the photo has ended, so the
            cut-out's object may go on unseen.
    """

    alone: bool = True
    truncated: bool = False
    unknown: np.ndarray = field(default_factory=lambda: np.zeros((UNKNOWN_PX, UNKNOWN_PX), dtype=bool))

    @property
    def sure_to_be_whole(self) -> bool:
        """Whether neither another object nor the border of the photo can have cut it."""
        return self.alone and not self.truncated


def surroundings(owners: np.ndarray, number: int, cutout: CutOut, enlarge_area: float) -> Surroundings:
    """Look around a cut-out.

    Args:
        owners: (H, W) uint16, `NOBODY` or the number of the object that owns the pixel, from `FIRST_OBJECT` on.
        number: of the cut-out's object.
        cutout: the same.
        enlarge_area: see `image_square`.
    """
    height, width = owners.shape
    x, y, w, h = cutout.box_xywh
    window = owners[max(y - APART_PX, 0) : y + h + APART_PX, max(x - APART_PX, 0) : x + w + APART_PX]
    alone = not (dilate(window == number, APART_PX) & (window != number) & (window != NOBODY)).any()
    around = to_patch(owners, image_square(cutout, enlarge_area).patch_from_raster(UNKNOWN_PX), UNKNOWN_PX)
    truncated = x == 0 or y == 0 or x + w == width or y + h == height
    return Surroundings(alone, truncated, (around != NOBODY) & (around != number))


class BankWriter:
    """Collects cut-outs in memory-light form and writes the bank's files at the end."""

    def __init__(self, folder: Path, image_px: int | None) -> None:
        self.folder = folder
        self.image_px = image_px
        self._rows: list[tuple] = []
        self._bits: list[bytes] = []
        self._unknown: list[np.ndarray] = []
        self._offset = 0
        self._image_part = folder / ".images.raw"
        folder.mkdir(parents=True, exist_ok=True)
        self._images = self._image_part.open("wb") if image_px else None

    def add(
        self,
        cutout: CutOut,
        ids: tuple[int, int, int],
        image: np.ndarray | None = None,
        around: Surroundings | None = None,
    ) -> None:
        """Append one cut-out.

        Args:
            cutout: the mask.
            ids: annotation, image and category id.
            image: (R, R, 3) uint8, required when the bank keeps images.
            around: what is beside it in its photo; nothing when not given.
        """
        around = around or Surroundings()
        packed = np.packbits(cutout.mask, axis=None).tobytes()
        seen = (around.alone, around.truncated)
        self._rows.append((*ids, *cutout.box_xywh, cutout.scale, *cutout.mask.shape, self._offset, *seen))
        self._bits.append(packed)
        self._unknown.append(np.packbits(around.unknown, axis=1))
        self._offset += len(packed)
        if self._images is not None and image is not None:
            self._images.write(np.ascontiguousarray(image).tobytes())

    def close(self) -> int:
        """Write the files; returns the number of cut-outs."""
        table = np.array(self._rows, dtype=ROW)
        write_array(self.folder / "bits.npy", np.frombuffer(b"".join(self._bits), dtype=np.uint8))
        if self._images is not None and self.image_px:
            self._images.close()
            shape = (len(table), self.image_px, self.image_px, 3)
            raw: np.ndarray
            if len(table):
                raw = np.memmap(self._image_part, dtype=np.uint8, mode="r", shape=shape)
            else:  # a file without bytes cannot be mapped
                raw = np.zeros(shape, dtype=np.uint8)
            write_whole(self.folder / "images.npy", lambda part: np.save(part, raw, allow_pickle=False))
            self._image_part.unlink()
        write_array(self.folder / "unknown.npy", np.array(self._unknown, dtype=np.uint8).reshape(UNKNOWN_SHAPE))
        write_array(self.folder / "table.npy", table)
        return len(table)


class Bank:
    """A bank as samples are drawn from it."""

    def __init__(self, folder: Path, only_unoccluded: bool = False) -> None:
        """Map the files of `folder`.

        Args:
            folder: of the bank.
            only_unoccluded: leave out every cut-out that something may hide, or that its photo's border cuts off.

        Raises:
            DataError: a file is missing or damaged, or fewer than two cut-outs are left.
        """
        self.folder = folder
        try:
            table = np.load(folder / "table.npy", allow_pickle=False)
            self._bits = np.asarray(np.load(folder / "bits.npy", mmap_mode="r", allow_pickle=False))
            self._unknown = np.asarray(np.load(folder / "unknown.npy", mmap_mode="r", allow_pickle=False))
            images = folder / "images.npy"
            self._images = np.load(images, mmap_mode="r", allow_pickle=False) if images.exists() else None
        except (OSError, EOFError, ValueError) as error:  # EOFError: an empty file
            raise DataError(f"{folder}: expected a cut-out bank of `amodalpl synth` ({error}); run it again") from None
        if table.dtype != ROW:
            raise DataError(f"{folder / 'table.npy'}: expected a cut-out bank's columns; run `amodalpl synth` again")
        packed = int((-(-table["rows"].astype(np.int64) * table["columns"] // 8)).sum())
        if self._bits.dtype != np.uint8 or self._bits.shape != (packed,):
            raise DataError(
                f"{folder / 'bits.npy'}: expected the {packed} bytes of this cut-out bank's masks, "
                f"got {self._bits.dtype} {self._bits.shape}; run `amodalpl synth` again"
            )
        if self._unknown.dtype != np.uint8 or self._unknown.shape != (len(table), *UNKNOWN_SHAPE[1:]):
            raise DataError(
                f"{folder / 'unknown.npy'}: expected what is unknown around this cut-out bank's {len(table)} rows, "
                f"got {self._unknown.dtype} {self._unknown.shape}; run `amodalpl synth` again"
            )
        if self._images is not None and self._images.shape[:1] != (len(table),):
            raise DataError(
                f"{folder / 'images.npy'}: expected the photos of this cut-out bank's {len(table)} rows, "
                f"got {self._images.shape[0] if self._images.ndim else 0}; run `amodalpl synth` again"
            )
        self._used = np.flatnonzero(sure_to_be_whole(table)) if only_unoccluded else np.arange(len(table))
        if only_unoccluded and len(self._used) < 2:
            raise DataError(
                f"{folder}: expected at least 2 cut-outs that nothing hides and no border cuts off, got "
                f"{len(self._used)} of {len(table)}; set synthesis.only_unoccluded=false"
            )
        self.table = table[self._used] if only_unoccluded else table

    def __len__(self) -> int:
        return len(self.table)

    @property
    def has_images(self) -> bool:
        """Whether image crops are stored."""
        return self._images is not None

    def __getitem__(self, index: int) -> CutOut:
        _, _, _, *box_xywh, scale, rows, columns, offset, _, _ = self.table[index].item()  # once: by name is slower
        count = rows * columns
        packed = self._bits[offset : offset + math.ceil(count / 8)]
        mask = np.unpackbits(packed, count=count).reshape(rows, columns).view(bool)
        return CutOut(mask, tuple(box_xywh), scale)

    def is_whole(self, index: int) -> bool:
        """Tell whether a cut-out is sure to be a whole object: nothing is near, and no border of its photo cuts it."""
        return bool(sure_to_be_whole(self.table[index]))

    def image(self, index: int) -> np.ndarray:
        """Return the (R, R, 3) uint8 RGB crop of the photo around a cut-out (see `image_square`)."""
        if self._images is None:
            raise DataError(
                f"{self.folder}: expected image crops, it has masks only; "
                "run `amodalpl synth` with --set synthesis.with_image=true"
            )
        return self._images[self._used[index]]

    def unknown(self, index: int) -> np.ndarray:
        """Return where the object may go on unseen, (64, 64) bool over the cut-out's `image_square`."""
        return np.unpackbits(self._unknown[self._used[index]], axis=1).view(bool)


def sure_to_be_whole(table: np.ndarray) -> np.ndarray:
    """Tell which rows of a bank's table are sure to be whole objects, (N,) bool."""
    return table["alone"] & ~table["truncated"]
