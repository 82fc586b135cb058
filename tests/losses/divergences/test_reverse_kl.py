"""Reverse KL, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import ShapeError
from tutelage.losses import KDLoss, ReverseKLLoss
from tutelage.losses.divergences.reverse_kl import reverse_divergence


def softmax(logits, temperature=1.0):
    powers = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def kl(a, b):
    return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True) if x)


def by_row(student, teacher, of_row):
    rows = zip(student.flatten(0, -2).tolist(), teacher.flatten(0, -2).tolist(), strict=True)
    values = [of_row(*row) for row in rows]
    return torch.tensor(values, dtype=student.dtype).view(student.shape[:-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, temperature, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=dtype)
    expected = by_row(
        student,
        teacher,
        lambda s, t: temperature**2 * kl(softmax(s, temperature), softmax(t, temperature)),
    )
    found = reverse_divergence(student, teacher, temperature=temperature)
    torch.testing.assert_close(found, expected)
    loss = ReverseKLLoss(temperature=temperature)
    torch.testing.assert_close(loss(student, teacher), expected.mean())


def test_a_known_number():
    # q = [1/2, 1/2], p = [1/4, 3/4]: 1/2 log 2 + 1/2 log 2/3 = log 2 - 1/2 log 3.
    value = ReverseKLLoss()(torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]]))
    torch.testing.assert_close(value, torch.tensor(math.log(2) - math.log(3) / 2))


def test_with_the_sides_swapped_it_is_the_divergence_of_kd():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    for temperature in (1.0, 3.0):
        found = ReverseKLLoss(temperature=temperature)(student, teacher)
        forward = KDLoss(temperature=temperature)(teacher, student)
        torch.testing.assert_close(found, forward)


def test_opposite_certainties_cost_the_gap_of_their_logits():
    student = torch.tensor([[1e4, 0.0]], requires_grad=True)
    value = ReverseKLLoss()(student, torch.tensor([[0.0, 1e4]]))
    value.backward()
    assert value.item() == 1e4
    assert student.grad.isfinite().all()


def test_it_is_infinite_where_only_the_teacher_rules_a_class_out():
    teacher = torch.tensor([[0.0, 1.0, -torch.inf]])
    assert ReverseKLLoss()(torch.zeros(1, 3), teacher).item() == math.inf
    student = torch.tensor([[0.5, 0.0, -torch.inf]], requires_grad=True)
    value = ReverseKLLoss()(student, teacher)
    value.backward()
    torch.testing.assert_close(
        value.detach(), ReverseKLLoss()(student.detach()[:, :2], teacher[:, :2])
    )
    assert student.grad.isfinite().all()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(
        ShapeError, match=r"ReverseKLLoss: .* found student \[4, 5\] vs teacher \[4, 6\]"
    ):
        ReverseKLLoss()(torch.zeros(4, 5), torch.zeros(4, 6))
