"""DarkRank, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import DarkRankLoss


def reference(student, teacher, alpha, beta, length):
    total = 0.0
    for i in range(len(student)):
        others = [j for j in range(len(student)) if j != i]
        nearest = sorted(others, key=lambda j: math.dist(teacher[i], teacher[j]))[:length]
        scores = [-alpha * math.dist(student[i], student[j]) ** beta for j in nearest]
        for rank, score in enumerate(scores):
            total += math.log(sum(math.exp(s) for s in scores[rank:])) - score
    return total / len(student)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("alpha", "beta", "length"), [(3, 3, 4), (0.5, 1, 2), (1, 2.5, 9)])
def test_equals_the_reference(alpha, beta, length, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(7, 3, dtype=dtype), torch.randn(7, 5, dtype=dtype)
    loss = DarkRankLoss(alpha=alpha, beta=beta, length=length, normalize=False)
    expected = reference(student.tolist(), teacher.tolist(), alpha, beta, length)
    torch.testing.assert_close(loss(student, teacher), torch.tensor(expected, dtype=dtype))


def test_a_known_number():
    # Points at 0, 1 and 3: the teacher's order of neighbours is 1 3, 0 3, 1 0, and the student,
    # at 3, 1 and 0, has distances 2 3, 2 1, 1 3 to them.
    teacher = torch.tensor([[0.0], [1.0], [3.0]])
    student = torch.tensor([[3.0], [1.0], [0.0]])
    surprise = [math.log(1 + math.exp(near - far)) for near, far in [(2, 3), (2, 1), (1, 3)]]
    loss = DarkRankLoss(alpha=1, beta=1, length=2, normalize=False)
    torch.testing.assert_close(loss(student, teacher), torch.tensor(sum(surprise) / 3))


def test_an_order_at_random_costs_the_logarithm_of_all_orders():
    student = torch.ones(6, 3, requires_grad=True)
    value = DarkRankLoss()(student, torch.randn(6, 3))
    value.backward()
    torch.testing.assert_close(value, torch.tensor(math.log(24)))
    assert student.grad.eq(0).all()


def test_a_student_that_keeps_the_order_clearly_is_hardly_surprising():
    teacher = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert DarkRankLoss(normalize=False)(2 * teacher, teacher) < 1e-3


def test_lengths_count_only_where_they_are_left():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, 4, dtype=torch.float64)
    lengths = torch.rand(6, 1, dtype=torch.float64) + 1
    loss, left = DarkRankLoss(), DarkRankLoss(normalize=False)
    torch.testing.assert_close(loss(1e9 * lengths * student, teacher), loss(student, teacher))
    assert not left(lengths * student, teacher).isclose(left(student, teacher))


def test_copies_of_a_sample_stay_finite():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, 4)
    student[2] = student[4]
    student.requires_grad_()
    DarkRankLoss(beta=1)(student, teacher).backward()
    assert student.grad.abs().max() < 10


def test_a_teacher_that_is_not_a_number_is_not_hidden():
    student, teacher = torch.randn(2, 6, 4)
    teacher[5, 0] = torch.nan
    assert DarkRankLoss(length=2)(student, teacher).isnan()


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match=r"DarkRankLoss.alpha: expected a finite number above 0"):
        DarkRankLoss(alpha=0)
    with pytest.raises(InputError, match=r"DarkRankLoss.beta: expected a number of at least 1"):
        DarkRankLoss(beta=0.5)
    with pytest.raises(InputError, match=r"DarkRankLoss.length: expected a whole number of at le"):
        DarkRankLoss(length=1)
