"""The table of completion methods: what each shows its network, how it is trained, and how outputs are read.

PCNet-M, ASBU and the ablations of the ASBU paper differ in two choices only: the second input channel (the occluder's
mask, or the boundary with it) and the loss. `layered` is ours, and the default: it sees both, learns from richer
samples (`synthesis/layers.py`), and most where two objects meet. The table is read where torch is missing, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Channel = Literal["occluder", "boundary"]


@dataclass(frozen=True)
class Method:
    """One row of the table of methods.

    Attributes:
        channels: what the network sees beside the visible part.
        loss_name: of a function in `models.losses`.
        has_uncertainty: whether channel 1 of the output is an uncertainty.
        order_from_pairs: recover the order by completing pair by pair, as both reference codes do, not from completions
            behind all neighbours (the text of ASBU's eq. 3), which takes training on several neighbours at once.
        order_rule: how completions are compared, unless label settings say otherwise; see `labelling.order_recovery`.
        recipe: training samples it was made for.
        init_gain: see `UNet`.
        inside_weight: weight of the loss under the occluder, where answers are looked for, against 1 elsewhere.
        contact_weight: factor on it near the visible part, see `losses.pixel_weight`.
        widens: whether an answer that its crop cuts off is asked for again in a wider one.
    """

    channels: tuple[Channel, ...]
    loss_name: str
    has_uncertainty: bool
    order_from_pairs: bool
    order_rule: Literal["contact", "inside", "whole"] = "inside"
    recipe: Literal["pair", "layers"] = "pair"
    init_gain: float = 0.02
    inside_weight: float = 5.0
    contact_weight: float = 1.0
    widens: bool = False

    @property
    def loss(self) -> Callable[..., Any]:
        """(outputs, target, weight) -> the loss; imports torch."""
        from . import losses

        return getattr(losses, self.loss_name)

    def describe(self) -> dict[str, str]:
        """Return what `amodalpl complete --list` prints of it."""
        return {
            "sees": ", ".join(("modal", *self.channels)),
            "loss": self.loss_name,
            "asks": "pair by pair" if self.order_from_pairs else "behind all neighbours",
            "samples": self.recipe,
        }


METHODS: dict[str, Method] = {
    "layered": Method(
        ("occluder", "boundary"),
        "weighted_cross_entropy",
        has_uncertainty=False,
        order_from_pairs=False,
        order_rule="contact",
        recipe="layers",
        init_gain=1.4,
        inside_weight=50.0,
        contact_weight=3.0,
        widens=True,
    ),
    "pcnet-m": Method(("occluder",), "weighted_cross_entropy", False, True),
    "asbu": Method(("boundary",), "asbu", True, True),
    "boundary-pcnet-m": Method(("boundary",), "weighted_cross_entropy", False, True),
    "uncertainty-pcnet-m": Method(("occluder",), "asbu", True, True),
    "asbu-ubce": Method(("boundary",), "asbu_ubce", True, True),
    "asbu-gaussian": Method(("boundary",), "asbu_gaussian", True, True),
}
