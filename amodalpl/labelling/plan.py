"""How photos are labelled, settled once: the settings' word, else what the completer's hold-out or the photos say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..calibration.fit import Calibration
from ..completion.checkpoint import CompleterBundle
from ..completion.predictor import CompletionPredictor
from ..data.label_file import DOUBTFUL_FROM
from ..masks.boxed import BoxedMask
from ..settings import LabelSettings
from ..shape_prior.plausibility import ShapePrior
from .class_rules import NO_RULES, ClassRules
from .fill_hull import Fill
from .label_features import count_pieces


@dataclass(frozen=True)
class LabelPlan:
    """Everything that labelling goes by; nothing is left open.

    Attributes:
        gap_px: free image pixels between two masks as drawn that still count as contact.
        contour_inset_px: by how much masks are grown before anything looks at them.
        ordering: predicts for the order, on grown masks; its tolerance says who are neighbours.
        completing: predicts for the labels, on grown masks.
        order_rule: "pairs" completes each of two neighbours behind the other alone; the others read the order from
            completions behind all neighbours (`ordering`, `contact`).
        order_threshold: probability above which growth counts for the order.
        contact_crops: further crops where two objects meet whose order is doubtful, in sides of their contact's box.
        occluders: behind whom objects are completed.
        threshold: probability above which a pixel belongs to an object.
        behind_neighbours: whether labels grow only where occluders are.
        unmasked_threshold: `threshold` where no object is, for objects that are seen in one piece; 1 lets nothing grow
            there.
        unmasked_threshold_in_pieces: the same for objects that are seen in several pieces.
        fill: which objects grow to their convex hull, behind things without a mask (`fill_hull`).
        max_growth: how many times what the network was shown a label may be; None for any size.
        low_confidence: uncertainty above which labels carry that flag.
        calibration: from the network's probabilities to the expected error of labels.
        shapes: how ordinary a shape is; None where nobody knows.
        rules: what the settings say of single classes.
    """

    gap_px: int
    contour_inset_px: int
    ordering: CompletionPredictor
    completing: CompletionPredictor
    order_rule: Literal["pairs", "contact", "inside", "whole"]
    order_threshold: float
    contact_crops: tuple[float, ...]
    occluders: Literal["ancestors", "parents", "neighbours"]
    threshold: float
    behind_neighbours: bool
    unmasked_threshold: float
    unmasked_threshold_in_pieces: float
    fill: Fill
    max_growth: float | None
    low_confidence: float
    calibration: Calibration
    shapes: ShapePrior | None
    rules: ClassRules

    def unmasked_threshold_of(self, visible: BoxedMask) -> float:
        """Return the probability above which a pixel belongs to an object where no object is.

        Args:
            visible: the object as it was drawn. In several pieces it is most likely hidden by something.
        """
        return self.unmasked_threshold_in_pieces if count_pieces(visible.crop) > 1 else self.unmasked_threshold

    def threshold_of(self, category_id: int | None) -> float:
        """Return the probability above which a pixel belongs to an object of a class."""
        return self.threshold if category_id is None else self.rules.thresholds.get(category_id, self.threshold)


def plan_labels(bundle: CompleterBundle, settings: LabelSettings, rules: ClassRules = NO_RULES) -> LabelPlan:
    """Settle how a completer labels.

    Args:
        bundle: the completer, and what was chosen for it.
        settings: what they leave open is the completer's; gaps that were neither given nor measured are those of
            hand-drawn polygons.
        rules: of single classes.
    """
    method = bundle.completer.method
    gap_px, contour_inset_px = settings.near_px, settings.grown_px
    ordering_px, completing_px = gaps_of_grown(gap_px, contour_inset_px)
    in_one_piece = settings.unmasked_threshold or bundle.unmasked_threshold
    in_pieces = settings.unmasked_threshold or bundle.unmasked_threshold_in_pieces
    from_pairs = method.order_from_pairs if settings.order_from is None else settings.order_from == "pairs"
    return LabelPlan(
        gap_px=gap_px,
        contour_inset_px=contour_inset_px,
        ordering=CompletionPredictor(bundle.completer, bundle.crop, ordering_px, settings.batch_size),
        completing=CompletionPredictor(
            bundle.completer,
            bundle.crop,
            completing_px,
            settings.batch_size,
            beyond_masks=min(in_one_piece, in_pieces) < 1,
        ),
        order_rule="pairs" if from_pairs else settings.order_rule or method.order_rule,
        order_threshold=settings.order_threshold or bundle.order_threshold,
        contact_crops=bundle.contact_crops if settings.contact_crops is None else settings.contact_crops,
        occluders=settings.occluders,
        threshold=settings.threshold or bundle.threshold,
        behind_neighbours=settings.behind_neighbours,
        unmasked_threshold=in_one_piece,
        unmasked_threshold_in_pieces=in_pieces,
        fill=settings.fill,
        max_growth=settings.max_growth,
        low_confidence=DOUBTFUL_FROM if settings.low_confidence is None else settings.low_confidence,
        calibration=bundle.calibration,
        shapes=bundle.shapes,
        rules=rules,
    )


def gaps_of_grown(gap_px: int, contour_inset_px: int) -> tuple[int, int]:
    """Return the tolerances for gaps between masks that were grown: to recover the order, and to complete.

    Each gap is narrower from both sides. Growing brings nothing back that was too narrow, and leaves clefts along
    ragged contacts, where the contour of an object then seems to turn away from its occluder. To complete, they are
    closed; the order is better without.

    Args:
        gap_px: tolerance for gaps between the masks as drawn.
        contour_inset_px: by how much each mask is grown.

    >>> gaps_of_grown(7, 3)
    (1, 4)
    >>> gaps_of_grown(2, 0)
    (2, 2)
    """
    ordering_px = max(0, gap_px - 2 * contour_inset_px)
    return ordering_px, ordering_px + contour_inset_px
