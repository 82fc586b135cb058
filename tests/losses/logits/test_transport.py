"""Entropic optimal transport, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.losses.logits.transport import transport_cost


def sinkhorn(a, b, cost, epsilon, iterations):
    """The plain form: u and v themselves, the plan written out."""
    n = range(len(a))
    kernel = [[math.exp(-cost[i][j] / epsilon) for j in n] for i in n]
    u = [1.0 for _ in n]
    for _ in range(iterations):
        v = [b[j] / sum(kernel[i][j] * u[i] for i in n) for j in n]
        u = [a[i] / sum(kernel[i][j] * v[j] for j in n) for i in n]
    return sum(u[i] * kernel[i][j] * v[j] * cost[i][j] for i in n for j in n)


@pytest.mark.parametrize("classes", [1, 2, 7])
@pytest.mark.parametrize(("epsilon", "iterations"), [(0.05, 10), (0.2, 3), (1.0, 1)])
def test_equals_the_reference(classes, epsilon, iterations):
    log_a, log_b = torch.randn(2, 4, classes, dtype=torch.float64).log_softmax(-1)
    cost = torch.rand(classes, classes, dtype=torch.float64)
    expected = [
        sinkhorn(a, b, cost.tolist(), epsilon, iterations)
        for a, b in zip(log_a.exp().tolist(), log_b.exp().tolist(), strict=True)
    ]
    found = transport_cost(log_a, log_b, cost, epsilon=epsilon, iterations=iterations)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_the_plan_tends_to_the_best_one():
    # Classes on a line at 0, 1 and 3: the earth mover's distance is the area between the
    # cumulated distributions, |0.5 - 0.2| * 1 + |0.6 - 0.7| * 2 = 0.5.
    place = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    cost = (place[:, None] - place).abs()
    a, b = torch.tensor([[0.5, 0.1, 0.4], [0.2, 0.5, 0.3]], dtype=torch.float64).log()[:, None]
    found = [transport_cost(a, b, cost, epsilon=e, iterations=2000).item() for e in (1.0, 0.05)]
    assert found[1] == pytest.approx(0.5, abs=1e-6)
    assert found[0] > 0.51


def test_near_classes_are_cheaper_than_far_ones():
    cost = torch.tensor([[0.0, 0.8, 0.8], [0.8, 0.0, 0.1], [0.8, 0.1, 0.0]])
    sure = (20 * torch.eye(3)).log_softmax(-1)
    near, far = transport_cost(sure[[1, 1]], sure[[2, 0]], cost)
    assert near < far / 7


def test_classes_without_mass_take_no_part():
    log_a, log_b = torch.randn(2, 4, 5, dtype=torch.float64)
    cost, some = torch.rand(5, 5, dtype=torch.float64), [0, 2, 3]
    expected = transport_cost(
        log_a[:, some].log_softmax(-1), log_b[:, some].log_softmax(-1), cost[some][:, some]
    )
    log_a[:, [1, 4]] = log_b[:, [1, 4]] = -torch.inf
    found = transport_cost(log_a.log_softmax(-1), log_b.log_softmax(-1), cost)
    torch.testing.assert_close(found, expected)


def test_nothing_as_big_as_the_batch_times_the_costs_is_allocated():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            if isinstance(found, torch.Tensor):
                self.numel = max(self.numel, found.numel())
            return found

    log_a, log_b = torch.randn(2, 32, 20).log_softmax(-1)
    with Largest() as largest:
        transport_cost(log_a.requires_grad_(), log_b, torch.rand(20, 20)).sum().backward()
    assert largest.numel == 32 * 20
