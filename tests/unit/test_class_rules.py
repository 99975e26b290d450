"""What is said of single classes: whom it concerns, what it settles, and classes that are not there."""

from __future__ import annotations

import pytest

from amodalpl.errors import SettingsError
from amodalpl.labelling.acyclic import EXACT_UP_TO, without_circles
from amodalpl.labelling.class_rules import NO_RULES, ClassRules, class_rules, in_settled_directions
from amodalpl.labelling.ordering import OcclusionEdge, cycles
from amodalpl.settings_values import resolve

NAMES = {1: "person", 2: "bench", 3: "tree", 4: "person"}  # some files have two classes of one name
PERSON, BENCH, TREE, OTHER_PERSON = NAMES


def rules(**per_class):
    return class_rules(resolve({"labels": {"per_class": per_class}}).labels.per_class, NAMES, "a.json")


def test_names_are_looked_up():
    found = rules(
        person={"threshold": 0.4, "in_front_of": ["bench", "tree"]}, bench={"keep_modal": True, "threshold": 0.9}
    )
    assert found.thresholds == {PERSON: 0.4, OTHER_PERSON: 0.4, BENCH: 0.9}
    assert found.kept_modal == {BENCH}
    assert found.in_front == {(front, back) for front in (PERSON, OTHER_PERSON) for back in (BENCH, TREE)}
    assert rules() == NO_RULES


@pytest.mark.parametrize(
    "per_class",
    [
        pytest.param({"persn": {"threshold": 0.4}}, id="of the settings"),
        pytest.param({"bench": {"in_front_of": ["persn"]}}, id="behind another"),
    ],
)
def test_a_class_that_is_not_there(per_class):
    with pytest.raises(SettingsError) as error:
        rules(**per_class)
    assert str(error.value) == "labels.per_class: a.json has no class 'persn'; did you mean 'person'?"


FRONT, BACK = OcclusionEdge(0, 1, 8.0, 0.8), OcclusionEdge(1, 0, 2.0, 0.2)
FRONT_TURNED = OcclusionEdge(1, 0, -8.0, 0.2)


@pytest.mark.parametrize(
    ("found", "classes", "expected"),
    [
        pytest.param([FRONT], (PERSON, BENCH), [FRONT], id="as the photo shows"),
        pytest.param([FRONT], (BENCH, PERSON), [FRONT_TURNED], id="turned"),
        pytest.param([FRONT, BACK], (BENCH, PERSON), [BACK], id="of two directions, one"),
        pytest.param([], (BENCH, PERSON), [], id="nothing hides anything"),
        pytest.param([FRONT], (BENCH, TREE), [FRONT], id="other classes"),
        pytest.param([FRONT], (PERSON, PERSON), [FRONT], id="of one class"),
    ],
)
def test_the_direction_is_that_of_the_classes(found, classes, expected):
    settled = ClassRules(in_front=frozenset({(PERSON, BENCH)})).settled(classes, found)
    assert in_settled_directions(found, settled) == expected


@pytest.mark.parametrize("others", [1, EXACT_UP_TO + 4])
def test_a_circle_opens_elsewhere(others):
    """0 is in front of 1 by its class and against all evidence; a chain from 1 back to 0 has far more."""
    chain = [OcclusionEdge(k, k + 1, 50.0) for k in range(1, others + 1)] + [OcclusionEdge(others + 1, 0, 90.0)]
    settled = {(0, 1)}
    order = without_circles(in_settled_directions([OcclusionEdge(1, 0, 30.0), *chain], settled), settled)
    assert cycles(order) == []
    assert (order[0].front, order[0].back, order[0].evidence_px) == (0, 1, -30.0)
    assert sum(pair.evidence_px < 0 for pair in order[1:]) == 1


def test_without_a_class_the_lightest_is_turned():
    order = without_circles([OcclusionEdge(0, 1, 30.0), OcclusionEdge(1, 2, 50.0), OcclusionEdge(2, 0, 90.0)])
    assert (order[0].front, order[0].back) == (1, 0)


def test_many_settled_arrows_stay_in_large_groups():
    """Even numbers are in front of the next odd ones by their classes, and everything else says the contrary."""
    nodes = range(EXACT_UP_TO + 8)
    settled = {(i, j) for i in nodes for j in nodes if i % 2 == 0 and j in (i + 1, i + 3)}
    against = [OcclusionEdge(j, i, 100.0 + i + j) for i in nodes for j in nodes if j > i and (i, j) not in settled]
    order = without_circles([*(OcclusionEdge(i, j, 1.0) for i, j in sorted(settled)), *against], settled)
    assert cycles(order) == [] and settled <= {(pair.front, pair.back) for pair in order}
