"""Masks in pixels as polygons along the borders of the pixels: rasterised again, they are the same pixels."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict

import numpy as np

from ..masks import rle
from .records import Mask

Ring = tuple[float, ...]
Loop = list[tuple[int, int]]  # corners of pixels, each a step from the one before


def rings(outline: Mask) -> tuple[Ring, ...]:
    """Return polygons whose union is the mask; those of a polygon outline are its own.

    Pieces that touch at a corner only are apart. A hole is reached through a slit without width, because formats of
    polygons know no holes.

    >>> mask = np.zeros((4, 4), dtype=bool)
    >>> mask[1:3, 1:4] = True
    >>> rings(Mask(rle=rle.encode(mask)))
    ((1.0, 1.0, 1.0, 3.0, 4.0, 3.0, 4.0, 1.0),)
    """
    if outline.rle is None:
        return outline.polygons
    x, y, width, height = box = rle.box_xywh(outline.rle)
    mask = rle.decode_box(outline.rle, box)
    outer: list[Loop] = []
    holes: list[Loop] = []
    for loop in _loops(mask):
        (outer if _doubled_area(loop) < 0 else holes).append(loop)
    return tuple(_flat(_corners(loop), x, y) for loop in _cut_open(outer, holes))


def one_ring(outline: Mask, size_hw: tuple[int, int]) -> Ring:
    """Return one polygon of the same pixels, for formats that allow no more.

    Polygons that overlap would leave a hole where they do, so their union is traced along pixels instead.

    Args:
        outline: the mask.
        size_hw: of its photo.
    """
    parts = rings(outline)
    joined = _joined(parts)
    if outline.rle is None and len(parts) > 1:
        union = rle.from_polygons(parts, size_hw)
        if rle.area_px(union) not in (0, rle.area_px(rle.from_polygons([joined], size_hw))):
            return _joined(rings(Mask(rle=union)))
    return joined


def _joined(parts: tuple[Ring, ...]) -> Ring:
    """Join polygons into one by slits without width; the same pixels where the polygons do not overlap."""
    first, *others = (list(zip(part[::2], part[1::2], strict=True)) for part in parts)
    for other in others:
        at = first[-1]
        start = min(range(len(other)), key=lambda i: (other[i][0] - at[0]) ** 2 + (other[i][1] - at[1]) ** 2)
        first += [*other[start:], *other[:start], other[start], at]
    return tuple(value for point in first for value in point)


def _loops(mask: np.ndarray) -> list[Loop]:
    """Walk along the borders, true pixels on the left hand (y points down): outlines and holes differ in direction."""
    padded = np.pad(mask, 1).astype(np.int8)
    steps: dict[tuple[int, int], Loop] = {}
    down = np.diff(padded, axis=1)[1:-1]  # (H, W + 1): what changes across each vertical border
    across = np.diff(padded, axis=0)[:, 1:-1]  # (H + 1, W)
    for y, x in np.argwhere(down == 1).tolist():
        steps.setdefault((x, y), []).append((x, y + 1))
    for y, x in np.argwhere(down == -1).tolist():
        steps.setdefault((x, y + 1), []).append((x, y))
    for y, x in np.argwhere(across == 1).tolist():
        steps.setdefault((x + 1, y), []).append((x, y))
    for y, x in np.argwhere(across == -1).tolist():
        steps.setdefault((x, y), []).append((x + 1, y))
    loops = []
    for start in sorted(steps):
        while start in steps:
            loops.append(_walk(steps, start))
    return loops


def _walk(steps: dict[tuple[int, int], Loop], start: tuple[int, int]) -> Loop:
    """Take the steps of one border out, from a corner until it is met again."""
    at, before = start, None
    loop = []
    while at in steps:
        choices = steps[at]
        step = choices[0]
        if len(choices) == 2 and before is not None:  # two pixels touch at this corner: stay with the one we are at
            turn = _left_of((at[0] - before[0], at[1] - before[1]))
            step = next(c for c in choices if (c[0] - at[0], c[1] - at[1]) == turn)
        choices.remove(step)
        if not choices:
            del steps[at]
        loop.append(at)
        before, at = at, step
        if at == start and (at not in steps or _closes(before, at, steps[at])):
            break
    return loop


def _left_of(direction: tuple[int, int]) -> tuple[int, int]:
    return direction[1], -direction[0]


def _closes(before: tuple[int, int], at: tuple[int, int], choices: Loop) -> bool:
    """Tell whether a walk that is back at its start is complete; the other way on belongs to another piece."""
    turn = _left_of((at[0] - before[0], at[1] - before[1]))
    return all((c[0] - at[0], c[1] - at[1]) != turn for c in choices)


def _cut_open(outer: list[Loop], holes: list[Loop]) -> list[Loop]:
    """Join every hole to the outline left of it, by a level slit from its leftmost corner.

    Loops are held as linked corners, and corners by their rows: masks of noise have thousands of holes.
    """
    corners: Loop = []
    after: list[int] = []  # of each corner, the number of the next one in its loop
    rows: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)  # y to x and number, in order

    def chain(loop: Loop, follower: int) -> int:
        first = len(corners)
        for number, (x, y) in enumerate(loop, first):
            insort(rows[y], (x, number))
        corners.extend(loop)
        after.extend([*range(first + 1, len(corners)), follower])
        return first

    heads = [chain(loop, len(corners)) for loop in outer]
    for hole in sorted(holes, key=lambda loop: min(loop)):  # from the left, so that what a slit meets is in place
        x, y = start = min(hole)
        row = rows[y]
        reach = row[bisect_right(row, (x, len(corners))) - 1][0]
        met = row[bisect_left(row, (reach, 0))][1]
        at = hole.index(start)
        after[met] = chain([*hole[at:], *hole[:at], start, corners[met]], after[met])
    return [[corners[number] for number in _around(after, head)] for head in heads]


def _around(after: list[int], head: int) -> list[int]:
    """Return the numbers of a loop's corners, from its head on."""
    numbers = [head]
    while after[numbers[-1]] != head:
        numbers.append(after[numbers[-1]])
    return numbers


def _corners(loop: Loop) -> Loop:
    """Leave out the points of straight stretches."""
    kept = []
    for (x0, y0), (x1, y1), (x2, y2) in zip(loop[-1:] + loop[:-1], loop, loop[1:] + loop[:1], strict=True):
        if (
            (x1 - x0, y1 - y0) == (0, 0)
            or (x1 - x0) * (y2 - y1) == (y1 - y0) * (x2 - x1) == 0
            and ((x1 - x0) * (x2 - x1) > 0 or (y1 - y0) * (y2 - y1) > 0)
        ):
            continue
        kept.append((x1, y1))
    return kept


def _doubled_area(loop: Loop) -> int:
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(loop, loop[1:] + loop[:1], strict=True))


def _flat(points: Loop, x: int, y: int) -> Ring:
    return tuple(float(value) for px, py in points for value in (px + x, py + y))
