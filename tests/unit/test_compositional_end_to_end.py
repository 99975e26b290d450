"""The end-to-end stage on grids made by hand: its terms, a likelihood with a gradient, and what stays as it is."""

import math

import pytest
import torch

from amodalpl.detector.compositional.end_to_end import TunedTemplates, TuningExample, losses, object_logits, tune
from amodalpl.detector.compositional.model import Template

FIRST, SECOND, GROUND = range(3)  # concepts: what shows one class, the other, the ground


def template(concept, poses=1, size_hw=(2, 4)):
    """A class whose object shows a concept in the two middle columns."""
    foreground = torch.full((poses, *size_hw, 3), 0.1)
    foreground[..., concept] = 0.8
    context = torch.full((poses, *size_hw, 3), 0.1)
    context[..., GROUND] = 0.8
    prior = torch.full((poses, *size_hw), 0.1)
    prior[:, :, 1:3] = 0.9
    return Template(foreground, context, prior, torch.tensor([0.1, 0.1, 0.8]))


def example(category_id=1, concept=FIRST):
    seen = torch.zeros(2, 4, 3)
    seen[:, :, GROUND] = 1.0
    seen[:, 1:3] = 0.0
    seen[:, 1:3, concept] = 1.0
    inside = torch.zeros(2, 4, dtype=torch.bool)
    inside[:, 1:3] = True
    return TuningExample(category_id, seen, inside, torch.ones(2, 4, dtype=torch.bool))


@pytest.fixture
def templates():
    return TunedTemplates({1: template(FIRST), 2: template(SECOND)})


def test_terms_by_hand(templates):
    """In the middle 0.9 * 0.8 + 0.1 * 0.1, beside it 0.9 * 0.8 + 0.1 * 0.1 of the ground; the other class has 0.1s."""
    right = math.log(0.9 * 0.8 + 0.1 * 0.1)
    other = (math.log(0.9 * 0.1 + 0.1 * 0.1) + right) / 2  # half of the cells are ground to both
    of = losses(templates, example())
    assert float(of["likelihood"].detach()) == pytest.approx(-right, abs=1e-5)
    assert float(of["class"].detach()) == pytest.approx(math.log(1 + math.exp(other - right)), abs=1e-5)
    logits = object_logits(templates.template(1), example()).detach()
    inside, outside = math.log(0.9 * 0.8 / (0.1 * 0.1)), math.log(0.1 * 0.1 / (0.9 * 0.8))
    torch.testing.assert_close(logits, torch.tensor([[outside, inside, inside, outside]] * 2))


def test_the_likelihood_has_a_gradient(templates):
    losses(templates, example())["likelihood"].backward()
    gradient = templates.logits["foreground_1"].grad
    assert gradient[..., FIRST][:, :, 1:3].max() < 0 < gradient[..., SECOND][:, :, 1:3].min()  # towards what is seen
    assert templates.logits["foreground_2"].grad is None  # the other class has no part in it


def test_cells_beyond_the_photo_say_nothing(templates):
    whole = example()
    cut = TuningExample(1, whole.seen.clone(), whole.inside, whole.valid.clone())
    cut.valid[:, 3] = False
    cut.seen[:, 3] = 0.0
    said, without = (float(losses(templates, e)["likelihood"].detach()) for e in (whole, cut))
    assert without == pytest.approx(said, abs=1e-5)
    assert (object_logits(templates.template(1), cut)[:, 3] == -10).all()


def test_tuning_lowers_the_loss_and_leaves_distributions(templates):
    both = [example(1, FIRST), example(2, SECOND)]
    optimizer = torch.optim.Adagrad(templates.parameters(), lr=0.1)
    first = tune(templates, optimizer, both, 2.0, 1.0)
    for _ in range(8):
        last = tune(templates, optimizer, both, 2.0, 1.0)
    assert last < first - 0.1
    tuned = templates.template(1)
    torch.testing.assert_close(tuned.foreground.sum(-1), torch.ones(1, 2, 4))
    assert torch.equal(tuned.prior, template(FIRST).prior)
    assert (tuned.foreground[0, :, 1:3, FIRST] > 0.8).all()


def test_a_single_class_is_tuned_by_likelihood_and_boxes_alone():
    only = TunedTemplates({1: template(FIRST)})
    of = losses(only, example())
    assert float(of["class"].detach()) == 0
    optimizer = torch.optim.Adagrad(only.parameters(), lr=0.1)
    assert tune(only, optimizer, [example()] * 5, 2.0, 1.0) > float(sum(losses(only, example()).values()).detach())


def test_the_best_pose_is_the_one_that_learns():
    two = template(FIRST, poses=2)
    two.foreground[1, ..., FIRST], two.foreground[1, ..., SECOND] = 0.1, 0.8
    templates = TunedTemplates({1: two})
    losses(templates, example())["likelihood"].backward()
    gradient = templates.logits["foreground_1"].grad
    assert gradient[0].abs().max() > 0 and gradient[1].abs().max() == 0
