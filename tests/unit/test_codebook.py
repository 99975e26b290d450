"""Codebooks: whose codes are found, that they travel with a state dict, and k-means by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from amodalpl.shape_prior.codebook import Codebook, k_means

TWO, FIVE, OTHER = 2, 5, 9


@pytest.fixture
def book():
    """Class 2 has codes at 0, 1 and 4, class 5 one at 10, all others those at -1 and 3."""
    of_class = {FIVE: torch.tensor([[10.0]]), TWO: torch.tensor([[0.0], [1.0], [4.0]])}
    return Codebook(torch.tensor([[-1.0], [3.0]]), of_class)


def test_codes_of_a_class_and_of_any_other(book):
    assert book.class_ids == [TWO, FIVE]
    assert book.codes_of(TWO).flatten().tolist() == [0, 1, 4]
    assert book.codes_of(FIVE).flatten().tolist() == [10]
    assert book.codes_of(OTHER).flatten().tolist() == [-1, 3]


def test_nearest_are_of_the_own_class(book):
    found = book.nearest(torch.tensor([[3.0], [3.0], [3.0], [0.4]]), torch.tensor([TWO, OTHER, FIVE, TWO]), 2)
    assert found.shape == (4, 2, 1)
    assert found[..., 0].tolist() == [[4, 1], [3, -1], [10, 10], [0, 1]]  # class 5 has one code only


def test_nearest_of_no_vector(book):
    assert book.nearest(torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64), 3).shape == (0, 3, 1)


def test_codes_learn_nothing_and_move_with_the_module(book):
    assert list(book.parameters()) == []
    assert all(codes.dtype == torch.float64 for codes in nn.Sequential(book).double().state_dict().values())


def test_state_dict_brings_other_classes(book):
    """As a checkpoint of a detector does, whose codes were made after it was put together."""
    detector = nn.Sequential(Codebook(torch.zeros(7, 1), {1: torch.zeros(3, 1), TWO: torch.zeros(3, 1)}))
    detector.load_state_dict(nn.Sequential(book).state_dict())
    loaded = detector[0]
    assert loaded.class_ids == [TWO, FIVE]
    for class_id in (TWO, FIVE, OTHER):
        assert torch.equal(loaded.codes_of(class_id), book.codes_of(class_id))


def test_state_dict_without_codes_leaves_them(book):
    """Weights of a detector that has no shape prior."""
    detector = nn.Sequential(book, nn.Linear(1, 1))
    weights = {name: value for name, value in detector.state_dict().items() if name.startswith("1.")}
    assert detector.load_state_dict(weights, strict=False).missing_keys == ["0.any_class", "0.class_5", "0.class_2"]
    assert book.class_ids == [TWO, FIVE] and book.codes_of(FIVE).item() == 10


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
