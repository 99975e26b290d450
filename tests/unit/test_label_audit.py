"""What a judged sample says of all labels: a bound that holds in as many audits as it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from amodalpl.errors import DataError
from amodalpl.metrics.label_audit import Statement, Stratum, allocate, draw_sample, state


def test_bound_of_one_stratum_is_the_share_at_which_so_many_right_ones_are_rare():
    bound = state([Stratum(10_000, 80, 76)]).at_least
    assert binom.sf(75, 80, bound) == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(
    ("strata", "share", "at_least"),
    [
        pytest.param([Stratum(7, 7, 6)], 6 / 7, 6 / 7, id="all judged: known"),
        pytest.param([Stratum(100, 20, 0)], 0.0, 0.0, id="none right"),
        pytest.param([Stratum(100, 59, 59)], 1.0, 0.05 ** (1 / 59), id="all of 59 right"),
        pytest.param([Stratum(50, 0, 0), Stratum(50, 50, 50)], None, 0.5, id="not judged: counts as wrong"),
        pytest.param([], None, 0.0, id="nothing"),
    ],
)
def test_bounds_by_hand(strata, share, at_least):
    found = state(strata)
    assert found.share == share and found.at_least == pytest.approx(at_least)


def test_statement_in_words():
    assert str(Statement(2810, 120, 0.97, 0.9123, 0.95)) == (
        "at least 91.2% of all 2810 labels are right, with 95% confidence, by 120 that were judged"
    )


@pytest.mark.parametrize("stratum", [Stratum(5, 6, 1), Stratum(9, 3, 4), Stratum(0, 0, 0), Stratum(5, 3, -1)], ids=str)
def test_impossible_counts(stratum):
    with pytest.raises(DataError, match="expected right <= judged <= labels"):
        state([stratum])


@pytest.mark.parametrize(
    ("sizes", "total", "expected"),
    [
        ([1000], 60, [60]),
        ([500, 500], 61, [31, 30]),
        ([900, 90, 10], 100, [80, 10, 10]),
        ([3, 4], 60, [3, 4]),
        ([1000, 1000, 1000], 6, [10, 10, 10]),
        ([], 5, []),
    ],
    ids=["one", "halves", "least", "fewer there than asked", "least goes first", "none"],
)
def test_allocation(sizes, total, expected):
    assert allocate(sizes, total) == expected


def test_samples_are_drawn_without_replacement_and_the_same_again():
    strata = {"grown": list(range(100)), "as drawn": list(range(500, 520))}
    sample = draw_sample(strata, 40, seed=1)
    assert sample == draw_sample(strata, 40, seed=1) != draw_sample(strata, 40, seed=2)
    for name, ids in sample.items():
        assert len(set(ids)) == len(ids) and set(ids) <= set(strata[name])
    assert sum(map(len, sample.values())) == 40


WORLDS = {
    "alike": [(2000, 0.9), (600, 0.9), (200, 0.9)],
    "one bad stratum": [(2000, 0.99), (600, 0.7), (200, 0.3)],
    "nearly all right": [(2000, 0.999), (600, 0.99), (200, 0.97)],
    "small strata": [(60, 0.8), (25, 0.5), (12, 0.9)],
    "one stratum": [(1500, 0.95)],
}


@pytest.mark.parametrize("world", WORLDS)
def test_a_thousand_audits_are_covered(world):
    """Labels are fixed, audits are drawn; the true share is no lower than stated in at least 95 % of them."""
    rng = np.random.default_rng(0)
    right = {f"{n}": rng.random(size) < share for n, (size, share) in enumerate(WORLDS[world])}
    truth = sum(r.sum() for r in right.values()) / sum(r.size for r in right.values())
    covered, widths = 0, []
    for seed in range(1000):
        sample = draw_sample({name: range(r.size) for name, r in right.items()}, 120, seed)
        found = state([Stratum(r.size, len(sample[name]), int(r[sample[name]].sum())) for name, r in right.items()])
        covered += found.at_least <= truth + 1e-12
        widths.append(truth - found.at_least)
    assert covered >= 950
    assert np.mean(widths) < 0.2  # and the bound says something
