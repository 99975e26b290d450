import pytest

from amodalpl.calibration.order_chance import FEWEST, OrderChance, fit_order_chance
from amodalpl.labelling.ordering import OcclusionEdge


def pairs(evidence_px, count, score=1.0):
    return [OcclusionEdge(0, 1, evidence_px, score)] * count


def test_chance_is_how_often_such_evidence_was_right():
    found = fit_order_chance(
        pairs(10.0, 200) + pairs(1000.0, 200), [n % 2 == 0 for n in range(200)] + [n % 10 > 0 for n in range(200)]
    )
    assert found(OcclusionEdge(3, 7, 10.0)) == pytest.approx(0.5, abs=0.03)
    assert found(OcclusionEdge(3, 7, 1000.0)) == pytest.approx(0.9, abs=0.03)


def test_evidence_against_a_pair_makes_it_less_likely():
    right = [n % 2 == 0 for n in range(100)] + [n % 10 > 0 for n in range(100)]
    found = fit_order_chance(pairs(10.0, 100) + pairs(1000.0, 100), right)
    assert found(OcclusionEdge(0, 1, -500.0)) < found(OcclusionEdge(0, 1, 1.0)) < 0.5


def test_too_few_wrong_pairs_teach_nothing():
    right = [n >= FEWEST - 1 for n in range(100)]
    assert fit_order_chance(pairs(10.0, 100), right) is None
    assert fit_order_chance(pairs(10.0, 100), [n >= FEWEST for n in range(100)]) is not None
    assert fit_order_chance([], []) is None


def test_json_there_and_back():
    chance = OrderChance(0.5, -1.25, 2.0)
    assert OrderChance.from_json(chance.to_json()) == chance
    with pytest.raises(ValueError, match="finite"):
        OrderChance.from_json({**chance.to_json(), "bias": float("inf")})
