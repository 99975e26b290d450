"""Where two neighbours meet, and which of them gives way there: the order of `layered`.

Along the contact of two objects, the photo shows which of them the contour belongs to. How far the hidden one continues
is a guess, and would weigh thousands of pixels. So only pixels near both objects count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..completion.predictor import CompletionPrediction, CompletionRequest, OfObjects, Scene
from ..masks.boxed import BoxedMasks, Window, all_boxed
from ..masks.boxes import Square, tight_box
from ..masks.gaps import distance_px
from ..masks.geometry import count_px, dilate
from .ordering import OcclusionEdge, compare
from .plan import LabelPlan

Neighbours = Sequence[Sequence[tuple[int, int]]]  # pairs of object indices, per scene

CONTACT_SHARE = 0.03  # depth of the contact on each side, in sides of the smaller object's box
MUTUAL_SHARE = 0.2  # two objects hide each other when each gives way to the other along a fifth of their contact
GOES_ON = 0.5  # where an object is as likely to go on as not
CLEAR_LEAD = 0.2  # share of the contact by which one must win to be behind beyond doubt
CONTACT_CROPS = (1.5, 2.5)  # sides of the contact's box in the crops that are tried
SMALLEST_PX = 24  # no look is closer


@dataclass(frozen=True)
class Contact:
    """The pixels near both of two objects.

    Attributes:
        pair: indices of the two.
        window: rows and columns of the smallest box of the image that holds it.
        near: (h, w) bool, the contact.
        visible: for each of the two (h, w) bool, what is visible of it in the contact.
        reach_px: how far from either object the contact goes, over their own gap.
        smaller_px: longer side of the smaller object's box.
    """

    pair: tuple[int, int]
    window: Window
    near: np.ndarray
    visible: tuple[np.ndarray, np.ndarray]
    reach_px: int
    smaller_px: int

    def square(self, sides: float) -> Square:
        """Return the crop that shows it closely, in image pixels.

        Args:
            sides: of the crop over those of the contact's box; the smaller object would always fit in.
        """
        height, width = self.near.shape
        side = float(max(sides * max(height, width), self.smaller_px, SMALLEST_PX))
        rows, columns = self.window
        return Square(columns.start + (width - side) / 2, rows.start + (height - side) / 2, side)


def orders_by_contact(
    plan: LabelPlan,
    scenes: Sequence[Scene],
    neighbours: Neighbours,
    predictions: Sequence[OfObjects],
    thresholds: Sequence[float] | np.ndarray,
) -> list[list[list[OcclusionEdge]]]:
    """Order all neighbours by who gives way where they meet.

    Args:
        plan: predictor and further looks; its threshold is not used.
        scenes: images with disjoint visible masks.
        neighbours: of each scene.
        predictions: per scene, of each object that has neighbours, behind all of them.
        thresholds: probabilities above which an object goes on.

    Returns:
        The order, for each threshold and scene.
    """
    meetings = [
        _meetings(plan, scene, pairs, found)
        for scene, pairs, found in zip(scenes, neighbours, predictions, strict=True)
    ]
    if plan.contact_crops:
        _refine_contacts(plan, [m for of_scene in meetings for m in of_scene if is_doubtful(m.contact, *m.unseen)])
    return [
        [
            [edge for m in of_scene for edge in order_by_contact(m.contact, *m.unseen, threshold)]
            for of_scene in meetings
        ]
        for threshold in thresholds
    ]


@dataclass
class _Meeting:
    """Two neighbours where they meet.

    Attributes:
        contact: of the two.
        requests: about either, behind all its neighbours.
        unseen: the probability that each goes on within the other, as `order_by_contact` takes it.
    """

    contact: Contact
    requests: tuple[CompletionRequest, CompletionRequest]
    unseen: tuple[np.ndarray, np.ndarray]


def _meetings(
    plan: LabelPlan, scene: Scene, pairs: Sequence[tuple[int, int]], predictions: OfObjects
) -> list[_Meeting]:
    """Return what is known of the contacts of a scene, before anybody looks closer."""
    contacts = [contact_of(scene.masks, pair, plan.ordering.gap_px) for pair in pairs]
    met: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)  # which contacts an object has, and as which
    for number, pair in enumerate(pairs):
        for k, index in enumerate(pair):
            met[index].append((number, k))
    told: dict[tuple[int, int], np.ndarray] = {}
    for index, places in met.items():  # each prediction is unfolded once
        prediction = predictions[index]
        unseen = _unseen(prediction)
        for number, k in places:
            contact = contacts[number]
            told[number, k] = _within(contact.window, prediction.window, unseen)[contact.visible[1 - k]]
    return [
        _Meeting(
            contact,
            (predictions[first].request, predictions[second].request),
            (told[number, 0], told[number, 1]),
        )
        for number, (contact, (first, second)) in enumerate(zip(contacts, pairs, strict=True))
    ]


def _refine_contacts(plan: LabelPlan, doubtful: Sequence[_Meeting]) -> None:
    """Complete both objects again in crops of their contact; the mean of all predictions counts.

    The crop around a large object shows little of its contact with a small one, and any one crop may mislead.
    """
    answers = [tuple([afar] * (1 + len(plan.contact_crops)) for afar in meeting.unseen) for meeting in doubtful]
    asked_for: defaultdict[CompletionRequest, list[tuple[int, int, int]]] = defaultdict(list)  # where answers go
    for m, meeting in enumerate(doubtful):
        for k, request in enumerate(meeting.requests):
            for n, sides in enumerate(plan.contact_crops, 1):
                asked_for[replace(request, crop=meeting.contact.square(sides))].append((m, k, n))
    for prediction in plan.ordering.stream(asked_for):
        for m, k, n in asked_for[prediction.request]:
            contact = doubtful[m].contact
            unseen = _within(contact.window, prediction.window, _unseen(prediction))
            answers[m][k][n] = unseen[contact.visible[1 - k]]
    for meeting, (first, second) in zip(doubtful, answers, strict=True):
        meeting.unseen = np.mean(first, axis=0), np.mean(second, axis=0)


def _unseen(prediction: CompletionPrediction) -> np.ndarray:
    """Return the probability that the object goes on behind its occluders, (h, w) float32 within its window."""
    return prediction.probability * (prediction.behind & ~prediction.modal)


def _within(window: Window, own: Window, values: np.ndarray) -> np.ndarray:
    """Return float32 values of one window within another one, zero where they are not known."""
    (rows, columns), (own_rows, own_columns) = window, own
    found = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.float32)
    top, bottom = max(rows.start, own_rows.start), min(rows.stop, own_rows.stop)
    left, right = max(columns.start, own_columns.start), min(columns.stop, own_columns.stop)
    if top < bottom and left < right:
        part = np.s_[
            top - own_rows.start : bottom - own_rows.start, left - own_columns.start : right - own_columns.start
        ]
        found[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start] = values[part]
    return found


def contact_of(masks: np.ndarray | BoxedMasks, pair: tuple[int, int], gap_px: int) -> Contact:
    """Find where two neighbours meet.

    Args:
        masks: N, visible, or their (N, H, W) bool stack.
        pair: indices of two of them.
        gap_px: tolerance for gaps; the two are no further apart.
    """
    masks = all_boxed(masks)
    x, y, w, h = masks.boxes_xywh[list(pair)].T
    smaller_px = int(np.maximum(w, h).min())
    depth = max(1, round(CONTACT_SHARE * smaller_px))
    margin = 2 * (depth + gap_px)
    top, left = max(int(y.max()) - margin, 0), max(int(x.max()) - margin, 0)
    around = np.s_[top : int((y + h).min()) + margin, left : int((x + w).min()) + margin]
    first, second = (masks[k][around] for k in pair)
    reach = depth + max(0, int(distance_px(first)[second].min()) - 1)
    near = dilate(first, reach) & dilate(second, reach)
    x0, y0, width, height = tight_box(near)
    box = np.s_[y0 : y0 + height, x0 : x0 + width]
    window = np.s_[top + y0 : top + y0 + height, left + x0 : left + x0 + width]
    return Contact(pair, window, near[box], ((first & near)[box], (second & near)[box]), reach, smaller_px)


def order_by_contact(contact: Contact, first: np.ndarray, second: np.ndarray, threshold: float) -> list[OcclusionEdge]:
    """Order two neighbours by who gives way along their contact; both may, in different places.

    One gives way where it goes on within the other, and the other does not go on back.

    Args:
        contact: of the two.
        first: (K,) float32, the probability that the first goes on unseen, at each pixel of the second in the contact
            (`contact.visible[1]`).
        second: (L,) float32, the same of the second within the first.
        threshold: probability above which it does.
    """
    won_px = _won_px(contact, first, second, threshold)
    return compare(*contact.pair, *won_px, MUTUAL_SHARE * count_px(contact.near))


def is_doubtful(contact: Contact, first: np.ndarray, second: np.ndarray) -> bool:
    """Tell whether neither of two neighbours clearly gives way; the arguments are those of `order_by_contact`."""
    first_px, second_px = _won_px(contact, first, second, GOES_ON)
    return abs(first_px - second_px) < max(1, CLEAR_LEAD * count_px(contact.near))


def _won_px(contact: Contact, first: np.ndarray, second: np.ndarray, threshold: float) -> tuple[int, int]:
    claims = []
    for goes_on, other in zip((first, second), contact.visible[::-1], strict=True):
        claimed = np.zeros_like(contact.near)
        claimed[other] = goes_on > threshold
        claims.append(dilate(claimed, contact.reach_px) & contact.near)
    return count_px(claims[0] & ~claims[1]), count_px(claims[1] & ~claims[0])
