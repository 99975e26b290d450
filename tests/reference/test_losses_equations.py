"""The losses against the papers' equations in plain Python: ASBU eq. (1), (2), (4) and PCNet-M's cross entropy."""

from __future__ import annotations

import math

import pytest
import torch

from amodalpl.models import losses

FLOOR = 1e-6  # the authors' code adds it to the softplus


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def softplus(x):
    return math.log1p(math.exp(x))


def cross_entropy(out, into, t):
    """Two-class cross entropy of the softmax; channel 1 is "in"."""
    return -math.log((math.exp(into) if t else math.exp(out)) / (math.exp(out) + math.exp(into)))


def equation_1(x0, x1, t):
    m, u = sigmoid(x0), softplus(x1) + FLOOR
    return 0.5 * (((t - m) / u) ** 2 + u**2)


def equation_2(x0, x1, t):
    m, u = sigmoid(x0), softplus(x1) + FLOOR
    return 0.5 * (((t - m) / u) ** 2 + math.log(u**2))


def equation_4(x0, x1, t):
    m, u = sigmoid(x0), softplus(x1) + FLOOR
    entropy = -(t * math.log(m) + (1 - t) * math.log(1 - m))
    return 0.5 * (entropy / u**2 + u**2)


PAIRS = [
    pytest.param(losses.weighted_cross_entropy, cross_entropy, id="PCNet-M cross entropy"),
    pytest.param(losses.asbu, equation_1, id="ASBU eq. 1"),
    pytest.param(losses.asbu_gaussian, equation_2, id="ASBU eq. 2"),
    pytest.param(losses.asbu_ubce, equation_4, id="ASBU eq. 4"),
]


@pytest.mark.parametrize(("loss", "equation"), PAIRS)
@pytest.mark.parametrize(("x0", "x1"), [(0.0, 0.0), (1.5, -0.7), (-2.0, 0.3), (-0.4, 2.5)])
@pytest.mark.parametrize("t", [0, 1])
def test_one_pixel(loss, equation, x0, x1, t):
    outputs = torch.tensor([x0, x1], dtype=torch.float64).view(1, 2, 1, 1)
    found = loss(outputs, torch.tensor(bool(t)).view(1, 1, 1, 1), torch.ones(1, 1, 1, 1, dtype=torch.float64))
    assert found.item() == pytest.approx(equation(x0, x1, t), rel=1e-6)


@pytest.mark.parametrize(("loss", "equation"), PAIRS)
def test_four_pixels_two_of_them_under_the_occluder(loss, equation):
    first, second = [0.2, -1.0, 2.0, 0.5], [0.1, 0.4, -0.3, 1.0]
    target, weight = [1, 0, 1, 1], [5, 1, 1, 5]
    by_hand = sum(w * equation(a, b, t) for a, b, t, w in zip(first, second, target, weight, strict=True)) / 4
    outputs = torch.tensor([first, second], dtype=torch.float64).view(1, 2, 2, 2)
    found = loss(
        outputs,
        torch.tensor(target, dtype=torch.bool).view(1, 1, 2, 2),
        torch.tensor(weight, dtype=torch.float64).view(1, 1, 2, 2),
    )
    assert found.item() == pytest.approx(by_hand, rel=1e-6)


def test_equation_1_at_the_start_is_about_one_half():
    """Untrained outputs are near 0: m = 1/2, u = log 2, so the loss is (0.25 / 0.4805 + 0.4805) / 2 = 0.5004."""
    zero = torch.zeros(1, 2, 3, 3)
    found = losses.asbu(zero, torch.ones(1, 1, 3, 3, dtype=torch.bool), torch.ones(1, 1, 3, 3))
    assert found.item() == pytest.approx((0.25 / math.log(2) ** 2 + math.log(2) ** 2) / 2, rel=1e-5)


@pytest.mark.parametrize("x0", [-1.0, 0.3, 2.0])
def test_equation_1_is_least_where_u_squared_is_the_error(x0):
    """At fixed m the least is at u^2 = |t - m|, with value |t - m|."""
    error = 1 - sigmoid(x0)
    best = math.log(math.expm1(math.sqrt(error)))  # softplus(best) = sqrt(error)
    x1 = torch.tensor(best, dtype=torch.float64, requires_grad=True)
    outputs = torch.stack([torch.tensor(x0, dtype=torch.float64), x1]).view(1, 2, 1, 1)
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    loss = losses.asbu(outputs, one.bool(), one)
    loss.backward()
    assert loss.item() == pytest.approx(error, rel=1e-5)
    assert abs(x1.grad.item()) < 1e-4
    for other in (best - 0.2, best + 0.2):
        assert equation_1(x0, other, 1) > error


def test_equation_2_is_least_where_u_is_the_error():
    """The Gaussian of eq. (2): u = |t - m|, with value (1 + log u^2) / 2, which has no lower bound."""
    error = 0.25
    x0, x1 = math.log(3), math.log(math.expm1(error))  # sigmoid = 3/4
    outputs = torch.tensor([x0, x1], dtype=torch.float64).view(1, 2, 1, 1)
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    assert losses.asbu_gaussian(outputs, one.bool(), one).item() == pytest.approx(
        (1 + 2 * math.log(error)) / 2, rel=1e-4
    )
