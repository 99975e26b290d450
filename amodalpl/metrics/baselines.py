"""Baselines that need no training; every score is shown beside them.

For completion: the modal mask itself, and the convex hull cut to where a neighbour is (the `raw` and `convex` modes of
Zhan et al. 2020, whose hull is cut by the recovered order and not at all without one). For order: the rules of the same
paper, by area, by height in the image, and by whose hull reaches into whom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np

from ..errors import DataError
from ..masks.boxed import BoxedMasks, all_boxed
from ..masks.boxes import tight_box
from ..masks.geometry import count_px, filled_hull

IndexPair = tuple[int, int]


def modal_mask(modal: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Return the visible part as the whole: nothing is hidden.

    Args:
        modal: (H, W) bool.
        neighbours: ignored; there so that all completion baselines are called alike.
    """
    return modal


def convex_hull(modal: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Return the convex hull of the visible part, cut to where something could be in front of it.

    Args:
        modal: (H, W) bool, what is visible of the object.
        neighbours: (H, W) bool, union of the modal masks of its near neighbours.

    Returns:
        (H, W) bool: modal | (hull & neighbours). The hull is that of the pixel centres, its edge included; of an empty
        mask it is empty.

    Raises:
        DataError: the two differ in shape.

    >>> corner = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 1]], bool)
    >>> convex_hull(corner, np.ones((3, 3), bool)).astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    if modal.shape != neighbours.shape:
        raise DataError(f"expected masks of one shape, got modal {modal.shape} and neighbours {neighbours.shape}")
    whole = modal.copy()
    if not modal.any():
        return whole
    x, y, w, h = tight_box(modal)
    window = np.s_[y : y + h, x : x + w]  # a hull never leaves the tight box
    whole[window] |= filled_hull(modal[window]) & neighbours[window]
    return whole


COMPLETION: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "modal mask": modal_mask,
    "convex hull": convex_hull,
}


def order_by_area(
    modal: np.ndarray | BoxedMasks, pairs: Iterable[IndexPair], front: Literal["smaller", "larger"]
) -> set[IndexPair]:
    """Put the smaller or the larger of two neighbours in front.

    Zhan et al. 2020 take the smaller for COCOA (a cup on a table) and the larger for KINS (the nearer car).

    Args:
        modal: N masks, or their (N, H, W) bool stack.
        pairs: indices (i, j) of neighbours.
        front: which one hides the other; of equal areas the first of the pair is in front for "larger", the second
            for "smaller", as in their code.

    Returns:
        Directed pairs (front, back).
    """
    areas = [mask.area_px for mask in all_boxed(modal)]
    first_is_front = {"larger": lambda i, j: areas[i] >= areas[j], "smaller": lambda i, j: areas[i] < areas[j]}[front]
    return {(i, j) if first_is_front(i, j) else (j, i) for i, j in pairs}


def order_by_height(modal: np.ndarray | BoxedMasks, pairs: Iterable[IndexPair]) -> set[IndexPair]:
    """Put the one whose centre of mass is lower in the image in front, as the camera looks down on the ground.

    Args:
        modal: N masks, or their (N, H, W) bool stack.
        pairs: indices (i, j) of neighbours, none of them empty.

    Returns:
        Directed pairs (front, back).
    """
    pairs, masks = list(pairs), all_boxed(modal)
    centre: dict[int, float] = {}
    for i in {i for pair in pairs for i in pair}:
        _, top, _, height = masks[i].box_xywh
        centre[i] = float(np.average(np.arange(top, top + height), weights=masks[i].crop.sum(axis=1)))
    return {(j, i) if centre[i] < centre[j] else (i, j) for i, j in pairs}


def order_by_hull(modal: np.ndarray | BoxedMasks, pairs: Iterable[IndexPair]) -> set[IndexPair]:
    """Put the one in front whose mask is covered more by the other's convex hull; equal covers give no order.

    Args:
        modal: N masks, or their (N, H, W) bool stack.
        pairs: indices (i, j) of neighbours.

    Returns:
        Directed pairs (front, back).
    """
    masks = all_boxed(modal)

    def hull_on(i: int, j: int) -> int:
        mask = masks[i].crop
        return count_px(convex_hull(mask, masks[j][masks[i].window]) & ~mask)

    order = set()
    for i, j in pairs:
        hull_i_on_j, hull_j_on_i = hull_on(i, j), hull_on(j, i)
        if hull_i_on_j != hull_j_on_i:
            order.add((j, i) if hull_i_on_j > hull_j_on_i else (i, j))
    return order


ORDER: dict[str, Callable[[np.ndarray | BoxedMasks, Iterable[IndexPair]], set[IndexPair]]] = {
    "smaller in front": lambda modal, pairs: order_by_area(modal, pairs, "smaller"),
    "larger in front": lambda modal, pairs: order_by_area(modal, pairs, "larger"),
    "lower in front": order_by_height,
    "convex hull": order_by_hull,
}
