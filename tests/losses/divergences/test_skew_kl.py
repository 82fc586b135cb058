"""Skewed KL, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import KDLoss, ReverseKLLoss, SkewKLLoss
from tutelage.losses.divergences.skew_kl import skew_divergence


def softmax(logits, temperature=1.0):
    powers = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def kl(a, b):
    return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True) if x)


def by_row(student, teacher, of_row):
    rows = zip(student.flatten(0, -2).tolist(), teacher.flatten(0, -2).tolist(), strict=True)
    values = [of_row(*row) for row in rows]
    return torch.tensor(values, dtype=student.dtype).view(student.shape[:-1])


def reference(p, q, skew, direction):
    own, other = (p, q) if direction == "forward" else (q, p)
    return kl(own, [skew * x + (1 - skew) * y for x, y in zip(own, other, strict=True)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("skew", [0.1, 0.7])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, temperature, skew, direction, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=dtype)

    def of_row(s, t):
        sides = softmax(t, temperature), softmax(s, temperature)
        return temperature**2 * reference(*sides, skew, direction)

    expected = by_row(student, teacher, of_row)
    options = {"skew": skew, "direction": direction, "temperature": temperature}
    torch.testing.assert_close(skew_divergence(student, teacher, **options), expected)
    torch.testing.assert_close(SkewKLLoss(**options)(student, teacher), expected.mean())


def test_a_known_number():
    # p = [1, 0], q = [1/2, 1/2], the mixture at 1/4 has 1/4 + 3/8 = 5/8 in the first: log 8/5.
    value = SkewKLLoss(skew=0.25)(torch.zeros(1, 2), torch.tensor([[1e4, 0.0]]))
    torch.testing.assert_close(value, torch.tensor(math.log(8 / 5)))


@pytest.mark.parametrize(
    ("direction", "plain"), [("forward", KDLoss(temperature=1.0)), ("reverse", ReverseKLLoss())]
)
def test_without_skew_it_is_the_plain_kl(direction, plain):
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    found = SkewKLLoss(skew=0.0, direction=direction)(student, teacher)
    torch.testing.assert_close(found, plain(student, teacher))


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_it_is_at_most_minus_the_log_of_the_skew(direction):
    student, teacher = 30 * torch.randn(2, 500, 3)
    values = skew_divergence(student, teacher, skew=0.1, direction=direction)
    assert values.min() >= 0
    assert 0.999 * math.log(10) < values.max() <= math.log(10) + 1e-6


def test_a_detached_mixture_keeps_the_value_and_takes_its_part_of_the_gradient():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    student.requires_grad_()
    options = {"skew": 0.3, "direction": "reverse"}
    whole = SkewKLLoss(**options)(student, teacher)
    part = SkewKLLoss(**options, detach_mixture=True)(student, teacher)
    torch.testing.assert_close(part, whole)
    (found,) = torch.autograd.grad(part, student)
    mixture = (0.3 * student.detach().softmax(-1) + 0.7 * teacher.softmax(-1)).log()
    fixed = (student.softmax(-1) * (student.log_softmax(-1) - mixture)).sum(-1).mean()
    (expected,) = torch.autograd.grad(fixed, student)
    torch.testing.assert_close(found, expected)
    (other,) = torch.autograd.grad(whole, student)
    assert (found - other).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("direction", "detached"), [("forward", False), ("reverse", False), ("reverse", True)]
)
def test_ruled_out_classes_leave_value_and_gradient_finite(direction, detached):
    student = torch.tensor([[0.0, 1.0, -torch.inf, -torch.inf]], requires_grad=True)
    teacher = torch.tensor([[0.0, -torch.inf, 1.0, -torch.inf]])
    p, q = softmax([0.0, 1.0]), softmax([0.0, 1.0])
    expected = reference([p[0], 0.0, p[1]], [q[0], q[1], 0.0], 0.1, direction)
    value = SkewKLLoss(direction=direction, detach_mixture=detached)(student, teacher)
    value.backward()
    torch.testing.assert_close(value.detach(), torch.tensor(expected))
    assert student.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skew": 1}, r"SkewKLLoss.skew: expected a number from 0 to below 1, found 1, where"),
        ({"skew": -0.1}, r"SkewKLLoss.skew: expected a number from 0 to 1, found -0.1"),
        ({"direction": "up"}, r"expected one of forward, reverse, found 'up'"),
        ({"detach_mixture": True}, r"expected False for the forward direction, .*'reverse'"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        SkewKLLoss(**options)
