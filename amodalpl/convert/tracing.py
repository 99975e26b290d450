"""Masks in pixels as polygons along the borders of the pixels: rasterised again, they are the same pixels."""

from __future__ import annotations

import numpy as np

from ..masks import rle
from .hub import Outline

Ring = tuple[float, ...]


def rings(outline: Outline) -> tuple[Ring, ...]:
    """Return polygons whose union is the mask; those of a polygon outline are its own.

    Pieces that touch at a corner only are apart. A hole is reached through a slit without width, because formats of
    polygons know no holes.

    >>> mask = np.zeros((4, 4), dtype=bool)
    >>> mask[1:3, 1:4] = True
    >>> rings(Outline(rle=rle.encode(mask)))
    ((1.0, 1.0, 1.0, 3.0, 4.0, 3.0, 4.0, 1.0),)
    """
    if outline.rle is None:
        return outline.polygons
    x, y, width, height = rle.box_xywh(outline.rle)
    mask = rle.decode(outline.rle)[y : y + height, x : x + width]
    outer: list[list[tuple[int, int]]] = []
    holes: list[list[tuple[int, int]]] = []
    for loop in _loops(mask):
        (outer if _doubled_area(loop) < 0 else holes).append(loop)
    for hole in sorted(holes, key=lambda loop: min(loop)):  # from the left, so that what a slit meets is in place
        _cut_open(outer, hole)
    return tuple(_flat(_corners(loop), x, y) for loop in outer)


def one_ring(outline: Outline, size_hw: tuple[int, int]) -> Ring:
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
            return _joined(rings(Outline(rle=union)))
    return joined


def _joined(parts: tuple[Ring, ...]) -> Ring:
    """Join polygons into one by slits without width; the same pixels where the polygons do not overlap."""
    first, *others = (list(zip(part[::2], part[1::2], strict=True)) for part in parts)
    for other in others:
        at = first[-1]
        start = min(range(len(other)), key=lambda i: (other[i][0] - at[0]) ** 2 + (other[i][1] - at[1]) ** 2)
        first += [*other[start:], *other[:start], other[start], at]
    return tuple(value for point in first for value in point)


def _loops(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Walk along the borders, true pixels on the left hand (y points down): outlines and holes differ in direction."""
    padded = np.pad(mask, 1).astype(np.int8)
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}
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
    while steps:
        start = at = min(steps)
        before = None
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
        loops.append(loop)
    return loops


def _left_of(direction: tuple[int, int]) -> tuple[int, int]:
    return direction[1], -direction[0]


def _closes(before: tuple[int, int], at: tuple[int, int], choices: list[tuple[int, int]]) -> bool:
    """Tell whether a walk that is back at its start is complete; the other way on belongs to another piece."""
    turn = _left_of((at[0] - before[0], at[1] - before[1]))
    return all((c[0] - at[0], c[1] - at[1]) != turn for c in choices)


def _cut_open(outer: list[list[tuple[int, int]]], hole: list[tuple[int, int]]) -> None:
    """Join a hole to the outline left of it, by a level slit from its leftmost corner."""
    x, y = start = min(hole)
    reach = -1
    for index, loop in enumerate(outer):
        for position, point in enumerate(loop):
            if point[1] == y and reach < point[0] <= x:
                reach, met, place = point[0], index, position
    turned = hole[hole.index(start) :] + hole[: hole.index(start)]
    outer[met][place + 1 : place + 1] = [*turned, start, outer[met][place]]


def _corners(loop: list[tuple[int, int]]) -> list[tuple[int, int]]:
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


def _doubled_area(loop: list[tuple[int, int]]) -> int:
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(loop, loop[1:] + loop[:1], strict=True))


def _flat(points: list[tuple[int, int]], x: int, y: int) -> Ring:
    return tuple(float(value) for px, py in points for value in (px + x, py + y))
