"""Correlation congruence, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import CCLoss
from tutelage.losses.relations.cc import correlation


def taylor(x, y, gamma, order):
    product = sum(a * b for a, b in zip(x, y, strict=True))
    terms = [(2 * gamma) ** p / math.factorial(p) * product**p for p in range(order + 1)]
    return math.exp(-2 * gamma) * sum(terms)


def at_length_one(row):
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row]


def squares(student, teacher, kernel):
    student, teacher = map(at_length_one, student), map(at_length_one, teacher)
    rows = list(zip(student, teacher, strict=True))
    return sum((kernel(s, r) - kernel(t, q)) ** 2 for s, t in rows for r, q in rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("gamma", "order"), [(0.4, 2), (1.3, 5), (0.4, 1)])
def test_equals_the_reference(gamma, order, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 3, dtype=dtype), torch.randn(6, 5, dtype=dtype)
    total = squares(student.tolist(), teacher.tolist(), lambda x, y: taylor(x, y, gamma, order))
    options = {"gamma": gamma, "order": order}
    paper = CCLoss(**options)(student, teacher)
    torch.testing.assert_close(paper, torch.tensor(total / 36, dtype=dtype))
    norm = CCLoss(**options, variant="norm")(student, teacher)
    torch.testing.assert_close(norm, torch.tensor(math.sqrt(total) / 36, dtype=dtype))


def test_a_known_number():
    # Orthogonal against equal vectors: the kernels differ by 1 in 2 of the 4 elements.
    student, teacher = torch.eye(2), torch.ones(2, 2)
    paper = CCLoss(kernel="bilinear")(student, teacher)
    torch.testing.assert_close(paper, torch.tensor(0.5))
    norm = CCLoss(kernel="bilinear", variant="norm")(student, teacher)
    torch.testing.assert_close(norm, torch.tensor(math.sqrt(2) / 4))


def test_the_taylor_form_tends_to_the_gaussian():
    torch.manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64))
    gaussian = (-0.7 * torch.cdist(rows, rows).square()).exp()
    torch.testing.assert_close(correlation(rows, gamma=0.7, order=25), gaussian)


def test_lengths_count_only_where_they_are_left():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, 4)
    lengths = torch.rand(5, 1) + 1
    torch.testing.assert_close(CCLoss()(lengths * student, teacher), CCLoss()(student, teacher))
    left = CCLoss(normalize=False)
    assert not left(lengths * student, teacher).isclose(left(student, teacher))


def test_the_norm_has_a_finite_gradient_at_equality():
    student = torch.randn(4, 3, requires_grad=True)
    value = CCLoss(variant="norm")(student, student.detach().clone())
    value.backward()
    assert value == 0
    assert student.grad.eq(0).all()


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match=r"CCLoss.kernel: expected one of rbf, bilinear"):
        CCLoss(kernel="linear")
    with pytest.raises(InputError, match=r"CCLoss.order: expected a whole number above 0"):
        CCLoss(order=0)
    with pytest.raises(InputError, match=r"CCLoss.gamma: expected a finite number above 0"):
        CCLoss(gamma=0)
    with pytest.raises(InputError, match=r"CCLoss.variant: expected one of paper, norm"):
        CCLoss(variant="adjacent")
