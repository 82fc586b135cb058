"""Total variation, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import KDLoss, ReverseKLLoss, TotalVariationLoss
from tutelage.losses.divergences.total_variation import total_variation


def softmax(logits, temperature=1.0):
    powers = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


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

    def of_row(s, t):
        q, p = softmax(s, temperature), softmax(t, temperature)
        return temperature**2 * sum(max(x - y, 0) for x, y in zip(p, q, strict=True))

    expected = by_row(student, teacher, of_row)
    torch.testing.assert_close(total_variation(student, teacher, temperature=temperature), expected)
    loss = TotalVariationLoss(temperature=temperature)
    torch.testing.assert_close(loss(student, teacher), expected.mean())


def test_a_known_number():
    # From [1/2, 1/2] to [1/4, 3/4] a quarter has to move.
    value = TotalVariationLoss()(torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]]))
    torch.testing.assert_close(value, torch.tensor(0.25))


def test_it_is_at_most_the_root_of_half_of_either_kl():
    student, teacher = 2 * torch.randn(2, 200, 5, dtype=torch.float64)
    for row, other in zip(student, teacher, strict=True):
        sides = row[None], other[None]
        distance = TotalVariationLoss()(*sides)
        for kl in (KDLoss(temperature=1.0)(*sides), ReverseKLLoss()(*sides)):
            assert distance <= (kl / 2).sqrt()


def test_it_is_symmetric_and_a_distance():
    a, b, c = torch.randn(3, 50, 4, dtype=torch.float64)
    torch.testing.assert_close(total_variation(a, b), total_variation(b, a))
    assert (total_variation(a, c) <= total_variation(a, b) + total_variation(b, c)).all()


def test_opposite_certainties_are_one_apart():
    student = torch.tensor([[1e4, 0.0, -torch.inf]], requires_grad=True)
    value = TotalVariationLoss()(student, torch.tensor([[-torch.inf, 1e4, -torch.inf]]))
    value.backward()
    assert value.item() == 1
    assert student.grad.isfinite().all()


def test_a_temperature_outside_its_range_is_refused():
    with pytest.raises(InputError, match=r"TotalVariationLoss.temperature: .* above 0, found 0"):
        TotalVariationLoss(temperature=0)
