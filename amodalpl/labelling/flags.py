"""What a reader of a label should know about it, in a word each; `docs/formats.md` explains them."""

from __future__ import annotations

import numpy as np

from ..calibration.fit import RiskGuarantee
from .label_scenes import Label

UNPROMISED = 0.3  # uncertainty from which labels are doubtful when the hold-out was too small for a promise


def doubtful_above(given: float | None, promise: RiskGuarantee | None) -> float:
    """Return the uncertainty above which a label is `low_confidence`.

    Args:
        given: the setting `labels.low_confidence`; None leaves it to the promise.
        promise: of the completer; None where its hold-out allows none.
    """
    if given is not None:
        return given
    return promise.uncertainty_at_most if promise else UNPROMISED


def flags_of(label: Label | None, visible: np.ndarray, lost_px: int, low_confidence: float) -> list[str]:
    """Return the flags of a label, in a fixed order.

    Args:
        label: None for an object whose every pixel belongs to others.
        visible: (H, W) bool, what is left of the object after shared pixels got one owner.
        lost_px: pixels that it gave up then.
        low_confidence: as `doubtful_above` returns it.
    """
    if label is None:
        return ["fully_shared", "low_confidence"]
    at_edge = visible[0].any() or visible[-1].any() or visible[:, 0].any() or visible[:, -1].any()
    stated = {
        "no_occluder": not label.asked,
        "truncated": bool(at_edge),
        "grew_to_border": label.grew_to_border,
        "runaway": label.runaway,
        "shared_pixels": lost_px > 0,
        "low_confidence": label.uncertainty > low_confidence,
    }
    return [name for name, holds in stated.items() if holds]
