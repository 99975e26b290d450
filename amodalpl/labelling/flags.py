"""What a reader of a label should know about it, in a word each; `docs/formats.md` explains them."""

from __future__ import annotations

import numpy as np

from ..masks.boxed import BoxedMask, boxed
from .label import Label


def flags_of(label: Label | None, visible: np.ndarray | BoxedMask, lost_px: int, low_confidence: float) -> list[str]:
    """Return the flags of a label, in a fixed order.

    Args:
        label: None for an object whose every pixel belongs to others.
        visible: what is left of the object after shared pixels got one owner.
        lost_px: pixels that it gave up then.
        low_confidence: uncertainty above which labels are doubtful.
    """
    if label is None:
        return ["fully_shared", "low_confidence"]
    hidden = bool(label.occluders) or label.grew_unmasked or label.kept_modal
    stated = {
        "kept_modal": label.kept_modal,
        "no_occluder": not hidden and lost_px == 0,
        "overlap_only": not hidden and lost_px > 0,
        "unmasked_occluder": label.grew_unmasked,
        "truncated": boxed(visible).at_edge,
        "grew_to_border": label.grew_to_border,
        "runaway": label.runaway,
        "shared_pixels": lost_px > 0,
        "low_confidence": label.uncertainty > low_confidence,
    }
    return [name for name, holds in stated.items() if holds]
