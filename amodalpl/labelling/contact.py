"""Where two neighbours meet, and which of them gives way there: the order of `layered`.

Along the contact of two objects, the photo shows which of them the contour belongs to. How far the hidden one continues
is a guess, and would weigh thousands of pixels. So only pixels near both objects count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..masks.boxed import BoxedMasks, Window, all_boxed
from ..masks.boxes import Square, tight_box
from ..masks.gaps import distance_px
from ..masks.geometry import count_px, dilate
from .ordering import OcclusionEdge, compare

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
    return compare(*contact.pair, *_won_px(contact, first, second, threshold), MUTUAL_SHARE * count_px(contact.near))


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
