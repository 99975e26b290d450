"""How well it is known who hides whom: the papers' O-Acc, and precision and recall of directed pairs.

A pair is (front, back). Truth comes from masks, as in the papers, or from annotated depth (COCOA's `depth_constraint`);
the two are different protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from ..errors import DataError
from ..masks.boxed import BoxedMasks, all_boxed, common_window
from ..masks.boxes import boxes_near
from ..masks.geometry import touch
from ..masks.neighbours import near_pairs

ONE_WAY = "order, O-Acc (PCNet/ASBU)"
DIRECTED = "order, directed pairs (InstaOrder)"
ANNOTATED = "order, annotated depth (COCOA depth_constraint)"

IndexPair = tuple[int, int]
Scores = dict[str, float | int | None]


def bordering_pairs(modal: np.ndarray | BoxedMasks) -> list[IndexPair]:
    """List the pairs (i < j) of masks that overlap or share an edge: "bordering" in Zhan et al. 2020.

    Args:
        modal: N masks, or their (N, H, W) bool stack; empty masks border nothing.
    """
    masks = all_boxed(modal)
    filled = masks.filled
    near = boxes_near(masks.boxes_xywh[filled], masks.boxes_xywh[filled], 0)
    pairs = []
    for a, b in zip(*np.nonzero(np.triu(near, k=1)), strict=True):
        first, second = masks[filled[a]], masks[filled[b]]
        window = common_window(first, second)
        if touch(first[window], second[window]):
            pairs.append((filled[a], filled[b]))
    return pairs


def order_from_masks(
    modal: np.ndarray | BoxedMasks, amodal: np.ndarray | BoxedMasks, gap_px: int = 0, rim_px: int = 1
) -> set[IndexPair]:
    """Tell who hides whom, mutual occlusion allowed: i hides j where i is visible and j continues.

    Masks of another rasteriser overlap their neighbours by a rim of one pixel, which would make nearly every pair a
    mutual one (46 of 50 in a COCO conversion of five COCOA photos; none without the rim, nor in the original). So only
    an overlap that survives an erosion by `rim_px` counts.

    Args:
        modal: N masks, or their (N, H, W) bool stack.
        amodal: likewise.
        gap_px: free pixels between two modal masks that still count as neighbours (`masks.neighbours.near_pairs`).
        rim_px: an overlap must hold a square of side 2 * rim_px + 1 somewhere; 0 counts single pixels.

    Returns:
        Directed pairs (front, back); both directions may be there.

    Raises:
        DataError: the stacks differ in shape.
    """
    seen, whole = _boxed_alike(modal, amodal)
    square = np.ones((2 * rim_px + 1, 2 * rim_px + 1), dtype=np.uint8)
    order = set()
    for pair in near_pairs(seen, gap_px):
        for front, back in (pair, pair[::-1]):
            x, y, w, h = seen[front].box_xywh
            # with the rim, because only what lies outside the image erodes nothing
            window = np.s_[max(y - rim_px, 0) : y + h + rim_px, max(x - rim_px, 0) : x + w + rim_px]
            overlap = (seen[front][window] & whole[back][window]).view(np.uint8)
            if cv2.erode(overlap, square).any():
                order.add((front, back))
    return order


def one_way_order_from_masks(modal: np.ndarray | BoxedMasks, amodal: np.ndarray | BoxedMasks) -> set[IndexPair]:
    """Tell who hides whom as the papers' truth does (`infer_gt_order` of Zhan et al. 2020): one way only.

    Of two bordering masks that reach into each other, the one that hides more pixels is in front; equal numbers put
    the one with the lower index in front.

    Args:
        modal: N masks, or their (N, H, W) bool stack.
        amodal: likewise.

    Returns:
        Directed pairs (front, back), never both directions.

    Raises:
        DataError: the stacks differ in shape.
    """
    seen, whole = _boxed_alike(modal, amodal)
    order = set()
    for i, j in bordering_pairs(seen):
        i_hides, j_hides = seen[i].shared_px(whole[j]), seen[j].shared_px(whole[i])
        if i_hides or j_hides:
            order.add((i, j) if i_hides >= j_hides else (j, i))
    return order


def make_one_way(evidence_px: Mapping[IndexPair, float]) -> set[IndexPair]:
    """Keep the stronger direction of each pair; equal evidence gives no order, as in `infer_order` of both codes.

    Args:
        evidence_px: directed pair (front, back) to the pixels that speak for it.

    >>> make_one_way({(1, 2): 5, (2, 1): 3, (1, 3): 4, (3, 1): 4})
    {(1, 2)}
    """
    return {(a, b) for (a, b), weight in evidence_px.items() if weight > evidence_px.get((b, a), -np.inf)}


def _boxed_alike(modal: np.ndarray | BoxedMasks, amodal: np.ndarray | BoxedMasks) -> tuple[BoxedMasks, BoxedMasks]:
    """Return masks that belong together, each in its box.

    Raises:
        DataError: a stack that is not (N, H, W) bool, or masks of different shapes.
    """
    for name, stack in (("modal", modal), ("amodal", amodal)):
        kind = "boxed masks" if isinstance(stack, BoxedMasks) else str(stack.dtype)
        if kind not in ("boxed masks", "bool") or len(stack.shape) != 3 or stack.shape != modal.shape:
            raise DataError(
                f"{name}: expected an (N, H, W) bool stack of shape {modal.shape}, got {kind} {stack.shape}"
            )
    return all_boxed(modal), all_boxed(amodal)


@dataclass(frozen=True)
class OrderCounts:
    """One image in numbers of pairs.

    Attributes:
        pairs: unordered pairs with a true order, one way (the papers').
        correct: of these, predicted the same way.
        all_pairs: n (n - 1) / 2.
        all_correct: of these, predicted the same way or, like the truth, not at all.
        truth_directed: true directed pairs, mutual ones counted twice.
        predicted_directed: predicted directed pairs.
        hits: directed pairs that are both.
    """

    pairs: int
    correct: int
    all_pairs: int
    all_correct: int
    truth_directed: int
    predicted_directed: int
    hits: int


def count_image(
    instances: int,
    truth_one_way: set[IndexPair],
    truth: set[IndexPair],
    predicted_one_way: set[IndexPair],
    predicted: set[IndexPair],
) -> OrderCounts:
    """Count the pairs of one image.

    Args:
        instances: how many there are in the image.
        truth_one_way: of `one_way_order_from_masks`.
        truth: of `order_from_masks`.
        predicted_one_way: never both directions of a pair.
        predicted: both directions allowed.

    Raises:
        DataError: a one-way order holds both directions of a pair.
    """
    for name, order in (("truth_one_way", truth_one_way), ("predicted_one_way", predicted_one_way)):
        both = next(((a, b) for a, b in order if (b, a) in order), None)
        if both:
            raise DataError(f"{name}: expected one direction per pair, got both of {both}")
    all_pairs = instances * (instances - 1) // 2
    correct = len(truth_one_way & predicted_one_way)
    involved = {frozenset(pair) for pair in truth_one_way | predicted_one_way}
    return OrderCounts(
        pairs=len(truth_one_way),
        correct=correct,
        all_pairs=all_pairs,
        all_correct=all_pairs - len(involved) + correct,
        truth_directed=len(truth),
        predicted_directed=len(predicted),
        hits=len(truth & predicted),
    )


def counting_by_masks(
    modal: np.ndarray | BoxedMasks, amodal: np.ndarray | BoxedMasks, gap_px: int, rim_px: int = 1
) -> Callable[[set[IndexPair], set[IndexPair]], OrderCounts]:
    """Return what counts predictions of an image against the order that its true masks imply.

    It takes the predicted one-way order, of which only bordering pairs count, as in the papers, and the predicted
    directed pairs. The arguments are those of `order_from_masks`.
    """
    one_way, directed = one_way_order_from_masks(modal, amodal), order_from_masks(modal, amodal, gap_px, rim_px)
    bordering = {frozenset(pair) for pair in bordering_pairs(modal)}

    def count(forced: set[IndexPair], free: set[IndexPair]) -> OrderCounts:
        touching = {pair for pair in forced if frozenset(pair) in bordering}
        return count_image(len(modal), one_way, directed, touching, free)

    return count


def compute(counts: Iterable[OrderCounts]) -> dict[str, Scores]:
    """Return protocol -> metric -> value, of sums over images; a value that has nothing to stand on is None.

    `order, O-Acc (PCNet/ASBU)`: `accuracy` over the bordering pairs with a true order (their `acc_occpair`), and
    `accuracy_all_pairs` (their `acc_allpair`), where predicting nothing scores high. Mutual occlusion is forced one way
    in truth and prediction.

    `order, directed pairs (InstaOrder)`: `precision`, `recall` and `f1` of directed pairs, mutual ones allowed (Lee and
    Park 2022, with truth from masks instead of from annotators).
    """
    counts = list(counts)
    pairs, all_pairs = sum(c.pairs for c in counts), sum(c.all_pairs for c in counts)
    hits = sum(c.hits for c in counts)
    predicted, truth = sum(c.predicted_directed for c in counts), sum(c.truth_directed for c in counts)
    return {
        ONE_WAY: {
            "pairs": pairs,
            "accuracy": _ratio(sum(c.correct for c in counts), pairs),
            "accuracy_all_pairs": _ratio(sum(c.all_correct for c in counts), all_pairs),
        },
        DIRECTED: {
            "pairs": truth,
            "predicted": predicted,
            "precision": _ratio(hits, predicted),
            "recall": _ratio(hits, truth),
            "f1": _ratio(2 * hits, predicted + truth),
        },
    }


def one_way_order_from_depth(annotated: Iterable[IndexPair]) -> set[IndexPair]:
    """Return the annotated pairs without those that are stated in both directions.

    Args:
        annotated: (front, back), as COCOA's `depth_constraint` states them.

    >>> one_way_order_from_depth([(1, 2), (2, 3), (3, 2)])
    {(1, 2)}
    """
    stated = set(annotated)
    return {(front, back) for front, back in stated if (back, front) not in stated}


def compute_annotated(counts: Iterable[OrderCounts]) -> Scores:
    """Return scores against annotated depth, of `count_image` with the annotated pairs as truth.

    Depth is annotated for regions whose whole masks overlap, as the annotators see it; masks imply an order only where
    pixels are hidden. `accuracy` is over all annotated pairs that have one direction, mutual predictions forced one
    way; a pair that is not predicted is wrong. `precision`, `recall` and `f1` are those of directed pairs. There is no
    pair filter, neither in truth nor in prediction.
    """
    one_way, directed = compute(counts).values()
    return {"accuracy": one_way["accuracy"], **directed}


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
