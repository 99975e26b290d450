"""Run-length masks by pycocotools: the only place that calls it for encoding and decoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypedDict

import cv2
import numpy as np
from pycocotools import mask as coco_mask


def encode(mask: np.ndarray) -> Rle:
    """Encode a mask.

    Args:
        mask: (H, W) bool or 0/1 uint8.

    >>> int(decode(encode(np.eye(3, dtype=bool))).sum())
    3
    """
    rle = coco_mask.encode(_by_columns(mask))
    return Rle(size=[int(rle["size"][0]), int(rle["size"][1])], counts=rle["counts"])


def _by_columns(mask: np.ndarray) -> np.ndarray:
    """Return a mask as uint8 with columns first in memory, as RLE goes; OpenCV turns rows into columns faster."""
    if mask.size and mask.flags.c_contiguous and mask.itemsize == 1:
        return cv2.transpose(mask.view(np.uint8)).T
    return np.asfortranarray(mask, dtype=np.uint8)


def encode_in_frame(crop: np.ndarray, corner_xy: tuple[int, int], size_hw: tuple[int, int]) -> Rle:
    """Encode a crop as a mask of the whole frame.

    Args:
        crop: (h, w) bool.
        corner_xy: x, y of the crop's top left pixel in the frame; the crop may stick out and is cut.
        size_hw: height and width of the frame.
    """
    (x, y), (height, width) = corner_xy, size_hw
    left, top = min(max(x, 0), width), max(y, 0)
    right, bottom = max(min(x + crop.shape[1], width), left), min(y + crop.shape[0], height)
    end = min(right + 1, width)  # with a free column behind, the last run is one of zeros, which goes on to the frame's
    strip = np.zeros((height, end - left), dtype=np.uint8, order="F")
    if top < bottom:
        strip[top:bottom, : right - left] = crop[top - y : bottom - y, left - x : right - x]
    counts = coco_mask.encode(strip)["counts"]
    first = next(k for k, digit in enumerate(counts, 1) if not _goes_on(digit))
    counts = _number(_value(counts[:first]) + left * height) + counts[first:]
    if end < width:
        last = next(k for k in range(len(counts) - 1, -1, -1) if k == 0 or not _goes_on(counts[k - 1]))
        counts = counts[:last] + _number(_value(counts[last:]) + (width - end) * height)
    return Rle(size=[int(height), int(width)], counts=counts)


def _goes_on(digit: int) -> bool:
    return bool((digit - 48) & 0x20)


def _value(text: bytes) -> int:
    """Read a number of compressed counts: digits of 5 bits, the lowest first, the highest bit being the sign."""
    value = sum(((digit - 48) & 0x1F) << 5 * place for place, digit in enumerate(text))
    return value - (1 << 5 * len(text)) if (text[-1] - 48) & 0x10 else value


def _number(value: int) -> bytes:
    """Write a number as `_value` reads it, in as few digits as it takes."""
    digits = bytearray()
    while True:
        digit, value = value & 0x1F, value >> 5
        if value == (-1 if digit & 0x10 else 0):
            return bytes([*digits, digit + 48])
        digits.append((digit | 0x20) + 48)


def decode(rle: Rle) -> np.ndarray:
    """Decode to an (H, W) bool array."""
    return np.ascontiguousarray(coco_mask.decode(rle)).view(bool)


def decode_box(rle: Rle, box: tuple[int, int, int, int]) -> np.ndarray:
    """Decode what is in a box x, y, width, height within the frame, (h, w) bool; nothing else is ever in memory."""
    x, y, w, h = box
    height = rle["size"][0]
    ends = np.clip(np.cumsum(_run_lengths(rle["counts"])) - x * height, 0, w * height)
    columns = np.repeat(np.arange(len(ends)) % 2 == 1, np.diff(ends, prepend=0))
    return np.ascontiguousarray(columns.reshape(w, height)[:, y : y + h].T)


def _run_lengths(counts: bytes | str) -> np.ndarray:
    """Read compressed counts: digits of 5 bits, the lowest first; the fourth and later ones add to the last but one."""
    text = counts.encode("ascii") if isinstance(counts, str) else counts
    digits = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(digits & 0x20 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(digits)) - np.repeat(starts, np.diff(ends, prepend=-1))
    values = np.add.reduceat((digits & 0x1F) << 5 * place, starts)
    values -= np.where(digits[ends] & 0x10, 1 << 5 * (place[ends] + 1), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def area_px(rle: Rle) -> int:
    """Count the true pixels."""
    return int(coco_mask.area(rle))


def box_xywh(rle: Rle) -> tuple[int, int, int, int]:
    """Return the tight box x, y, width, height in pixels; all zero for an empty mask."""
    x, y, w, h = (int(v) for v in coco_mask.toBbox(rle))
    return x, y, w, h


def areas_px(rles: Sequence[Rle]) -> np.ndarray:
    """Count the true pixels of N masks: (N,) int64; many at a time cost a fraction of `area_px` each."""
    return np.concatenate([np.zeros(0), *map(coco_mask.area, _parts(rles))]).astype(np.int64)


def boxes_xywh(rles: Sequence[Rle]) -> np.ndarray:
    """Return the tight boxes of N masks: (N, 4) int64, as `box_xywh` has them."""
    return np.concatenate([np.zeros((0, 4)), *map(coco_mask.toBbox, _parts(rles))]).astype(np.int64)


def _parts(rles: Sequence[Rle]) -> Iterator[list[Rle]]:
    """Part a long list: pycocotools counts the numbers it is to return in 8 bits, and numpy 2 refuses to overflow."""
    remaining = iter(rles)
    while part := list(islice(remaining, 63)):
        yield part


def from_polygons(polygons: Sequence[Sequence[float]], size_hw: tuple[int, int]) -> Rle:
    """Rasterise the union of flat polygons [x0, y0, x1, y1, ...] in image pixels, of at least 3 points each."""
    return from_many_polygons([polygons], size_hw)[0]


def from_many_polygons(
    objects: Sequence[Sequence[Sequence[float] | np.ndarray]], size_hw: tuple[int, int]
) -> list[Rle]:
    """Rasterise N objects of one frame, each the union of its polygons; see `from_polygons`."""
    height, width = size_hw
    outlines = [np.asarray(polygon, dtype=np.float64) for polygons in objects for polygon in polygons]
    parts = iter(coco_mask.frPyObjects(outlines, height, width) if outlines else ())
    masks = [list(islice(parts, len(polygons))) for polygons in objects]
    return [Rle(size=[height, width], counts=_merged(mask)["counts"]) for mask in masks]


def _merged(rles: list[Any]) -> Any:
    return rles[0] if len(rles) == 1 else coco_mask.merge(rles)


def from_uncompressed(counts: Sequence[int], size_hw: tuple[int, int]) -> Rle:
    """Compress a list of run lengths (column-major, starting with zeros)."""
    height, width = size_hw
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": list(counts)}, height, width)
    return Rle(size=[height, width], counts=rle["counts"])


def union(first: Rle, *others: Rle) -> Rle:
    """Return the pixels that are in any."""
    rle = _merged([first, *others])
    return Rle(size=[int(v) for v in rle["size"]], counts=rle["counts"])


def intersection_px(first: Rle, second: Rle) -> int:
    """Count the pixels that are in both."""
    return int(coco_mask.area(coco_mask.merge([first, second], intersect=True)))


def iou(first: Rle, second: Rle) -> float:
    """Return the intersection over the union of two masks of one size; 0 of two empty ones."""
    shared_px = intersection_px(first, second)
    return shared_px / max(area_px(first) + area_px(second) - shared_px, 1)


def intersections_px(first: Sequence[Rle], second: Sequence[Rle]) -> np.ndarray:
    """Count the pixels that each of N masks has in common with each of M: (N, M) int64; cheaper than one by one.

    pycocotools divides the intersection by the area of the first where the second counts as crowd; with areas of at
    most 2**28 pixels, multiplying brings the whole number back exactly.
    """
    if not first or not second:
        return np.zeros((len(first), len(second)), dtype=np.int64)
    shares = coco_mask.iou(list(first), list(second), [1] * len(second))
    return np.rint(shares * areas_px(first)[:, None]).astype(np.int64)


def to_json(rle: Rle) -> dict[str, Any]:
    """Return the COCO JSON form: `counts` as a string."""
    return {"size": [int(rle["size"][0]), int(rle["size"][1])], "counts": rle["counts"].decode("ascii")}


class Rle(TypedDict):
    """A compressed run-length mask as pycocotools uses it: `size` is [height, width], `counts` ASCII bytes."""

    size: list[int]
    counts: bytes
