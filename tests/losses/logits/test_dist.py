"""DIST, against Python's own correlation."""

import statistics

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import DISTLoss
from tutelage.losses.logits.dist import correlation_distance


def mean_correlation(rows, others):
    return statistics.fmean(map(statistics.correlation, rows, others))


def reference(student, teacher, temperature, beta, gamma):
    """The weighted distances of rows and columns, without the epsilon."""
    p_s, p_t = ((z / temperature).softmax(-1).flatten(0, -2) for z in (student, teacher))
    rows = mean_correlation(p_s.tolist(), p_t.tolist())
    columns = mean_correlation(p_s.T.tolist(), p_t.T.tolist())
    return temperature**2 * (beta * (1 - rows) + gamma * (1 - columns))


@pytest.mark.parametrize(
    ("temperature", "beta", "gamma"), [(1, 1, 1), (4.0, 2, 1), (2.0, 0, 3), (2.0, 3, 0)]
)
@pytest.mark.parametrize("shape", [(6, 5), (3, 2), (3, 4, 7)])
def test_equals_the_reference(shape, temperature, beta, gamma):
    torch.manual_seed(0)
    student, teacher = 2 * torch.randn(2, *shape, dtype=torch.float64)
    expected = reference(student, teacher, temperature, beta, gamma)
    settings = {"temperature": temperature, "beta": beta, "gamma": gamma, "eps": 1e-30}
    found = correlation_distance(student, teacher, **settings)
    assert found.item() == pytest.approx(expected, rel=1e-9)
    assert DISTLoss(**settings)(student, teacher) == found


def test_a_known_number():
    # Rows: p^s = [1, 2, 3] / 6 against p^t = [3, 2, 1] / 6 is -1, and the same row is 1: mean 0.
    # Columns: the teacher's outer ones move against the student's constant ones, which count 0.
    student = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]).log()
    teacher = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]]).log()
    value = DISTLoss(beta=2.0, gamma=3.0)(student, teacher)
    assert value.item() == pytest.approx(2 * (1 - 0) + 3 * (1 - 0), rel=1e-6)


def test_a_linear_map_of_probabilities_costs_nothing():
    # Correlation sees neither scale nor shift: p -> (p + 1/C) / 2 keeps every row and column.
    teacher = torch.randn(4, 5, dtype=torch.float64)
    student = (0.5 * teacher.softmax(-1) + 0.1).log().requires_grad_()
    value = DISTLoss(eps=1e-30)(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert student.grad.abs().max() < 1e-12


def test_epsilon_dampens_correlations_of_its_size():
    # Both columns of two rows lie sqrt(2) * d apart from their mean, d = 0.1: norms' product 0.02.
    teacher = torch.tensor([[0.6, 0.4], [0.4, 0.6]], dtype=torch.float64).log()
    value = DISTLoss(beta=0.0, eps=0.02)(teacher, teacher)
    assert value.item() == pytest.approx(1 - 0.02 / 0.04, rel=1e-9)


def test_a_single_position_has_no_columns_to_compare():
    student, teacher = torch.randn(2, 1, 5)
    student.requires_grad_()
    value = DISTLoss(gamma=3.0)(student, teacher)
    value.backward()
    rows = DISTLoss(gamma=0.0)(student, teacher)
    torch.testing.assert_close(value, rows + 3)
    (expected,) = torch.autograd.grad(rows, student)
    torch.testing.assert_close(student.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_student_that_says_the_same_of_all_learns_nothing_and_does_not_explode(dtype):
    student = torch.full((4, 5), 0.1, dtype=dtype, requires_grad=True)
    value = DISTLoss()(student, torch.randn(4, 5).to(dtype))
    value.backward()
    assert value.item() == 2
    assert student.grad.eq(0).all()


def test_dropped_positions_count_neither_in_rows_nor_in_columns():
    student, teacher = torch.randn(2, 3, 4, 5)
    target = torch.zeros(3, 4, dtype=torch.long)
    target[0, 0] = target[2, 2] = -100
    kept = target != -100
    student[~kept] = teacher[~kept] = torch.nan
    student.requires_grad_()
    found = DISTLoss()(student, teacher, target)
    found.backward()
    torch.testing.assert_close(found, DISTLoss()(student[kept], teacher[kept]))
    assert student.grad[~kept].eq(0).all()
    assert student.grad[kept].ne(0).all()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"DISTLoss: .*found student \[4, 5\] vs teacher \[4, 6\]"):
        DISTLoss()(torch.zeros(4, 5), torch.zeros(4, 6))


def test_a_teacher_is_needed():
    with pytest.raises(InputError, match="DISTLoss: expected the teacher's logits, found None"):
        DISTLoss()(torch.zeros(4, 5), None)


@pytest.mark.parametrize("name", ["temperature", "beta", "gamma", "eps"])
def test_hyper_parameters_outside_their_range_are_refused(name):
    with pytest.raises(InputError, match=rf"DISTLoss.{name}: expected a finite number .*found -1"):
        DISTLoss(**{name: -1})
