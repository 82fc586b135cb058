"""Alpha-beta divergence, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import ABDivergenceLoss, AlphaDivergenceLoss, KDLoss, ReverseKLLoss
from tutelage.losses.divergences.ab_divergence import alpha_beta_divergence


def softmax(logits, temperature=1.0):
    powers = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def kl(a, b):
    return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True) if x)


def by_row(student, teacher, of_row):
    rows = zip(student.flatten(0, -2).tolist(), teacher.flatten(0, -2).tolist(), strict=True)
    values = [of_row(*row) for row in rows]
    return torch.tensor(values, dtype=student.dtype).view(student.shape[:-1])


def reference(p, q, a, b):
    """The formula where it is defined, which is off the limits."""
    return -sum(
        x**a * y**b - a / (a + b) * x ** (a + b) - b / (a + b) * y ** (a + b)
        for x, y in zip(p, q, strict=True)
    ) / (a * b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("alpha", "beta"), [(0.2, 0.7), (1.0, 1.0), (2.0, -0.5), (-1.0, 2.0)])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, temperature, alpha, beta, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=dtype)

    def of_row(s, t):
        return temperature**2 * reference(
            softmax(t, temperature), softmax(s, temperature), alpha, beta
        )

    expected = by_row(student, teacher, of_row)
    options = {"alpha": alpha, "beta": beta, "temperature": temperature}
    torch.testing.assert_close(alpha_beta_divergence(student, teacher, **options), expected)
    torch.testing.assert_close(ABDivergenceLoss(**options)(student, teacher), expected.mean())


def test_a_known_number():
    # p = [1, 0], q = [1/2, 1/2], both exponents 1/2: -4 (sqrt(1/2) - 1/2 - 1/2) = 4 - 2 sqrt(2).
    loss = ABDivergenceLoss(alpha=0.5, beta=0.5)
    value = loss(torch.zeros(1, 2), torch.tensor([[1e4, 0.0]]))
    torch.testing.assert_close(value, torch.tensor(4 - 2 * math.sqrt(2)))


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [
        (0.6, 0.0),
        (2.0, 0.0),
        (-1.0, 0.0),
        (0.0, 0.6),
        (0.0, -2.0),
        (0.5, -0.5),
        (-2.0, 2.0),
        (0, 0),
    ],
)
def test_the_limits_are_those_of_the_formula_in_value_and_gradient(alpha, beta):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    student.requires_grad_()
    limit = ABDivergenceLoss(alpha=alpha, beta=beta)(student, teacher)
    near = ABDivergenceLoss(alpha=alpha + 1e-5, beta=beta + 2e-5)(student, teacher)
    torch.testing.assert_close(near, limit, rtol=1e-3, atol=0)
    gradients = [torch.autograd.grad(value, student)[0] for value in (near, limit)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3 * gradients[1].abs().max().item())


@pytest.mark.parametrize(
    ("alpha", "beta", "special"),
    [
        (1.0, 0.0, KDLoss(temperature=1.0)),
        (0.0, 1.0, ReverseKLLoss()),
        (0.3, 0.7, AlphaDivergenceLoss(alpha=0.3)),
    ],
)
def test_its_special_cases(alpha, beta, special):
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    found = ABDivergenceLoss(alpha=alpha, beta=beta)(student, teacher)
    torch.testing.assert_close(found, special(student, teacher))


def test_at_one_and_one_it_is_half_the_squared_distance_and_at_none_that_of_the_logarithms():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    q, p = student.softmax(-1), teacher.softmax(-1)
    for exponent, sides in [(1.0, (p, q)), (0.0, (p.log(), q.log()))]:
        expected = (sides[0] - sides[1]).square().sum(-1).mean() / 2
        found = ABDivergenceLoss(alpha=exponent, beta=exponent)(student, teacher)
        torch.testing.assert_close(found, expected)


def test_with_the_exponents_and_the_sides_swapped_it_is_the_same():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    for alpha, beta in [(0.2, 0.7), (0.5, 0.0), (0.5, -0.5)]:
        swapped = ABDivergenceLoss(alpha=beta, beta=alpha)(teacher, student)
        torch.testing.assert_close(
            ABDivergenceLoss(alpha=alpha, beta=beta)(student, teacher), swapped
        )


@pytest.mark.parametrize(("alpha", "beta"), [(0.2, 0.7), (1.0, 0.0), (0.0, 0.0), (0.5, -0.5)])
def test_classes_that_both_rule_out_do_not_count(alpha, beta):
    student, teacher = torch.randn(2, 4, 5)
    student[:, 3:] = teacher[:, 3:] = -torch.inf
    student.requires_grad_()
    loss = ABDivergenceLoss(alpha=alpha, beta=beta)
    value = loss(student, teacher)
    value.backward()
    torch.testing.assert_close(value.detach(), loss(student.detach()[:, :3], teacher[:, :3]))
    assert student.grad.isfinite().all()


def test_a_class_that_the_teacher_rules_out_costs_its_power():
    # p = [1, 0], q = [1/2, 1/2]: of the second class only -b / (a + b) q^(a + b) is left.
    p, q = [1.0, 0.0], [0.5, 0.5]
    value = ABDivergenceLoss()(torch.zeros(1, 2), torch.tensor([[0.0, -torch.inf]]))
    torch.testing.assert_close(value, torch.tensor(reference(p, q, 0.2, 0.7)))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "1", True])
def test_exponents_that_are_no_finite_numbers_are_refused(bad):
    with pytest.raises(
        InputError, match=r"ABDivergenceLoss.alpha: expected a finite number, found"
    ):
        ABDivergenceLoss(alpha=bad)
    with pytest.raises(InputError, match=r"ABDivergenceLoss.beta: expected a finite number, found"):
        ABDivergenceLoss(beta=bad)
