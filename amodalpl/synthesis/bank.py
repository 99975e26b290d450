"""The bank: every usable instance cut out once, so that training decodes no file twice.

On disk (all `.npy`, memory-mapped when read):
    table.npy   one row per cut-out, `ROW` below
    bits.npy    the masks, bit-packed row by row one after another
    images.npy  (N, R, R, 3) uint8 RGB around each cut-out, only when asked for
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import DataError
from ..masks.boxes import Square, crop_square, tight_box
from ..provenance import write_array, write_whole

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
    ]
)
IMAGE_SIDES = 1.65  # side of a stored image crop in crop sides: covers every shift (0.2) and zoom (0.8) of a sample


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


def cut_out(mask: np.ndarray, longest_px: int) -> CutOut:
    """Cut a mask out of its frame, reducing it when its box is longer than `longest_px`.

    Args:
        mask: (H, W) bool with at least one pixel.
        longest_px: longest side of the stored mask.
    """
    x, y, w, h = tight_box(mask)
    crop = np.ascontiguousarray(mask[y : y + h, x : x + w])
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


class BankWriter:
    """Collects cut-outs in memory-light form and writes the bank's files at the end."""

    def __init__(self, folder: Path, image_px: int | None) -> None:
        self.folder = folder
        self.image_px = image_px
        self._rows: list[tuple] = []
        self._bits: list[bytes] = []
        self._offset = 0
        self._image_part = folder / ".images.raw"
        folder.mkdir(parents=True, exist_ok=True)
        self._images = self._image_part.open("wb") if image_px else None

    def add(self, cutout: CutOut, ids: tuple[int, int, int], image: np.ndarray | None = None) -> None:
        """Append one cut-out.

        Args:
            cutout: the mask.
            ids: annotation, image and category id.
            image: (R, R, 3) uint8, required when the bank keeps images.
        """
        packed = np.packbits(cutout.mask, axis=None).tobytes()
        self._rows.append((*ids, *cutout.box_xywh, cutout.scale, *cutout.mask.shape, self._offset))
        self._bits.append(packed)
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
        write_array(self.folder / "table.npy", table)
        return len(table)


class Bank:
    """A bank as samples are drawn from it."""

    def __init__(self, folder: Path) -> None:
        """Map the files of `folder`.

        Raises:
            DataError: a file is missing or damaged.
        """
        self.folder = folder
        try:
            self.table = np.load(folder / "table.npy", allow_pickle=False)
            self._bits = np.load(folder / "bits.npy", mmap_mode="r", allow_pickle=False)
            images = folder / "images.npy"
            self._images = np.load(images, mmap_mode="r", allow_pickle=False) if images.exists() else None
        except (OSError, EOFError, ValueError) as error:  # EOFError: an empty file
            raise DataError(f"{folder}: expected a cut-out bank of `amodalpl synth` ({error}); run it again") from None
        if self.table.dtype != ROW:
            raise DataError(f"{folder / 'table.npy'}: expected a cut-out bank's columns; run `amodalpl synth` again")
        packed = int((-(-self.table["rows"].astype(np.int64) * self.table["columns"] // 8)).sum())
        if self._bits.dtype != np.uint8 or self._bits.shape != (packed,):
            raise DataError(
                f"{folder / 'bits.npy'}: expected the {packed} bytes of this cut-out bank's masks, "
                f"got {self._bits.dtype} {self._bits.shape}; run `amodalpl synth` again"
            )
        if self._images is not None and self._images.shape[:1] != (len(self.table),):
            raise DataError(
                f"{folder / 'images.npy'}: expected the photos of this cut-out bank's {len(self.table)} rows, "
                f"got {self._images.shape[0] if self._images.ndim else 0}; run `amodalpl synth` again"
            )

    def __len__(self) -> int:
        return len(self.table)

    @property
    def has_images(self) -> bool:
        """Whether image crops are stored."""
        return self._images is not None

    def __getitem__(self, index: int) -> CutOut:
        row = self.table[index]
        rows, columns, offset = int(row["rows"]), int(row["columns"]), int(row["offset"])
        count = rows * columns
        packed = self._bits[offset : offset + math.ceil(count / 8)]
        mask = np.unpackbits(packed, count=count).reshape(rows, columns).view(bool)
        return CutOut(mask, (int(row["x"]), int(row["y"]), int(row["w"]), int(row["h"])), float(row["scale"]))

    def image(self, index: int) -> np.ndarray:
        """Return the (R, R, 3) uint8 RGB crop of the photo around a cut-out (see `image_square`)."""
        if self._images is None:
            raise DataError(
                f"{self.folder}: expected image crops, it has masks only; "
                "run `amodalpl synth` with --set synthesis.with_image=true"
            )
        return self._images[index]
