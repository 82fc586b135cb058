"""Symmetric KL, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import JSDLoss, KDLoss, ReverseKLLoss, SymmetricKLLoss
from tutelage.losses.divergences.symmetric_kl import symmetric_divergence


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
@pytest.mark.parametrize("weight", [0.5, 0.9])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, temperature, weight, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=dtype)

    def of_row(s, t):
        q, p = softmax(s, temperature), softmax(t, temperature)
        return temperature**2 * ((1 - weight) * kl(p, q) + weight * kl(q, p))

    expected = by_row(student, teacher, of_row)
    options = {"reverse_weight": weight, "temperature": temperature}
    torch.testing.assert_close(symmetric_divergence(student, teacher, **options), expected)
    torch.testing.assert_close(SymmetricKLLoss(**options)(student, teacher), expected.mean())


def test_a_known_number():
    # Half of the sum over (p - q) log(p / q), with q = [1/2, 1/2] and p = [1/4, 3/4]:
    # (1/4 log 2 + 1/4 log 3/2) / 2 = log(3) / 8.
    value = SymmetricKLLoss()(torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]]))
    torch.testing.assert_close(value, torch.tensor(math.log(3) / 8))


def test_it_is_symmetric_at_one_half_and_at_least_twice_jensen_shannon():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    value = SymmetricKLLoss()(student, teacher)
    torch.testing.assert_close(SymmetricKLLoss()(teacher, student), value)
    assert value >= 2 * JSDLoss()(student, teacher)


@pytest.mark.parametrize(("weight", "plain"), [(0, KDLoss(temperature=1.0)), (1, ReverseKLLoss())])
def test_at_its_ends_it_is_one_kl(weight, plain):
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    found = SymmetricKLLoss(reverse_weight=weight)(student, teacher)
    torch.testing.assert_close(found, plain(student, teacher))


def test_without_reverse_part_ruled_out_classes_cost_nothing():
    student = torch.randn(2, 3, requires_grad=True)
    teacher = torch.tensor([[0.0, 1.0, -torch.inf]]).expand(2, 3)
    value = SymmetricKLLoss(reverse_weight=0.0)(student, teacher)
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()
    assert SymmetricKLLoss(reverse_weight=0.1)(student, teacher).item() == math.inf


def test_opposite_certainties_cost_the_gap_of_their_logits():
    student = torch.tensor([[1e4, 0.0]], requires_grad=True)
    value = SymmetricKLLoss()(student, torch.tensor([[0.0, 1e4]]))
    value.backward()
    assert value.item() == 1e4
    assert student.grad.isfinite().all()


def test_a_weight_outside_its_range_is_refused():
    with pytest.raises(InputError, match=r"SymmetricKLLoss.reverse_weight: .* 0 to 1, found 1.1"):
        SymmetricKLLoss(reverse_weight=1.1)
