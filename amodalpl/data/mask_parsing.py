"""Masks as JSON has them (polygons, compressed or uncompressed RLE) to checked compressed RLE.

pycocotools believes what it is given: counts of the wrong sum read or write past the end of an array, and a far-off
corner makes a polygon's outline fill the memory. Everything is therefore checked here first, compressed counts and
polygons many at a time because they are most of a large file.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from ..io.parallel import map_sent
from ..masks import rle
from ..masks.rle import Rle

NO_MASK = "no mask"
MAX_POLYGONS = 10_000
MAX_POINTS = 2**20  # of one object
MAX_COORDINATE_PX = 2**17
MAX_OUTLINE_PX = 2**22
MAX_RUNS = 2**22  # numbers or characters in one RLE; a real mask has thousands
_BATCH_CHARS = 2**18  # larger batches leave the cache and are slower
_NUMBERS = {int, float}

T = TypeVar("T")


def brief(value: Any) -> str:
    """Return a value for a message, cut to one short line.

    >>> brief("x" * 100)[-8:]
    'xxxxx...'
    """
    kind = type(value)
    if kind not in (str, int, float, bool, list, tuple):
        return kind.__name__
    if kind is int and value.bit_length() > 256:
        return "a huge number"
    text = repr(value[:60] if isinstance(value, (str, list, tuple)) else value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class _Drawn:
    """Sound polygons of N objects, on their way to being rasterised.

    Attributes:
        indices: of the objects among all masks.
        points: (P, 2) float64 x, y of all polygons, one after another.
        ends: one past the last point of each polygon.
        counts: (N,) int, polygons of each object.
        low, high: (N, 2) float64, least and most x, y of each object.
        sizes_hw: N sizes of their photos.
    """

    indices: list[int]
    points: np.ndarray
    ends: np.ndarray
    counts: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sizes_hw: list[tuple[int, int]]


def read_masks(values: Sequence[Any], sizes_hw: Sequence[tuple[int, int]]) -> list[Rle | str]:
    """Read masks in any of COCO's spellings.

    Args:
        values: N raw values.
        sizes_hw: N sizes of the photos they are in.

    Returns:
        N masks with at least one pixel, or the reason why there is none ("kind: detail").
    """
    return next(read_batches([(None, values, sizes_hw)]))[1]


def mend(value: Any, size_hw: tuple[int, int]) -> tuple[Any, str] | None:
    """Recover what can be used of a mask that `read_masks` refuses, as tools that read such files do.

    Args:
        value: as the file has it.
        size_hw: of the photo.

    Returns:
        A mask that is sound, and what was done ("kind: detail"); None when nothing can be recovered.

    >>> mend([[5, 5, 9, 5, 9, 9], [1, 2]], (40, 60))
    ([[5, 5, 9, 5, 9, 9]], 'bad part of a mask: left out 1 of 2 parts (polygon with fewer than 3 points: got 1)')
    """
    if isinstance(value, dict):
        return _mend_rle(value, size_hw)
    if not isinstance(value, list) or not 0 < len(value) <= MAX_POLYGONS:
        return None
    is_one = not isinstance(value[0], list) or (len(value) > 2 and all(_is_point(point) for point in value))
    given = [value] if is_one else value
    parts = [_plain_numbers(part) for part in given]
    reasons = [reason for part in parts if isinstance(reason := _from_polygons([part], size_hw), str)]
    kept = [part for part in parts if not isinstance(_from_polygons([part], size_hw), str)]
    if not kept:
        return None
    if reasons:
        return kept, f"bad part of a mask: left out {len(reasons)} of {len(parts)} parts ({reasons[0]})"
    return kept, "spelling of a mask: points or texts read as plain numbers"


def _plain_numbers(part: Any) -> Any:
    """Return a polygon as a flat list of numbers where it is made of points or of numbers as text."""
    if isinstance(part, list) and part and all(map(_is_point, part)):
        part = [point[key] for point in part for key in (("x", "y") if isinstance(point, dict) else (0, 1))]
    return [as_number(value) for value in part] if isinstance(part, list) else part


def _is_point(value: Any) -> bool:
    """Tell a pair, or an object of x and y."""
    return {"x", "y"} <= value.keys() if isinstance(value, dict) else isinstance(value, list) and len(value) == 2


def as_number(value: Any) -> Any:
    """Return the number that a text spells, whole where it is; any other value as it is.

    >>> as_number("7"), as_number("2.5"), as_number("x"), as_number(1.0)
    (7, 2.5, 'x', 1)
    """
    try:
        number = float(value) if isinstance(value, str) and len(value) < 40 and "_" not in value else value
    except ValueError:
        return value
    return int(number) if isinstance(number, float) and number.is_integer() and abs(number) < 2**63 else number


def stated_size_hw(height: Any, width: Any) -> tuple[int, int] | None:
    """Return the size that a file states for a photo, in numbers or in text; None where it states none.

    >>> stated_size_hw("480", 640), stated_size_hw(None, 640)
    ((480, 640), None)
    """
    height, width = as_number(height), as_number(width)
    return (height, width) if type(height) is int and type(width) is int else None


def _mend_rle(value: dict[str, Any], size_hw: tuple[int, int]) -> tuple[Any, str] | None:
    """Read sizes and counts as text, decimals or bytes, and pad runs that stop short, as pycocotools decodes them."""
    size, counts = value.get("size"), value.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not _same_size([as_number(side) for side in size], size_hw):
        return None
    done = "spelling of a mask: text or decimals read as whole numbers"
    if isinstance(counts, str) and counts[:2] in ("b'", 'b"') and counts[-1] == counts[1]:
        counts = counts[2:-1].replace("\\\\", "\\")
    if isinstance(counts, str) and 0 < len(counts) <= MAX_RUNS:
        runs = CompressedRuns([counts.encode("utf-8", "surrogatepass")])
        plain = runs.counts_of(0) if runs.readable[0] else None
    else:
        plain = [as_number(count) for count in counts] if isinstance(counts, list) and len(counts) <= MAX_RUNS else None
    total = size_hw[0] * size_hw[1]
    if not plain or any(type(count) is not int or not 0 <= count <= total for count in plain):
        return None
    missing = total - sum(plain)
    if missing > 0:
        done = f"RLE that stops short: {missing} of {total} pixels taken as empty"
        plain = [*plain, missing] if len(plain) % 2 == 0 else [*plain[:-1], plain[-1] + missing]
    mended = {"size": [*size_hw], "counts": plain}
    return None if isinstance(_from_uncompressed(plain, size_hw), str) else (mended, done)


def read_batches(
    batches: Iterable[tuple[T, Sequence[Any], Sequence[tuple[int, int]]]],
) -> Iterator[tuple[T, list[Rle | str]]]:
    """Do what `read_masks` does for batches of a few thousand; helpers of `parallel.helpers` draw the polygons.

    Args:
        batches: of each whose masks they are, raw values, and sizes of the photos. Some are taken ahead, so that
            helpers have work.

    Yields:
        Of each whose masks they are, and the masks, in the order of the batches.
    """
    begun: deque[tuple[T, list[Rle | str]]] = deque()

    def begin() -> Iterator[list[_Drawn]]:
        for owner, values, sizes_hw in batches:
            masks, drawn = _begin(values, sizes_hw)
            begun.append((owner, masks))
            yield drawn

    for found in map_sent(_rasterise_all, begin()):
        owner, masks = begun.popleft()
        for index, mask in found:
            masks[index] = mask
        yield owner, masks


def _begin(values: Sequence[Any], sizes_hw: Sequence[tuple[int, int]]) -> tuple[list[Rle | str], list[_Drawn]]:
    """Read all but sound polygons, which are returned apart; in their place stands an empty reason."""
    masks: list[Rle | str] = []
    compressed: list[int] = []
    drawn: list[int] = []
    for value, size_hw in zip(values, sizes_hw, strict=True):
        if isinstance(value, dict):
            counts = value.get("counts")
            if not _same_size(value.get("size"), size_hw):
                masks.append(
                    f"RLE of the wrong size: expected {list(size_hw)} as its photo, got {brief(value.get('size'))}"
                )
            elif isinstance(counts, (str, list)) and len(counts) > MAX_RUNS:
                masks.append(f"corrupt RLE: expected counts of at most {MAX_RUNS} entries, got {len(counts)}")
            elif isinstance(counts, str):
                compressed.append(len(masks))
                masks.append(Rle(size=[*size_hw], counts=counts.encode("utf-8", "surrogatepass")))
            elif isinstance(counts, list):
                masks.append(_from_uncompressed(counts, size_hw))
            else:
                masks.append(f"corrupt RLE: expected counts as text or a list, got {brief(counts)}")
        elif isinstance(value, list) and value:
            drawn.append(len(masks))
            masks.append("")
        elif isinstance(value, list):
            masks.append(f"{NO_MASK}: expected polygons or RLE, got an empty list")
        else:
            masks.append(f"{NO_MASK}: expected polygons or RLE, got {type(value).__name__}")
    for batch in _batches(compressed, masks):
        _check_compressed(batch, masks)
    return masks, list(_sound_polygons(drawn, values, sizes_hw, masks)) if drawn else []


def _same_size(size: Any, size_hw: tuple[int, int]) -> bool:
    return (
        isinstance(size, list)
        and len(size) == 2
        and type(size[0]) is int
        and type(size[1]) is int
        and size[0] == size_hw[0]
        and size[1] == size_hw[1]
    )


def _sound_polygons(
    indices: list[int], values: Sequence[Any], sizes_hw: Sequence[tuple[int, int]], masks: list[Rle | str]
) -> Iterator[_Drawn]:
    """Yield the polygons at `indices` that are plainly sound; others are read into `masks` one by one."""
    objects = [_polygons(values[index]) for index in indices]
    points = _points(objects)
    if points is None and len(indices) == 1:
        masks[indices[0]] = _from_polygons(objects[0], sizes_hw[indices[0]])
        return
    if points is None:
        middle = len(indices) // 2
        yield from _sound_polygons(indices[:middle], values, sizes_hw, masks)
        yield from _sound_polygons(indices[middle:], values, sizes_hw, masks)
        return
    ends = np.cumsum([len(polygon) // 2 for polygons in objects for polygon in polygons])
    starts = np.append(0, ends[:-1])
    counts = np.array([len(polygons) for polygons in objects])
    firsts = np.cumsum(counts) - counts  # the first polygon of each object
    low, high = np.minimum.reduceat(points, starts[firsts]), np.maximum.reduceat(points, starts[firsts])  # (N, 2)
    with np.errstate(over="ignore"):  # such coordinates are not within
        length = (points_each := np.add.reduceat(ends - starts, firsts)) * (high - low).max(axis=1)
    within = np.maximum(-low, high).max(axis=1) <= MAX_COORDINATE_PX
    small = (length <= MAX_OUTLINE_PX) & (counts <= MAX_POLYGONS) & (points_each <= MAX_POINTS) & within
    if small.all():
        yield _Drawn(indices, points, ends, counts, low, high, [sizes_hw[index] for index in indices])
        return
    for at in np.flatnonzero(~small).tolist():
        masks[indices[at]] = _from_polygons(objects[at], sizes_hw[indices[at]])
    if small.any():
        kept = [indices[at] for at in np.flatnonzero(small).tolist()]
        yield from _sound_polygons(kept, values, sizes_hw, masks)


def _rasterise_all(parts: list[_Drawn]) -> list[tuple[int, Rle | str]]:
    """Return index and mask, or the reason why there is none, of every object."""
    return [found for part in parts for found in _rasterise(part)]


def _rasterise(drawn: _Drawn) -> Iterator[tuple[int, Rle | str]]:
    outlines = [outline.reshape(-1) for outline in np.split(drawn.points, drawn.ends[:-1])]
    lasts = np.cumsum(drawn.counts)
    firsts = lasts - drawn.counts
    groups = defaultdict(list)  # pycocotools takes many polygons of one frame
    for at, size_hw in enumerate(drawn.sizes_hw):
        groups[size_hw].append(at)
    for size_hw, group in groups.items():
        masks = rle.from_many_polygons([outlines[firsts[at] : lasts[at]] for at in group], size_hw)
        for at, mask, area_px in zip(group, masks, rle.areas_px(masks).tolist(), strict=True):
            yield drawn.indices[at], mask if area_px else _why_empty(drawn.low[at], drawn.high[at], size_hw)


def _polygons(value: list[Any]) -> list[Any]:
    return value if isinstance(value[0], (list, dict)) else [value]  # a flat list is one polygon, as in COCOA


def _points(objects: Sequence[list[Any]]) -> np.ndarray | None:
    """Return the points of all polygons of all objects, one after another.

    Returns:
        (P, 2) float64 x, y; None if a polygon is not a list of at least 3 pairs of finite numbers.
    """
    polygons = list(chain.from_iterable(objects))
    if not all(type(polygon) is list and len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in polygons):
        return None
    if not _NUMBERS.issuperset(map(type, chain.from_iterable(polygons))):
        return None
    try:
        numbers = np.fromiter(chain.from_iterable(polygons), np.float64, sum(map(len, polygons)))
    except OverflowError:  # a whole number too large for a float
        return None
    return numbers.reshape(-1, 2) if np.isfinite(numbers).all() else None


def _why_empty(low_xy: Sequence[float], high_xy: Sequence[float], size_hw: tuple[int, int]) -> str:
    if min(high_xy) <= 0 or low_xy[0] >= size_hw[1] or low_xy[1] >= size_hw[0]:
        return "mask outside the photo"
    return "empty mask: the polygon covers no pixel"


def _from_polygons(polygons: list[Any], size_hw: tuple[int, int]) -> Rle | str:
    if len(polygons) > MAX_POLYGONS:
        return f"too many polygons: expected at most {MAX_POLYGONS}, got {len(polygons)}"
    most = sum(len(polygon) for polygon in polygons if isinstance(polygon, list)) // 2
    if most > MAX_POINTS:
        return f"too many points: expected at most {MAX_POINTS}, got {most}"
    low_x = low_y = math.inf
    high_x = high_y = -math.inf
    points = 0
    for polygon in polygons:
        if not isinstance(polygon, list):
            return f"malformed polygon: expected a list of coordinates, got {brief(polygon)}"
        if not _NUMBERS.issuperset(map(type, polygon)):
            return (
                f"malformed polygon: expected numbers, got {brief(next(v for v in polygon if type(v) not in _NUMBERS))}"
            )
        if len(polygon) % 2:
            return f"malformed polygon: expected pairs of x and y, got {len(polygon)} numbers"
        if len(polygon) < 6:
            return f"polygon with fewer than 3 points: got {len(polygon) // 2}"
        if not _all_finite(polygon):
            return "malformed polygon: expected finite coordinates, got NaN or infinity"
        xs, ys = polygon[::2], polygon[1::2]
        low_x, high_x = min(low_x, *xs), max(high_x, *xs)
        low_y, high_y = min(low_y, *ys), max(high_y, *ys)
        points += len(xs)
    if max(-low_x, -low_y, high_x, high_y) > MAX_COORDINATE_PX:
        if high_x <= 0 or high_y <= 0 or low_x >= size_hw[1] or low_y >= size_hw[0]:
            return "mask outside the photo"
        return f"polygon too large: expected coordinates within {MAX_COORDINATE_PX} pixels"
    extent = max(high_x - low_x, high_y - low_y)
    if points * extent > MAX_OUTLINE_PX and (outline_px := sum(map(_outline_px, polygons))) > MAX_OUTLINE_PX:
        return f"polygon too large: expected an outline of at most {MAX_OUTLINE_PX} pixels, got {outline_px:.0f}"
    mask = rle.from_polygons(polygons, size_hw)
    return mask if rle.area_px(mask) else _why_empty((low_x, low_y), (high_x, high_y), size_hw)


def _all_finite(numbers: list[Any]) -> bool:
    try:
        return math.isfinite(sum(numbers)) or all(map(math.isfinite, numbers))
    except OverflowError:  # a whole number too large for a float
        return False


def _outline_px(polygon: list[Any]) -> float:
    """Return how many pixels a closed outline passes."""
    points = np.array(polygon, dtype=np.float64).reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def _from_uncompressed(counts: list[Any], size_hw: tuple[int, int]) -> Rle | str:
    total = size_hw[0] * size_hw[1]
    if any(type(c) is not int or not 0 <= c <= total for c in counts):
        wrong = next(c for c in counts if type(c) is not int or not 0 <= c <= total)
        return f"corrupt RLE: expected run lengths of 0 to {total}, got {brief(wrong)}"
    if sum(counts) != total:
        return f"corrupt RLE: expected runs over {total} pixels, got {sum(counts)}"
    if not any(counts[1::2]):
        return "empty mask: the RLE has no true pixel"
    return rle.from_uncompressed(_without_empty_runs(counts), size_hw)


def _without_empty_runs(counts: list[int]) -> list[int]:
    """Join runs that an empty run parts: pycocotools' merge stops at two empty runs that meet.

    >>> _without_empty_runs([0, 2, 0, 1, 3, 0])
    [0, 3, 3]
    """
    if 0 not in counts[1:]:
        return counts
    joined = [0]
    value = 0  # of the last run in `joined`
    for index, count in enumerate(counts):
        if count == 0:
            continue
        if index % 2 != value:
            joined.append(0)
            value = index % 2
        joined[-1] += count
    return joined


def _batches(indices: list[int], masks: list[Any]) -> Iterator[list[int]]:
    """Part indices of compressed masks into groups whose texts together stay small."""
    group: list[int] = []
    chars = 0
    for index in indices:
        group.append(index)
        chars += len(masks[index]["counts"])
        if chars >= _BATCH_CHARS:
            yield group
            group, chars = [], 0
    if group:
        yield group


def _check_compressed(indices: list[int], masks: list[Any]) -> None:
    """Check the compressed masks at `indices`; the bad ones are replaced by a reason."""
    for index in indices:
        if not masks[index]["counts"]:
            masks[index] = "corrupt RLE: the counts are empty text"
    indices = [index for index in indices if not isinstance(masks[index], str)]
    if not indices:
        return
    sizes = [masks[index]["size"] for index in indices]
    runs = CompressedRuns([masks[index]["counts"] for index in indices])
    expected = np.array([h * w for h, w in sizes], dtype=np.int64)
    good = runs.readable & (runs.total_px == expected) & (runs.area_px > 0) & ~runs.has_empty_runs
    for at in np.flatnonzero(~good):
        index, (height, width) = indices[at], sizes[at]
        if not runs.readable[at]:
            masks[index] = "corrupt RLE: the counts are not in COCO's compressed spelling"
        elif runs.total_px[at] != expected[at]:
            masks[index] = f"corrupt RLE: expected runs over {expected[at]} pixels, got {runs.total_px[at]}"
        elif runs.area_px[at] == 0:
            masks[index] = "empty mask: the RLE has no true pixel"
        else:
            masks[index] = rle.from_uncompressed(_without_empty_runs(runs.counts_of(int(at))), (height, width))


class CompressedRuns:
    """Run lengths out of COCO's compressed texts, all at once and without trusting them.

    COCO writes a count in groups of 5 bits, lowest first, one character (48 + bits) per group; bit 32 says that more
    groups follow, bit 16 of the last is the sign. From the fourth count on, the difference to the count two before is
    written (`rleToString` in pycocotools' maskApi.c).

    Attributes:
        readable: (N,) bool, the text is in that spelling and has no negative or oversized count.
        total_px: (N,) int64, the sum of the counts; must equal height times width.
        area_px: (N,) int64, the sum of the runs of true pixels.
        has_empty_runs: (N,) bool, a count after the first is zero.

    >>> runs = CompressedRuns([b"012", b"0o"])
    >>> runs.counts_of(0), runs.readable.tolist()
    ([0, 1, 2], [True, False])
    """

    def __init__(self, texts: Sequence[bytes]) -> None:
        codes = np.frombuffer(b"".join(texts), dtype=np.uint8) - np.uint8(48)  # characters below "0" wrap above 63
        text_lengths = np.array([len(text) for text in texts])
        text_ends = np.cumsum(text_lengths)
        text_starts = text_ends - text_lengths
        is_last = codes & 0x20 == 0
        self.readable = (np.maximum.reduceat(codes, text_starts) < 64) & is_last[text_ends - 1]
        is_last[text_ends - 1] = True  # a cut text must not run into the next one
        ends = np.flatnonzero(is_last)
        starts = np.append(0, ends[:-1] + 1)
        groups = ends - starts + 1
        number_starts = np.searchsorted(starts, text_starts)
        numbers = np.diff(np.append(number_starts, len(starts)))
        self.readable &= np.maximum.reduceat(groups, number_starts) <= 6  # 28 bits, a difference and its sign
        bits = codes & 0x1F
        values = bits[starts].astype(np.int64)
        for group in range(1, 6):  # most numbers have one or two groups
            longer = np.flatnonzero(groups > group)
            values[longer] |= bits[starts[longer] + group].astype(np.int64) << 5 * group
        negative = np.flatnonzero(codes[ends] & 0x10)
        values[negative] -= np.int64(1) << 5 * np.minimum(groups[negative], 6)
        position = np.arange(len(values)) - np.repeat(number_starts, numbers)  # of a number in its text
        odd = position % 2 == 1
        self._counts = counts = values.copy()
        for row in (odd, ~odd & (position > 0)):  # counts 1, 3, 5, ... and 2, 4, 6, ... are running sums
            sums = np.cumsum(np.where(row, values, 0))
            counts[row] = (sums - np.repeat(sums[number_starts], numbers))[row]
        self.readable &= np.minimum.reduceat(counts, number_starts) >= 0
        self.readable &= np.maximum.reduceat(counts, number_starts) <= 2**28
        bounded = np.clip(counts, 0, 2**28)
        self.total_px = np.add.reduceat(bounded, number_starts)
        self.area_px = np.add.reduceat(np.where(odd, bounded, 0), number_starts)
        self.has_empty_runs = np.logical_or.reduceat((counts == 0) & (position > 0), number_starts)
        self._number_starts, self._numbers = number_starts, numbers

    def counts_of(self, index: int) -> list[int]:
        """Return the run lengths of one text: column-major, false pixels first."""
        start = self._number_starts[index]
        return self._counts[start : start + self._numbers[index]].tolist()
