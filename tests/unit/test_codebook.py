"""The codebook remembers whole shapes of each class, and finds the nearest of them."""

import numpy as np
import pytest
import torch

from amodalpl.drawn_scenes import draw_scene
from amodalpl.errors import DataError
from amodalpl.shape_prior.codebook import Codebook, crop_shape, eight_ways, learn_codebook

CLASSES = 6  # of which the drawn scenes have 1 to 4, and a fifth has one shape


@pytest.fixture(scope="module")
def shapes():
    found, labels = [], []
    for index in range(25):
        scene = draw_scene(np.random.default_rng([5, index]))
        found += [crop_shape(mask) for mask in scene.amodal]
        labels += scene.category_ids.tolist()
    found.append(np.tri(28, dtype=bool))
    labels.append(5)
    return found, labels


@pytest.fixture(scope="module")
def book(shapes):
    return learn_codebook(*shapes, CLASSES, 512, steps=400, seed=0)


def as_tensors(shapes, labels):
    return torch.from_numpy(np.stack(shapes)).float(), torch.tensor(labels)


def iou(first, second):
    first, second = first > 0.5, second > 0.5
    return (first & second).sum(dim=(-2, -1)) / (first | second).sum(dim=(-2, -1))


def test_a_mask_that_was_learnt_is_found_again(book, shapes):
    masks, labels = as_tensors(*shapes)
    nearest = book.nearest(masks, labels, 3)
    assert nearest.shape == (len(masks), 3, 28, 28) and 0 <= float(nearest.min()) and float(nearest.max()) <= 1
    found = iou(nearest[:, 0], masks)
    assert float(found.median()) > 0.95 and float(found.min()) > 0.8
    assert float(book.distance(masks, labels).max()) < 0.1


def test_of_few_shapes_each_is_a_code(book, shapes):
    """The fifth class has one shape, eight ways of which some are the same; all of its codes are that shape's."""
    masks, labels = as_tensors(*shapes)
    ways = eight_ways(masks[labels == 5])
    latent = book.encode(ways).unique(dim=0)
    assert int(book.counts[5]) == len(latent)
    torch.testing.assert_close(book.codes[5, : len(latent)], latent)


def test_codes_are_of_the_class_asked_for(book, shapes):
    masks, labels = as_tensors(*shapes)
    disc = masks[labels == 1][:1]
    as_star = book.nearest(disc, torch.tensor([4]), 1)[0]
    own = book.nearest(disc, torch.tensor([1]), 1)[0]
    assert float(iou(own, disc)) > float(iou(as_star, disc))
    latent = book.encode(disc)
    codes = book.codes[4, : int(book.counts[4])]
    expected = book.decode(codes[torch.cdist(latent, codes).argmin()])
    torch.testing.assert_close(as_star[0], expected)


def test_nearest_come_first(book, shapes):
    masks, labels = as_tensors(*shapes)
    latent = book.encode(masks[:1])
    codes = book.codes[labels[0], : int(book.counts[labels[0]])]
    order = torch.cdist(latent, codes)[0].argsort()[:4]
    torch.testing.assert_close(book.nearest(masks[:1], labels[:1], 4)[0], book.decode(codes[order]))


def test_a_class_without_codes_returns_the_mask_itself(book):
    mask = torch.rand(2, 28, 28)
    labels = torch.tensor([0, 0])  # no category of the scenes
    torch.testing.assert_close(book.nearest(mask, labels, 3), mask[:, None].repeat(1, 3, 1, 1))
    assert book.distance((mask > 0.5).float(), labels).tolist() == [0, 0]


def test_a_class_of_few_codes_repeats_its_nearest(book, shapes):
    masks, labels = as_tensors(*shapes)
    few = int(book.counts[5])
    nearest = book.nearest(masks[labels == 5], torch.tensor([5]), few + 2)[0]
    torch.testing.assert_close(nearest[few:], nearest[:1].expand(2, -1, -1))


def test_mixed_precision_does_not_reach_it(book, shapes):
    masks, labels = as_tensors(*shapes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = book.nearest(masks[:6].bfloat16(), labels[:6], 2)
    torch.testing.assert_close(mixed, book.nearest(masks[:6], labels[:6], 2))


def test_no_masks(book):
    assert book.nearest(torch.zeros(0, 28, 28), torch.zeros(0, dtype=torch.int64), 4).shape == (0, 4, 28, 28)


def test_distance_is_the_share_of_pixels_that_differ():
    """By a codebook whose only shape is full: a mask of 28 of 784 pixels differs in the other 756."""
    book = Codebook(1, 4)
    book.counts[0] = 1
    book.decode = lambda codes: torch.ones(*codes.shape[:-1], 28, 28)
    mask = torch.zeros(1, 28, 28)
    mask[0, 3] = 1
    assert float(book.distance(mask, torch.tensor([0]))) == pytest.approx(756 / 784)


def test_all_of_it_is_in_the_state_dict_and_nothing_is_learnt(book, shapes):
    state = book.state_dict()
    assert {"codes", "counts"} < set(state) and any(name.startswith("autoencoder.") for name in state)
    assert not any(p.requires_grad for p in book.parameters())
    other = Codebook(CLASSES, 512)
    other.load_state_dict(state)
    masks, labels = as_tensors(*shapes)
    torch.testing.assert_close(other.nearest(masks[:5], labels[:5], 2), book.nearest(masks[:5], labels[:5], 2))


def test_the_same_seed_gives_the_same_codebook(shapes):
    few = shapes[0][:12], shapes[1][:12]
    first, second, other = (learn_codebook(*few, CLASSES, 8, steps=3, seed=seed) for seed in (1, 1, 2))
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert not torch.equal(first.codes, other.codes)
    assert int(first.counts.max()) == 8


def test_eight_ways_of_a_shape_are_different():
    corner = torch.zeros(1, 4, 4)
    corner[0, 0, 1] = 1
    assert len({tuple(way.flatten().tolist()) for way in eight_ways(corner)}) == 8


def test_a_shape_fills_its_box():
    mask = np.zeros((50, 60), bool)
    mask[10:20, 5:45] = True
    assert crop_shape(mask).all()


def test_no_shapes():
    with pytest.raises(DataError, match="codebook: expected whole masks to learn shapes from, got none"):
        learn_codebook([], [], 2, 8, steps=1, seed=0)
