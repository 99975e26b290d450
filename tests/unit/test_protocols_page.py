"""The page that defines the scores names every protocol that can be printed."""

from pathlib import Path

import pytest

from amodalpl.evaluation import promise
from amodalpl.evaluation.audit import AUDIT
from amodalpl.evaluation.zoo import COST
from amodalpl.metrics import completion, detection, ordering, per_object, presence
from amodalpl.metrics.box_matched import box_matched_protocol
from amodalpl.metrics.levels import LEVEL_SETS, MACRO, MASKS_FROM_BOXES
from amodalpl.metrics.occluded_detection import occluded_protocol

PAGE = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    [
        completion.MICRO,
        completion.PER_INSTANCE,
        MACRO,
        MASKS_FROM_BOXES,
        presence.PRESENCE,
        per_object.GIVEN,
        per_object.PREDICTED,
        promise.HIDDEN,
        promise.UNCERTAINTY,
        promise.PROMISE,
        promise.ORDER,
        AUDIT,
        COST,
        ordering.ONE_WAY,
        ordering.DIRECTED,
        ordering.ANNOTATED,
        detection.protocol("segm"),
        detection.protocol("bbox"),
        detection.protocol("segm", masks="visible"),
        occluded_protocol(),
        occluded_protocol(overloaded_area=True),
        box_matched_protocol("amodal"),
        box_matched_protocol("visible"),
        *(level_set.name for level_set in LEVEL_SETS.values()),
    ],
)
def test_every_protocol_is_defined(name):
    assert name in PAGE


def test_bins_on_the_page_are_those_of_the_metric():
    for key, level_set in LEVEL_SETS.items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{key}`"))
        cells = [cell.strip() for cell in row.split("|")[2:6]]
        assert cells == ["0", *(f"{level.low}-{level.high}" for level in level_set.levels[1:])]


@pytest.mark.parametrize(
    "scores",
    [
        completion.compute_micro([]),
        completion.compute_per_instance([]),
        presence.compute_presence([]),
        per_object.compute_given([]),
        per_object.compute_predicted([]),
    ],
)
def test_metrics_of_completion_are_named_on_the_page(scores):
    assert [metric for metric in scores if metric != "instances" and f"`{metric}`" not in PAGE] == []
