"""The shape prior: whole shapes rank evenly, odd ones low; rare classes fall back; what is damaged is refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from amodalpl.errors import CheckpointError, DataError
from amodalpl.shape_prior import plausibility
from amodalpl.shape_prior.class_codes import ClassCodes
from amodalpl.shape_prior.plausibility import (
    FEWEST_SHAPES,
    ShapePrior,
    learn_shape_prior,
    least_distance,
    load_shape_prior,
    save_shape_prior,
    share_as_far,
)

ROUND, TALL, RARE, UNKNOWN = 1, 2, 3, 99


def ellipse(rng, tall=False):
    """A whole shape with room around it: up to a third longer than wide, or three to four times as tall."""
    frame = np.zeros((90, 70), np.uint8)
    width = rng.uniform(8, 11) if tall else rng.uniform(15, 30)
    height = width * (rng.uniform(3, 4) if tall else rng.uniform(0.75, 1))
    centre = (int(rng.integers(30, 40)), int(rng.integers(42, 48)))
    cv2.ellipse(frame, centre, (round(width), round(height)), rng.uniform(-10, 10), 0, 360, 1, -1)
    return frame.view(bool)


def bitten(mask, rng):
    """The same shape behind a square that hides a quarter of its box."""
    ys, xs = np.nonzero(mask)
    y, x = (int(ys.min() + ys.max()) // 2, int(xs.min() + xs.max()) // 2)
    cut = mask.copy()
    cut[(np.s_[:y], np.s_[y:])[rng.integers(2)], (np.s_[:x], np.s_[x:])[rng.integers(2)]] = False
    return cut


def shapes(count, seed):
    rng = np.random.default_rng(seed)
    return [ellipse(rng) for _ in range(count)], [ellipse(rng, tall=True) for _ in range(count)]


@pytest.fixture(scope="module")
def training():
    """(masks, category ids): 60 round ones, 60 tall ones, 3 of a rare class."""
    round_ones, tall_ones = shapes(60, seed=0)
    return [*round_ones, *tall_ones, *round_ones[:3]], [ROUND] * 60 + [TALL] * 60 + [RARE] * 3


@pytest.fixture(scope="module")
def prior(training):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plausibility, "STEPS", 60)  # enough for ellipses
        return learn_shape_prior(*training, seed=0)


def test_whole_shapes_that_were_not_learnt_from_spread_over_the_range(prior):
    for category, unseen in zip((ROUND, TALL), shapes(80, seed=1), strict=True):
        scores = prior.score(unseen, [category] * len(unseen))
        assert 0.3 < scores.mean() < 0.7
        assert (scores < 0.1).mean() < 0.3 and (scores > 0.5).any()


def test_bitten_shapes_score_low(prior):
    rng = np.random.default_rng(2)
    whole = shapes(40, seed=3)[0]
    scores = prior.score([bitten(mask, rng) for mask in whole], [ROUND] * 40)
    assert np.median(scores) < 0.05
    assert np.median(prior.score(whole, [ROUND] * 40)) > 0.3


def test_shape_of_another_class_scores_low(prior):
    tall = shapes(20, seed=4)[1]
    assert np.median(prior.score(tall, [ROUND] * 20)) < 0.05
    assert np.median(prior.score(tall, [TALL] * 20)) > 0.2


def test_rare_and_unknown_classes_are_judged_by_all_shapes(prior):
    assert prior.class_ids == [ROUND, TALL] and len(prior.ordinary) == 3
    masks = [*shapes(5, seed=5)[0], *shapes(5, seed=6)[1]]
    nobody = ClassCodes(0, 0, *prior.codes.any_class.shape[::-1])
    nobody.any_class.copy_(prior.codes.any_class)
    by_all = ShapePrior(prior.autoencoder, [], nobody, prior.ordinary[-1:]).score(masks, [ROUND] * 10)
    np.testing.assert_array_equal(prior.score(masks, [RARE] * 10), by_all)
    np.testing.assert_array_equal(prior.score(masks, [UNKNOWN] * 10), by_all)
    assert np.median(by_all) > 0.2


def test_score_is_the_share_of_whole_shapes_at_least_as_far():
    ordinary = torch.tensor([0.1, 0.2, 0.2, 0.4])
    scores = share_as_far(torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]), ordinary)
    assert scores.tolist() == [1.0, 1.0, 0.8, 0.4, 0.4, 0.2]


def test_distance_by_hand():
    views = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [2.0, 0.0]]])  # the second is its own mirror image
    found = least_distance(views, torch.tensor([[0.0, 1.0]]))
    assert found.tolist() == [0.0, 1.0]  # the first one's mirror image is the code; the second has nothing of it
    found = least_distance(views, torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    assert found.tolist() == pytest.approx([0.0, 0.2])  # |(2,0) - (1,0)|^2 / (4 + 1)


def test_place_size_and_side_do_not_matter(prior):
    mask = shapes(1, seed=7)[0][0]
    ys, xs = np.nonzero(mask)
    tight = mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    moved = np.pad(tight, ((3, 40), (17, 0)))
    (score, *others) = prior.score([mask, tight, moved, np.ascontiguousarray(tight[:, ::-1])], [ROUND] * 4)
    assert others == pytest.approx([score] * 3, abs=0.02)
    larger = tight.repeat(4, 0).repeat(4, 1)
    assert prior.score([larger], [ROUND])[0] == pytest.approx(score, abs=0.02)


def test_same_seed_same_prior_whatever_the_threads(monkeypatch, training):
    monkeypatch.setattr(plausibility, "STEPS", 4)
    masks, categories = training
    first = learn_shape_prior(masks, categories, seed=0)
    before = torch.random.get_rng_state()
    torch.set_num_threads(2)
    try:
        again = learn_shape_prior(masks, categories, seed=0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert torch.equal(before, torch.random.get_rng_state())
    for name, codes in first.codes.state_dict().items():
        assert torch.equal(codes, again.codes.state_dict()[name])
    for one, other in zip(first.ordinary, again.ordinary, strict=True):
        assert torch.equal(one, other)
    np.testing.assert_array_equal(first.score(masks, categories), again.score(masks, categories))
    other = learn_shape_prior(masks, categories, seed=1)
    assert not torch.equal(first.codes.any_class, other.codes.any_class)


def test_one_by_one_as_in_a_batch(prior):
    masks = [mask for pair in zip(*shapes(6, seed=8), strict=True) for mask in pair]
    categories = [ROUND, TALL] * 6
    singles = [prior.score([m], [c])[0] for m, c in zip(masks, categories, strict=True)]
    np.testing.assert_allclose(prior.score(masks, categories), singles, atol=0.02)


def test_odd_masks_have_a_score(prior):
    line, dot = np.ones((1, 300), bool), np.ones((1, 1), bool)
    parts = np.zeros((50, 50), bool)
    parts[2:5, 2:5] = parts[40:45, 40:45] = True
    ring = np.ones((20, 20), bool)
    ring[5:15, 5:15] = False
    scores = prior.score([line, dot, parts, ring, np.zeros((4, 4), bool)], [ROUND] * 5)
    assert scores.shape == (5,) and np.all((scores[:4] > 0) & (scores[:4] <= 1)) and scores[4] == 0
    assert scores[0] < 0.05 and scores[2] < 0.05
    assert prior.score([], []).shape == (0,)


def test_large_sets_are_sampled_and_rare_classes_kept(monkeypatch):
    """A whole shape that was learnt from has its distance kept: so many there are."""
    monkeypatch.setattr(plausibility, "STEPS", 2)
    monkeypatch.setattr(plausibility, "MOST_OF_CLASS", 80)
    monkeypatch.setattr(plausibility, "MOST_SHAPES", 120)
    masks = [np.ones((3 + n % 7, 3), bool) for n in range(250)]
    found = learn_shape_prior(masks, [1] * 150 + [2] * 70 + [3] * 25 + [4] * 5, seed=0)
    assert found.class_ids == [1, 2, 3]
    assert [len(known) for known in found.ordinary] == [40, 40, 25, 40 + 40 + 25 + 5]  # 80 halved once


def test_round_trip(tmp_path, prior, training):
    path = tmp_path / "shapes.pth"
    save_shape_prior(path, prior)
    loaded = load_shape_prior(path)
    assert loaded.class_ids == prior.class_ids
    np.testing.assert_array_equal(loaded.score(*training), prior.score(*training))


@pytest.mark.parametrize("count", [0, 1, FEWEST_SHAPES - 1])
def test_too_few_shapes_to_learn_from(count):
    with pytest.raises(DataError, match=rf"expected at least {FEWEST_SHAPES} whole shapes .* got {count}"):
        learn_shape_prior([np.ones((3, 3), bool)] * count, [1] * count, seed=0)


def test_shape_without_a_pixel_is_named():
    masks = [np.ones((3, 3), bool)] * 30
    masks[7] = np.zeros((3, 3), bool)
    with pytest.raises(DataError, match=r"masks\[7\]: expected at least one pixel"):
        learn_shape_prior(masks, [1] * 30, seed=0)


def test_classes_missing(prior):
    with pytest.raises(DataError, match="expected a class for each of 30 masks, got 29"):
        learn_shape_prior([np.ones((3, 3), bool)] * 30, [1] * 29, seed=0)
    with pytest.raises(DataError, match="expected a class for each of 1 masks, got 2"):
        prior.score([np.ones((3, 3), bool)], [1, 1])


def damaged(path, **changes):
    content = torch.load(path, weights_only=True)
    for name, change in changes.items():
        change(content[name])
    torch.save(content, path)


DAMAGE = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "text": lambda path: path.write_text("hello"),
    "another file": lambda path: torch.save({"step": 3}, path),
    "a tensor": lambda path: torch.save(torch.zeros(3), path),
    "a list": lambda path: torch.save([1, 2], path),
    "another network": lambda path: damaged(path, autoencoder=lambda w: w.pop("encoder.0.weight")),
    "network is not numbers": lambda path: damaged(path, autoencoder=lambda w: w["encoder.0.bias"].fill_(float("nan"))),
    "no codes": lambda path: damaged(path, any_class=lambda b: b.update(codes=torch.zeros(0, 5))),
    "codes of another length": lambda path: damaged(path, any_class=lambda b: b.update(codes=torch.zeros(3, 5))),
    "no ranks": lambda path: damaged(path, any_class=lambda b: b.update(ordinary=torch.zeros(0))),
    "ranks in disorder": lambda path: damaged(path, any_class=lambda b: b.update(ordinary=torch.tensor([0.5, 0.1]))),
    "codes are not numbers": lambda path: damaged(path, any_class=lambda b: b["codes"].fill_(float("nan"))),
    "codes are text": lambda path: damaged(path, codebooks=lambda b: b.update({ROUND: {"codes": "", "ordinary": ""}})),
    "class is text": lambda path: damaged(path, codebooks=lambda b: b.update({"cat": b[ROUND]})),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file_is_refused(tmp_path, prior, damage):
    path = tmp_path / "shapes.pth"
    save_shape_prior(path, prior)
    DAMAGE[damage](path)
    with pytest.raises(CheckpointError, match=rf"{path}: expected .* got a damaged or foreign file"):
        load_shape_prior(path)


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="found none"):
        load_shape_prior(tmp_path / "nowhere.pth")
