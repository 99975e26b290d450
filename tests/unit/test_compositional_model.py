"""The compositional model on planted features: concepts, poses, displacement, and what each cell shows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from amodalpl.detector.compositional.concepts import activations, fit_outliers, fit_vmf, shares
from amodalpl.detector.compositional.mixtures import Examples, cluster_poses, estimate, fit_poses, similarity
from amodalpl.detector.compositional.model import CLUTTER, CONTEXT, OBJECT, CompositionalModel, Placement, Template

KAPPA = 65.0


def near(centres, which, seed=0, spread=0.02):
    """Unit vectors around centres (K, C), one for each entry of `which`."""
    noise = torch.randn(*which.shape, centres.shape[1], generator=torch.Generator().manual_seed(seed)) * spread
    return torch.nn.functional.normalize(centres[which] + noise, dim=-1)


def test_em_finds_planted_concepts():
    centres = torch.eye(6)[:5]
    which = torch.arange(5).repeat_interleave(torch.tensor([200, 40, 10, 80, 20]))
    found = fit_vmf(near(centres, which), 5, KAPPA, seed=3)
    assert torch.allclose(found.norm(dim=1), torch.ones(5), atol=1e-5)
    assert ((found @ centres.T).amax(dim=0) > 0.999).all()  # each is found, the one of 10 cells too


def test_em_step_is_the_one_of_the_equations():
    features = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), dim=1)
    one = fit_vmf(features, 1, 2.0, seed=0)
    assert torch.allclose(one[0], torch.nn.functional.normalize(features.sum(dim=0), dim=0), atol=1e-6)


def test_concepts_depend_on_nothing_but_features_and_seed():
    features = near(torch.eye(4), torch.arange(4).repeat(30))
    again = [fit_vmf(features, 7, KAPPA, seed=s) for s in (1, 1, 2)]
    assert torch.equal(again[0], again[1]) and not torch.equal(again[0], again[2])


def test_activations_by_hand():
    seen = activations(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]]), 2.0)
    assert seen.tolist()[0] == pytest.approx([1.0, math.exp(-0.8)])
    assert shares(seen).sum().item() == pytest.approx(1)


def test_outliers_are_the_mean_and_the_groups():
    seen = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    found = fit_outliers(seen, 2, seed=0)
    assert found.shape == (3, 2) and found[0].tolist() == [0.5, 0.5]
    assert sorted(found[1:].tolist()) == [[0.0, 1.0], [1.0, 0.0]]


# A world of concepts: 0 to 3 are parts of the object, left to right; 4 is ground, 5 an occluder.
PARTS, GROUND, OCCLUDER, CONCEPTS = 4, 4, 5, 6


def pictured(kinds):
    """(h, w) of concepts to unit features (h, w, C)."""
    return near(torch.eye(CONCEPTS + 2)[:CONCEPTS], torch.as_tensor(kinds), spread=0.01)


def drawn(size_hw=(8, 8), shift_yx=(0, 0)):
    """An object of 4 x 4 cells, a column per part, in the middle or shifted."""
    kinds = np.full(size_hw, GROUND)
    top, left = size_hw[0] // 2 - 2 + shift_yx[0], size_hw[1] // 2 - 2 + shift_yx[1]
    for y in range(top, top + 4):
        for x in range(left, left + 4):
            if 0 <= y < size_hw[0] and 0 <= x < size_hw[1]:
                kinds[y, x] = x - left
    return kinds


@pytest.fixture(scope="module")
def model():
    even = torch.full((CONCEPTS,), 0.002)

    def certain(kind):
        return shares(even + torch.nn.functional.one_hot(torch.as_tensor(kind), CONCEPTS))

    kinds = torch.from_numpy(drawn())
    is_object = kinds < PARTS
    ground = certain(GROUND)
    one_pose = Template(
        torch.where(is_object[..., None], certain(kinds), certain(torch.zeros_like(kinds)))[None],
        ground.expand(1, 8, 8, CONCEPTS).clone(),
        torch.where(is_object, 0.97, 0.03)[None],
        ground,
    )
    mirrored = Template(
        *(torch.cat([t, t.flip(2)]) for t in (one_pose.foreground, one_pose.context, one_pose.prior)), ground
    )
    return CompositionalModel(
        torch.eye(CONCEPTS + 2)[:CONCEPTS],
        torch.full((1, CONCEPTS), 1 / CONCEPTS),
        {7: one_pose, 9: mirrored},
        kappa=KAPPA,
    )


def placed_at(pose=0, shift_yx=(0, 0)):
    return Placement(torch.tensor([pose]), torch.tensor([shift_yx]), torch.zeros(1))


def test_three_way_decision_on_a_planted_occluder(model):
    kinds = drawn()
    kinds[3:7, 3:5] = OCCLUDER  # over the object, and below it over the ground
    decision = model.decide(model.seen(pictured(kinds))[None], 7, placed_at())
    truth = np.where(drawn() < PARTS, OBJECT, CONTEXT)
    truth[3:6, 3:5] = CLUTTER
    found = decision.labels[0].numpy()
    over_object = drawn() < PARTS
    assert (found[over_object] == truth[over_object]).all()
    outside = ~over_object & (kinds != OCCLUDER)
    assert (found[outside] == CONTEXT).all()


def test_log_joints_by_hand():
    """One cell, two concepts: p = 0.8, α = (0.9, 0.1), β = (0.2, 0.8), Q the better of (0.5, 0.5) and (0.1, 0.9)."""
    template = Template(
        torch.tensor([0.9, 0.1]).view(1, 1, 1, 2),
        torch.tensor([0.2, 0.8]).view(1, 1, 1, 2),
        torch.full((1, 1, 1), 0.8),
        torch.tensor([0.2, 0.8]),
    )
    outliers = torch.tensor([[0.5, 0.5], [0.1, 0.9]])
    seen = torch.tensor([1.0, 0.25]).view(1, 1, 1, 2)
    model = CompositionalModel(torch.eye(2), outliers, {1: template}, kappa=1.0, context_share=0.25, hidden_prior=0.3)
    q = max(0.5 + 0.125, 0.1 + 0.225)
    alpha_x, beta_x = 0.9 + 0.025, 0.2 + 0.2
    assert model.clutter(seen).item() == pytest.approx(math.log(q))
    joint = model.decide(seen, 1, placed_at()).log_joint[0, 0, 0].tolist()
    expected = [math.log(0.3 * 0.8 * q), math.log(0.7 * 0.8 * alpha_x), math.log(0.7 * 0.2 * beta_x)]
    assert joint == pytest.approx(expected, abs=1e-5)
    fused = 0.75 * 0.8 * alpha_x + 0.25 * 0.2 * beta_x
    score = model.place(seen, 1, centred=True).score.item()
    assert score == pytest.approx(max(0.0, math.log(fused) - math.log(q)), abs=1e-5)


def test_a_cell_that_was_not_looked_at_follows_the_prior(model):
    found = model.decide(torch.zeros(1, 8, 8, CONCEPTS), 7, placed_at())
    assert (found.labels[0].numpy() == np.where(drawn() < PARTS, CLUTTER, CONTEXT)).all()
    assert found.log_joint[0].exp().sum(dim=-1).flatten().tolist() == pytest.approx([1.0] * 64)


@pytest.mark.parametrize("shift", [(0, 0), (0, 2), (0, -2), (2, 0), (-2, 1)])
def test_the_centre_is_found(model, shift):
    found = model.place(model.seen(pictured(drawn(shift_yx=shift)))[None], 7, centred=False)
    assert tuple(found.shift_yx[0].tolist()) == shift
    known = model.place(model.seen(pictured(drawn(shift_yx=shift)))[None], 7, centred=True)
    assert known.shift_yx.tolist() == [[0, 0]] and known.score <= found.score


@pytest.mark.parametrize(("half", "shift"), [("right", (0, 1)), ("left", (0, -1))])
def test_the_centre_is_found_when_half_of_the_object_is_hidden(model, half, shift):
    """The crop is around the visible half, two parts wide; an occluder covers the other half and what is beyond."""
    kinds = drawn(shift_yx=shift)
    if half == "right":
        kinds[:, 5:] = OCCLUDER  # parts 0 and 1 in columns 3 and 4 are seen
    else:
        kinds[:, :3] = OCCLUDER
    found = model.place(model.seen(pictured(kinds))[None], 7, centred=False)
    assert tuple(found.shift_yx[0].tolist()) == shift
    decision = model.decide(model.seen(pictured(kinds))[None], 7, found)
    whole = (decision.labels[0] == OBJECT) | ((decision.labels[0] == CLUTTER) & (decision.prior[0] > 0.9))
    assert (whole.numpy() == (drawn(shift_yx=shift) < PARTS)).all()


def test_the_pose_is_chosen(model):
    for pose, kinds in enumerate((drawn(), np.flip(drawn(), 1).copy())):
        assert model.place(model.seen(pictured(kinds))[None], 9, centred=True).pose.tolist() == [pose]


def test_a_batch_equals_singles_and_crops_may_be_of_any_even_size(model):
    several = torch.stack([model.seen(pictured(drawn((6, 10), s))) for s in ((0, 0), (0, 2), (-1, 1))])
    together = model.place(several, 9, centred=False)
    decided = model.decide(several, 9, together)
    assert decided.log_joint.shape == (3, 6, 10, 3) and decided.prior.shape == (3, 6, 10)
    for k in range(3):
        alone = model.place(several[k : k + 1], 9, centred=False)
        assert (alone.pose[0], alone.shift_yx[0].tolist()) == (together.pose[k], together.shift_yx[k].tolist())
        assert torch.allclose(model.decide(several[k : k + 1], 9, alone).log_joint[0], decided.log_joint[k], atol=1e-5)


def test_cells_beyond_the_photo_do_not_count(model):
    kinds = drawn()
    seen = model.seen(pictured(kinds))[None]
    valid = torch.ones(1, 8, 8, dtype=torch.bool)
    valid[:, :, 6:] = False
    spoilt = seen.clone()
    spoilt[:, :, 6:] = model.seen(pictured(np.zeros((8, 2), int)))
    clean, dirty = (model.place(s, 7, centred=True, valid=valid).score for s in (seen, spoilt))
    assert torch.equal(clean, dirty) and not torch.equal(dirty, model.place(spoilt, 7, centred=True).score)


def planted_poses(number=10):
    """Objects of three poses: the columns of parts forward, backward and turned into rows."""
    kinds = [drawn(), np.flip(drawn(), 1).copy(), drawn().T.copy()]
    truth = torch.arange(3).repeat(number)
    centres = torch.eye(CONCEPTS + 2)[:CONCEPTS]
    pictures = torch.stack([near(centres, torch.as_tensor(kinds[k]), seed=i) for i, k in enumerate(truth.tolist())])
    here = torch.from_numpy(drawn() < PARTS).expand(len(truth), 8, 8)
    return Examples(activations(pictures, centres, KAPPA), here, torch.ones_like(here)), truth


def same_groups(found, truth):
    return len({*zip(found.tolist(), truth.tolist(), strict=True)}) == len(truth.unique()) == len(found.unique())


def test_poses_are_found_by_clustering_and_by_em():
    examples, truth = planted_poses()
    alike = similarity(examples.seen)
    assert torch.allclose(alike.diagonal(), torch.ones(30), atol=1e-4) and torch.allclose(alike, alike.T, atol=1e-5)
    assert same_groups(cluster_poses(examples.seen, 3, seed=0), truth)
    wrong = truth.clone()
    wrong[:6] = (wrong[:6] + 1) % 3
    template, pose = fit_poses(examples, 3, seed=0, start=wrong)
    assert same_groups(pose, truth) and template.prior.shape == (3, 8, 8)


def test_no_more_poses_than_objects():
    examples, _ = planted_poses(1)
    template, pose = fit_poses(examples, 8, seed=0)
    assert sorted(pose.tolist()) == [0, 1, 2] and len(template.prior) == 3


def test_estimates_are_shares_of_members():
    seen = torch.tensor([[1.0, 0.0], [0.0, 4.0], [0.0, 1.0], [0.0, 1.0]]).view(4, 1, 1, 2)
    here = torch.tensor([1, 1, 1, 0], dtype=torch.bool).view(4, 1, 1)
    template = estimate(Examples(seen, here, torch.ones_like(here)), torch.tensor([0, 0, 1, 1]), 2)
    assert template.prior.flatten().tolist() == pytest.approx([0.99, 0.5])
    usual = torch.tensor([1 / 3, 2 / 3])  # of all three that show the object
    assert template.foreground[0, 0, 0].tolist() == pytest.approx(((torch.tensor([1.0, 1.0]) + usual) / 3).tolist())
    assert template.surroundings.tolist() == [0.0, 1.0]
    assert template.foreground.sum(dim=-1).flatten().tolist() == pytest.approx([1, 1])
