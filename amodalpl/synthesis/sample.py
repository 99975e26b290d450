"""What every recipe draws: one training sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..masks.geometry import occlusion_boundary


@dataclass(frozen=True)
class Sample:
    """What a completer learns from, all in the frame of the patch.

    Attributes:
        modal: (P, P) bool, what is given to the network as visible (the reference's `inmodal`).
        occluder: (P, P) bool, the other object as far as it is visible (the reference's `eraser`).
        target: (P, P) bool, the answer: the object's own mask before anything was put over it.
        image: (P, P, 3) uint8 RGB with the other object pasted in; None without images.
        is_hidden: True for case 1 (the object is behind), False for case 2 (it is in front).
        boundary_px: see `occlusion_boundary`.
        unknown: (P, P) bool, where the answer is not known and the loss counts nothing; None where all is known.
    """

    modal: np.ndarray
    occluder: np.ndarray
    target: np.ndarray
    image: np.ndarray | None
    is_hidden: bool
    boundary_px: int
    unknown: np.ndarray | None = None

    @property
    def boundary(self) -> np.ndarray:
        """(P, P) bool, ASBU's occlusion boundary between the two; drawn when asked for, which not all methods do."""
        return occlusion_boundary(self.modal, self.occluder, self.boundary_px)
