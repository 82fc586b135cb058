"""Information theoretic distillation, against loops over Python floats."""

import math
import statistics

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import ITRDLoss
from tutelage.losses.relations.itrd import correlation, mutual


def standard(column):
    mean, deviation = statistics.fmean(column), statistics.stdev(column)
    return [(x - mean) / deviation for x in column]


def correlation_reference(student, teacher, alpha):
    total = 0.0
    for s, t in zip(zip(*student, strict=True), zip(*teacher, strict=True), strict=True):
        c = sum(a * b for a, b in zip(standard(s), standard(t), strict=True)) / len(s)
        total += abs(c - 1) ** (2 * alpha)
    return math.log2(total)


def cosines(rows):
    def cosine(x, y):
        return sum(a * b for a, b in zip(x, y, strict=True)) / math.hypot(*x) / math.hypot(*y)

    return [[cosine(x, y) for y in rows] for x in rows]


def mutual_reference(student, teacher):
    k_s, k_t = cosines(student), cosines(teacher)
    batch = range(len(student))
    joint = [[k_s[i][j] * k_t[i][j] for j in batch] for i in batch]

    def purity(kernel):
        trace = sum(kernel[i][i] for i in batch)
        return sum((k / trace) ** 2 for row in kernel for k in row)

    return purity(k_s) - purity(joint)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", [1.01, 1.5, 0.5])
def test_equals_the_reference(alpha, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, 4, dtype=dtype)
    rows = student.tolist(), teacher.tolist()
    parts = correlation_reference(*rows, alpha), mutual_reference(*rows)
    found = correlation(student, teacher, alpha=alpha), mutual(student, teacher)
    for part, expected in zip(found, parts, strict=True):
        torch.testing.assert_close(part, torch.tensor(expected, dtype=dtype))
    value = ITRDLoss(alpha=alpha, correlation_weight=3, mutual_weight=5)(student, teacher)
    expected = torch.tensor(3 * parts[0] + 5 * parts[1], dtype=dtype)
    torch.testing.assert_close(value, expected)


def test_known_numbers():
    # Equal features correlate at 1 - 1/B: log2 of D times (1/4)^2 is log2 8 - 4.
    rows = torch.randn(4, 8, dtype=torch.float64)
    found = correlation(rows, rows, alpha=1.0)
    torch.testing.assert_close(found, torch.tensor(-1.0, dtype=torch.float64))
    # Coinciding vectors have purity 1; times the identity of trace 2 it is 1/2.
    assert mutual(torch.ones(2, 2), torch.eye(2)) == 0.5
    assert mutual(torch.eye(2), torch.ones(2, 2)) == 0.0


def test_correlation_ignores_scale_and_shift_of_each_feature_and_mutual_that_of_each_sample():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, 4, dtype=torch.float64)
    scale, shift = torch.rand(2, 4, dtype=torch.float64) + 1
    lengths = torch.rand(6, 1, dtype=torch.float64) + 1
    found = correlation(1e9 * (student * scale + shift), 1e-9 * teacher)
    torch.testing.assert_close(found, correlation(student, teacher))
    torch.testing.assert_close(mutual(lengths * student, teacher), mutual(student, teacher))


@pytest.mark.parametrize("constant", [0.0, 0.1, 3e4])
def test_a_feature_that_is_constant_over_the_batch_gets_no_gradient_from_its_rounding(constant):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 7, 4)
    student[:, 1] = constant
    student.requires_grad_()
    value = correlation(student, teacher)
    value.backward()
    assert value.isfinite()
    assert student.grad[:, 1].eq(0).all()
    assert student.grad[:, 0].ne(0).all()
    assert student.grad.abs().max() < 10


def test_a_single_sample_and_zero_vectors_stay_finite():
    student = torch.zeros(1, 4, requires_grad=True)
    value = ITRDLoss()(student, torch.randn(1, 4))
    value.backward()
    assert value == 2 * math.log2(4)
    assert student.grad.eq(0).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"ITRDLoss: .*project the student with via=\"paper\""):
        ITRDLoss()(torch.zeros(4, 3), torch.zeros(4, 5))
    with pytest.raises(InputError, match=r"ITRDLoss.alpha: expected a number of at least 0.5"):
        ITRDLoss(alpha=0.4)
    with pytest.raises(InputError, match=r"ITRDLoss.mutual_weight: expected a finite number of"):
        ITRDLoss(mutual_weight=-1)
    with pytest.raises(InputError, match="ITRDLoss: expected a weight above 0, found 0 for both"):
        ITRDLoss(mutual_weight=0, correlation_weight=0)
