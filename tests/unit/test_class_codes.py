"""Codes of classes: whose are found, that they travel with a state dict, and k-means by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from amodalpl.shape_prior.class_codes import ClassCodes, k_means

THREE, NONE, ONE = 0, 1, 2


def empty():
    return ClassCodes(3, 4, size=1, most_of_any_class=2)


@pytest.fixture
def book():
    """Class 0 has codes at 0, 1 and 4, class 2 one at 10, all others those at -1 and 3."""
    made = empty()
    made.put(THREE, torch.tensor([[0.0], [1.0], [4.0]]))
    made.put(ONE, torch.tensor([[10.0]]))
    made.any_class.copy_(torch.tensor([[-1.0], [3.0]]))
    return made


@pytest.mark.parametrize(
    ("label", "codes"), [(THREE, [0, 1, 4]), (ONE, [10]), (NONE, [-1, 3]), (-1, [-1, 3]), (3, [-1, 3])]
)
def test_codes_of_a_class_and_of_any_other(book, label, codes):
    assert book.of(label).flatten().tolist() == codes


@pytest.mark.parametrize(("label", "codes"), [(THREE, [4, 1]), (NONE, [3, -1]), (ONE, [10, 10])])
def test_nearest_are_of_the_own_class(book, label, codes):
    found = book.nearest_codes(torch.tensor([[3.0], [3.0]]), label, 2)
    assert found.shape == (2, 2, 1) and found[1].flatten().tolist() == codes


def test_nearest_of_no_vector(book):
    assert book.nearest_codes(torch.zeros(0, 1), THREE, 3).shape == (0, 3, 1)


def test_without_codes_of_all_a_class_may_have_none():
    assert ClassCodes(1, 4, size=5).of(0).shape == (0, 5)


def test_codes_are_in_the_state_dict_and_learn_nothing(book):
    assert list(book.parameters()) == []
    copy = nn.Sequential(empty())
    copy.load_state_dict(nn.Sequential(book).state_dict())
    for label in (THREE, ONE, NONE):
        assert torch.equal(copy[0].of(label), book.of(label))


def test_codes_are_the_shapes_when_there_are_few():
    points = torch.rand(7, 3)
    codes = k_means(points, 7, np.random.default_rng(0))
    assert torch.equal(codes, points) and codes.data_ptr() != points.data_ptr()


def test_codes_are_the_means_of_separate_groups():
    points = torch.tensor([[0.0], [1.0], [2.0], [10.0], [12.0]])
    for seed in range(5):  # whichever two points it starts at
        codes = k_means(points, 2, np.random.default_rng(seed))
        assert codes.dtype == torch.float32 and sorted(codes.flatten().tolist()) == [1.0, 11.0]


def test_same_codes_again_whatever_the_threads():
    points = torch.rand(1000, 20, generator=torch.Generator().manual_seed(0))
    first = k_means(points, 60, np.random.default_rng(0))
    torch.set_num_threads(2)
    try:
        assert torch.equal(first, k_means(points, 60, np.random.default_rng(0)))
    finally:
        torch.set_num_threads(1)
    assert not torch.equal(first, k_means(points, 60, np.random.default_rng(1)))


@pytest.mark.filterwarnings("error")
def test_shapes_that_are_all_alike():
    assert k_means(torch.ones(30, 2), 20, np.random.default_rng(0)).unique().tolist() == [1.0]
