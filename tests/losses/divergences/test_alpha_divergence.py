"""Alpha divergence, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import AlphaDivergenceLoss, KDLoss, ReverseKLLoss
from tutelage.losses.divergences.alpha_divergence import alpha_divergence


def softmax(logits, temperature=1.0):
    powers = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def kl(a, b):
    return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True) if x)


def by_row(student, teacher, of_row):
    rows = zip(student.flatten(0, -2).tolist(), teacher.flatten(0, -2).tolist(), strict=True)
    values = [of_row(*row) for row in rows]
    return torch.tensor(values, dtype=student.dtype).view(student.shape[:-1])


def reference(p, q, a):
    return sum(y * ((x / y) ** a - 1) for x, y in zip(p, q, strict=True)) / (a * (a - 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", [0.5, 0.1, 2.0, -1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, temperature, alpha, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=dtype)

    def of_row(s, t):
        return temperature**2 * reference(softmax(t, temperature), softmax(s, temperature), alpha)

    expected = by_row(student, teacher, of_row)
    options = {"alpha": alpha, "temperature": temperature}
    torch.testing.assert_close(alpha_divergence(student, teacher, **options), expected)
    torch.testing.assert_close(AlphaDivergenceLoss(**options)(student, teacher), expected.mean())


def test_a_known_number():
    # q = [1/2, 1/2], p = [1/4, 3/4], alpha = 2: half of (1/16 + 9/16) / (1/2) - 1 is 1/8.
    value = AlphaDivergenceLoss(alpha=2.0)(torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]]))
    torch.testing.assert_close(value, torch.tensor(0.125))


@pytest.mark.parametrize(("end", "limit"), [(0.0, ReverseKLLoss()), (1.0, KDLoss(temperature=1.0))])
def test_its_limits_are_the_two_kls_in_value_and_gradient(end, limit):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    student.requires_grad_()
    expected = limit(student, teacher)
    (expected_gradient,) = torch.autograd.grad(expected, student)
    for distance, tolerance in [(1e-5, 1e-4), (-1e-5, 1e-4), (0.0, 1e-9)]:
        value = AlphaDivergenceLoss(alpha=end + distance)(student, teacher)
        (gradient,) = torch.autograd.grad(value, student)
        torch.testing.assert_close(value, expected, rtol=tolerance, atol=0)
        torch.testing.assert_close(gradient, expected_gradient, rtol=tolerance, atol=tolerance)


def test_at_one_half_it_is_twice_the_squared_distance_of_the_roots():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    roots = [logits.softmax(-1).sqrt() for logits in (student, teacher)]
    expected = 2 * (roots[0] - roots[1]).square().sum(-1).mean()
    torch.testing.assert_close(AlphaDivergenceLoss()(student, teacher), expected)
    torch.testing.assert_close(AlphaDivergenceLoss()(teacher, student), expected)


def test_with_the_sides_swapped_alpha_counts_from_the_other_end():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    for alpha in (0.3, 1.7):
        swapped = AlphaDivergenceLoss(alpha=1 - alpha)(teacher, student)
        torch.testing.assert_close(AlphaDivergenceLoss(alpha=alpha)(student, teacher), swapped)


def test_between_the_ends_it_is_bounded():
    student = torch.tensor([[1e4, 0.0, -torch.inf]], requires_grad=True)
    value = AlphaDivergenceLoss(alpha=0.2)(student, torch.tensor([[0.0, 1e4, -torch.inf]]))
    value.backward()
    torch.testing.assert_close(value.detach(), torch.tensor(1 / (0.2 * 0.8)))
    assert student.grad.isfinite().all()


def test_an_alpha_that_is_no_finite_number_is_refused():
    with pytest.raises(InputError, match=r"AlphaDivergenceLoss.alpha: expected a finite number"):
        AlphaDivergenceLoss(alpha=math.inf)
